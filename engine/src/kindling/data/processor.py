"""How an input is read from the outside world, and how an output is written to it. Needs no torch."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from kindling.config import project
from kindling.errors import ConfigError, KindlingError, one_line

ENGINE = __name__.partition(".")[0]
# What people hand in: image files, rows of a table, prompts.
Kind = Literal["image", "rows", "text"]
# A net takes an array, or several of them.
Example = np.ndarray | tuple[np.ndarray, ...]
# A batch of inputs to outputs, by PyTorch or an exported model alike.
Compute = Callable[..., np.ndarray]
# What a model folder relies on.
CARRIED = ("read", "write", "answer", "inputs", "outputs")


@dataclass(frozen=True)
class Column:
    """A named value of an input, of an output, or a setting of how an output is made.

    Args:
        name: as in the header of a table.
        type: what it is; one of `choices` is a text.
        unit: such as "kg / m²"; for people.
        low: the lowest that is allowed; None for no limit.
        high: the highest.
        choices: all that are allowed, if it is a choice; the net takes their position.
        default: of a setting.
    """

    name: str
    type: Literal["number", "integer", "text", "image"] = "number"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    default: Any = None

    def as_dict(self) -> dict[str, Any]:
        """What differs from the defaults."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        left_out = {field.name: field.default for field in fields(self) if field.default is not MISSING}
        kept = {name: value for name, value in found.items() if name not in left_out or value != left_out[name]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}

    @classmethod
    def of(cls, given: "Column | str | Mapping[str, Any]") -> "Column":
        """A column as code, a config or JSON gives it; a name alone is that of a number."""
        if isinstance(given, Column):
            return given
        if isinstance(given, str):
            return cls(given)
        return cls(**{**given, "choices": tuple(given.get("choices", ()))})

    def allowed(self) -> str:
        """In words."""
        if self.choices:
            return " or ".join(map(repr, self.choices))
        noun = {"number": "a number", "integer": "a whole number"}.get(self.type, f"a {self.type}")
        limits = [f"from {self.low:g}"] if self.low is not None else []
        limits += [f"up to {self.high:g}"] if self.high is not None else []
        return " ".join([noun, *limits])


@dataclass(frozen=True)
class Evaluated:
    """What the steps of an evaluation gave.

    Args:
        outputs: of the net, (N, ...), as `keep` left them.
        targets: (N, ...).
        split: "val" or "test", which names of metrics start with.
        examples: of the split, as the data module holds them.
        compute: the net.
    """

    outputs: Any
    targets: Any
    split: str
    examples: Any
    compute: Compute


class Processor(ABC):
    """What a task's inputs and outputs are outside of the net; the same for evaluate, predict, export and serve.

    Take one of the ready-made kinds, `RowsProcessor`, `TextProcessor` or `ImageProcessor`, or subclass one.
    """

    kind: ClassVar[Kind]

    @property
    @abstractmethod
    def inputs(self) -> tuple[Column, ...]:
        """What an input is made of."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[Column, ...]:
        """What `write` names."""

    @property
    def settings(self) -> tuple[Column, ...]:
        """What `answer` may be told, with defaults."""
        return ()

    @abstractmethod
    def read(self, raw: Any, name: str = "input") -> Example:
        """One input as the net takes it, without the dimension of the batch.

        Args:
            raw: a row as a mapping, a prompt or an image.
            name: for messages, such as "line 7".

        Raises:
            DataError: it lacks something, or holds what is not allowed.
        """

    @abstractmethod
    def write(self, output: Any) -> dict[str, Any]:
        """One output of the net, an array without the dimension of the batch, as values by name."""

    def answer(self, compute: Compute, raw: Any, **settings: Any) -> Iterator[str]:
        """A text that follows, piece by piece."""
        raise NotImplementedError(f"{type(self).__name__}: gives no text piece by piece")

    def keep(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """What `report` needs of a batch's outputs and targets, all of which are held in memory until then."""
        return outputs, targets

    def report(self, evaluated: Evaluated, folder: Path) -> dict[str, Any]:
        """Further metrics, named as "test/...", and other entries of metrics.json; pictures go into the folder."""
        return {}

    @property
    def is_ready_made(self) -> bool:
        """Whether it reads and writes as one of the engine's kinds, so that its parameters say all."""
        ready = next(each for each in type(self).__mro__ if each.__module__.startswith(f"{ENGINE}."))
        return ready is not Processor and all(getattr(type(self), n) is getattr(ready, n) for n in CARRIED)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON, from which `from_dict` makes it again; a class of the project stands in it by its name.

        Raises:
            ConfigError: it is a class that only the running program knows, or its parameters do not make it again.
        """
        described = {"kind": self.kind, **self.parameters()}
        return described if self.is_ready_made else {"_target_": self._target(), **self._tried(described)}

    def _target(self) -> str:
        """The class from the project's package on."""
        package, name = project.current().package, f"{type(self).__module__}.{type(self).__qualname__}"
        if not name.startswith(f"{package}.") or "<" in name:
            raise ConfigError(
                f"processor: given {name}, which no model folder can name; allowed: RowsProcessor, TextProcessor, "
                f"ImageProcessor, or a class in a file of src/{package}"
            )
        return name.removeprefix(package)

    def _tried(self, described: dict[str, Any]) -> dict[str, Any]:
        try:
            again = json.loads(json.dumps(described))
            type(self).from_dict(again)
        except (TypeError, ValueError, LookupError, AttributeError, KindlingError) as error:
            raise ConfigError(
                f"processor: given {type(self).__name__}, which its parameters do not make again ({one_line(error)}); "
                "allowed: a method `parameters` that returns the arguments of its __init__ by name, as plain JSON"
            ) from error
        return again

    def parameters(self) -> dict[str, Any]:
        """What makes it, as plain JSON: the arguments of its `__init__` by name."""
        return {}

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Self:
        """One of this class, of what `as_dict` gave."""
        return cls(**{name: value for name, value in described.items() if name not in ("kind", "_target_")})


def classes_of(processor: Processor) -> tuple[str, ...]:
    """Of a net whose outputs are a logit for each; none of a processor that reads or writes otherwise."""
    return getattr(processor, "classes", ()) if processor.is_ready_made else ()


def probabilities_by_name(classes: tuple[str, ...], logits: np.ndarray) -> dict[str, Any]:
    """The likeliest class, its probability and that of each class, of logits (K,)."""
    powers = np.exp(logits.astype(np.float32) - logits.max())
    shares = [as_number(each) for each in powers / powers.sum()]
    first = int(np.argmax(shares))
    each = {f"probability_{name}": share for name, share in zip(classes, shares, strict=True)}
    return {"class": classes[first], "probability": shares[first], **each}


def class_columns(classes: tuple[str, ...]) -> tuple[Column, ...]:
    """What `probabilities_by_name` names."""
    each = (Column(f"probability_{name}", low=0, high=1) for name in classes)
    return Column("class", "text", choices=classes), Column("probability", low=0, high=1), *each


def as_number(value: Any) -> float:
    """A float32 in the fewest digits that give its bits back."""
    return float(str(np.float32(value)))

"""Characters into ids, and a text that follows them out. Needs no torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kindling.data.processor import Column, Compute, Evaluated, Processor, as_number
from kindling.errors import CheckpointError, ConfigError, DataError

# Characters that a message shows of those that are unknown or allowed.
SHOWN = 40


class TextProcessor(Processor):
    """A text of known characters, and the characters that follow.

    A text becomes ids (T,) int64. An output is the logits (T, V) of what follows each character.

    Args:
        vocabulary: the characters, by id.
        block: the most that the net sees at once.
    """

    kind = "text"

    def __init__(self, vocabulary: str, block: int):
        if len(set(vocabulary)) != len(vocabulary) or not vocabulary:
            given = f"{vocabulary[:SHOWN]!r}{'...' * (len(vocabulary) > SHOWN)}"
            raise ConfigError(f"processor.vocabulary: given {given}; allowed: each character once")
        if block < 1:
            raise ConfigError(f"processor.block: given {block}; allowed: 1 or more")
        self.vocabulary, self.block = vocabulary, int(block)
        self._ids = {character: number for number, character in enumerate(vocabulary)}

    @property
    def inputs(self) -> tuple[Column, ...]:
        return (Column("prompt", "text"),)

    @property
    def outputs(self) -> tuple[Column, ...]:
        return Column("character", "text", choices=tuple(self.vocabulary)), Column("probability", low=0, high=1)

    @property
    def settings(self) -> tuple[Column, ...]:
        return (
            Column("length", "integer", "characters", low=1, default=200),
            Column("temperature", low=0, default=1.0),
            Column("top_k", "integer", "characters", low=1, high=len(self.vocabulary)),
            Column("seed", "integer", low=0, high=2**32 - 1, default=0),
        )

    def read(self, raw: Any, name: str = "prompt") -> np.ndarray:
        ids = self.ids(raw, name)
        if len(ids) > self.block:
            raise DataError(f"{name}: given {len(ids)} characters; allowed: up to {self.block}, which the net sees")
        return ids

    def ids(self, text: Any, name: str = "prompt") -> np.ndarray:
        """A text of any length -> (T,) int64.

        Raises:
            DataError: it is empty, no text, or has a character that the net does not know.
        """
        if not isinstance(text, str) or not text:
            given = "an empty text" if isinstance(text, str) else type(text).__name__
            raise DataError(f"{name}: given {given}; allowed: a text of at least one character")
        unknown = "".join(dict.fromkeys(each for each in text if each not in self._ids))
        if unknown:
            more = f" and {len(self.vocabulary) - SHOWN} more" if len(self.vocabulary) > SHOWN else ""
            raise DataError(
                f"{name}: given the characters {unknown[:SHOWN]!r}, which the model does not know; "
                f"allowed: {self.vocabulary[:SHOWN]!r}{more}"
            )
        return np.array([self._ids[each] for each in text], dtype=np.int64)

    def write(self, output: Any) -> dict[str, Any]:
        """The likeliest character after the last one, of logits (T, V)."""
        shares = softmax(np.asarray(output, dtype=np.float64)[-1])
        likeliest = int(shares.argmax())
        return {"character": self.vocabulary[likeliest], "probability": as_number(shares[likeliest])}

    def answer(
        self,
        compute: Compute,
        raw: Any,
        *,
        length: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """The characters that follow a prompt, one at a time; the same for the same seed.

        Args:
            compute: ids (1, T) -> logits (1, T, V), T at most `block`.
            raw: the prompt, of which the last `block` characters count.
            length: characters to draw.
            temperature: each is drawn by softmax(logits / temperature); at 0, the likeliest.
            top_k: of how many it is drawn, the likeliest; None for all.
            seed: of the draws.

        Raises:
            ConfigError: a setting is outside its limits; told before the first character, as is a wrong prompt.
        """
        given = {"length": length, "temperature": temperature, "top_k": top_k, "seed": seed}
        refuse_settings(self.settings, given)
        return self._drawn(compute, self.ids(raw), length, temperature, top_k, seed)

    def _drawn(
        self, compute: Compute, ids: np.ndarray, length: int, temperature: float, top_k: int | None, seed: int
    ) -> Iterator[str]:
        generator = np.random.default_rng(seed)
        for _ in range(length):
            logits = np.asarray(compute(ids[None, -self.block :]), dtype=np.float64)[0, -1]
            chosen = draw(logits, temperature, top_k, generator.random())
            ids = np.append(ids[-self.block :], chosen)
            yield self.vocabulary[chosen]

    def keep(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        # Logits of all characters would take much memory.
        return outputs.argmax(-1), targets

    def report(self, evaluated: Evaluated, folder: Path) -> dict[str, Any]:
        from kindling.data.text_report import report

        return report(evaluated, self.vocabulary, self.answer, folder)

    def parameters(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary, "block": self.block}


def refuse_settings(columns: tuple[Column, ...], given: Mapping[str, Any]) -> None:
    """
    Raises:
        ConfigError: a setting is not there, of another type or outside its limits.
    """
    known = {column.name: column for column in columns}
    for name, value in given.items():
        column = known.get(name)
        if column is None:
            raise ConfigError(f"{name}: given {value!r}; allowed: {', '.join(known) or 'no setting'}")
        types = (int,) if column.type == "integer" else (int, float)
        low = -np.inf if column.low is None else column.low
        high = np.inf if column.high is None else column.high
        is_right = isinstance(value, types) and not isinstance(value, bool) and low <= value <= high
        if not (is_right or (value is None and column.default is None)):
            or_null = ", or null" if column.default is None else ""
            raise ConfigError(f"{name}: given {value!r}; allowed: {column.allowed()}{or_null}")


def draw(logits: np.ndarray, temperature: float, top_k: int | None, share: float) -> int:
    """The id that a share in [0, 1) of all probability falls on, the likeliest ids first.

    Raises:
        CheckpointError: a logit is NaN.
    """
    if np.isnan(logits).any():
        raise CheckpointError("model: gives NaN for this prompt; allowed: numbers; take another checkpoint")
    # Stable, so that equal logits keep one order everywhere.
    order = np.argsort(-logits, kind="stable")[: top_k or None]
    if temperature == 0:
        return int(order[0])
    reached = np.searchsorted(softmax((logits[order] - logits[order[0]]) / temperature).cumsum(), share, side="right")
    return int(order[min(reached, len(order) - 1)])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()

"""The space of a sweep: what each setting may be, in Hydra's syntax of sweeps, and under which condition."""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Sweep
from hydra.errors import HydraException

Values = dict[str, Any]
# Each is known to a grid and to a sampler.
MOST_VALUES = 10_000
# Of more numbers, only the least and the largest are checked.
MOST_CHECKED = 32
TAGGED = "tag(log, interval(smaller, larger))"


class EmptyError(ValueError):
    """A setting with no value at all."""


class Param(NamedTuple):
    """A setting of the space.

    Attributes:
        key: as in an override.
        text: of the override's value, as it was given.
        choices: the texts of its values, in their order; empty for an interval.
        low: of an interval, with `high`, `log` and whether it is of whole numbers.
        when: the settings, as texts, under which the parameter is there at all.
    """

    key: str
    text: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    when: tuple[tuple[str, Any], ...] = ()

    def is_active(self, values: Mapping[str, Any]) -> bool:
        return all(str(values.get(key)) == value for key, value in self.when)

    def spelled(self, value: Any) -> str | None:
        """The text that the space has of a value, such as True of true, or 1.0 of 1; None if it is not in it."""
        text = text_of(value)
        if self.choices:
            same = (choice for choice in self.choices if _are_same(plain(_parsed(choice)), value))
            return text if text in self.choices else next(same, None)
        try:
            number = float(text)
        except ValueError:
            return None
        fits = self.low <= number <= self.high and (number.is_integer() or not self.whole)
        return (str(int(number)) if self.whole else text) if fits else None

    def edges(self) -> list[str]:
        """The values to be checked before the first trial: all choices, or both ends of an interval or of many."""
        if len(self.choices) > MOST_CHECKED and all(map(_is_number, self.choices)):
            return [min(self.choices, key=float), max(self.choices, key=float)]
        if self.choices:
            return list(self.choices)
        return [str(int(end) if self.whole else end) for end in (self.low, self.high)]


def text_of(value: Any) -> str:
    """A value as in an override."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{text_of(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(text_of, value))}]"
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    with suppress(HydraException):
        parsed = _parsed(value)
        if not isinstance(parsed, Sweep) and plain(parsed) == value:
            return value
    escaped = value.replace("\\", "\\\\") if value.endswith("\\") else value
    return "'" + escaped.replace("'", "\\'") + "'"


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(text))
    return False


def plain(value: Any) -> Any:
    """A value of Hydra's parser, whose quoted texts are objects of their own."""
    if isinstance(value, dict):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else value.text


def _parsed(text: str) -> Any:
    return OverridesParser.create().parse_override(f"value={text}").value()


def _are_same(one: Any, other: Any) -> bool:
    # For Python, True is 1.
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def param_of(override: Override, when: Mapping[str, Any] | None = None) -> Param:
    """The parameter that an override with several values describes.

    Raises:
        ValueError: with what is allowed; it has no values, or an interval no ends.
        HydraException: its values cannot be sorted or shuffled.
    """
    key, text = override.get_key_element(), str(override.input_line).partition("=")[2]
    condition = tuple((when or {}).items())
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _interval(key, text, value, condition)
    choices = tuple(islice(override.sweep_string_iterator(), MOST_VALUES + 1))
    if not choices:
        raise EmptyError("at least one value")
    if len(choices) > MOST_VALUES:
        raise ValueError(
            f"at most {MOST_VALUES} values; int(interval(first, last)) with sweep=random or optuna for more"
        )
    if isinstance(value, Sweep) and value.tags:
        raise ValueError(f"{TAGGED}, or values with commas between")
    return Param(key, text, choices, when=condition)


def _interval(key: str, text: str, value: IntervalSweep, when: tuple[tuple[str, Any], ...]) -> Param:
    low, high, log = float(value.start or 0), float(value.end or 0), "log" in value.tags
    if value.tags - {"log", "int", "float"}:
        raise ValueError(TAGGED)
    whole = "int" in value.tags or (
        isinstance(value.start, int) and isinstance(value.end, int) and "float" not in value.tags
    )
    if low >= high and re.search(r"\bint\(", text):
        ends = f"and not from {value.start} to {value.end}, which int(...) makes of these"
        raise ValueError(f"an interval with whole numbers between its ends, such as int(interval(8, 64)), {ends}")
    if low >= high:
        raise ValueError("interval(smaller, larger)")
    if log and low <= 0:
        raise ValueError("an interval above 0, for its logarithm")
    return Param(key, text, (), low, high, log, whole, when)


class Grid:
    """The points of a space without intervals, the last parameter running fastest, as Hydra's sweeper has them.

    Args:
        space: each parameter behind those that its condition names.
    """

    def __init__(self, space: Sequence[Param]):
        self.space = space
        self._named = {key for param in space for key, _ in param.when}
        self._sizes: dict[tuple[int, tuple[tuple[str, Any], ...]], int] = {}
        self.size = self._below(0, {})

    def point(self, number: int) -> Values | None:
        """The values of a point; None if there are not so many."""
        if number >= self.size:
            return None
        values: Values = {}
        for index, param in enumerate(self.space):
            if param.is_active(values):
                for choice in param.choices:
                    below = self._below(index + 1, values | {param.key: choice})
                    if number < below:
                        values[param.key] = choice
                        break
                    number -= below
        return values

    def _below(self, index: int, values: Values) -> int:
        """How many points begin with the values of the parameters before one."""
        if index == len(self.space):
            return 1
        known = index, tuple((key, value) for key, value in values.items() if key in self._named)
        if known not in self._sizes:
            param = self.space[index]
            # Of what no condition names, each choice has as many.
            if not param.is_active(values):
                self._sizes[known] = self._below(index + 1, values)
            elif param.key in self._named:
                each = (self._below(index + 1, values | {param.key: choice}) for choice in param.choices)
                self._sizes[known] = sum(each)
            else:
                self._sizes[known] = len(param.choices) * self._below(index + 1, values)
        return self._sizes[known]

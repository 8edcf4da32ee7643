"""Rows of named values into numbers, and numbers or classes out. Needs no torch."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kindling.data.processor import Column, Evaluated, Processor, as_number, class_columns, probabilities_by_name
from kindling.errors import ConfigError, DataError

# The net takes float32.
LARGEST = float(np.finfo(np.float32).max)
# Python's own also reads 1_0, other scripts' digits and blanks.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class RowsProcessor(Processor):
    """Rows of a table, such as those of a CSV or JSON objects.

    A row becomes (F,) float32, a number for each column; of a choice, its position. An output (O,), or () if there is
    one name, becomes a number for each name; with `classes`, logits (K,) become probabilities.

    Args:
        columns: of the net's inputs, in its order: names, or Columns with units, limits and choices.
        outputs: of what the net gives: names, or Columns with units; unless there are classes.
        classes: their names, by label.
        mean: of each column, subtracted before the net; None for a net that takes rows as they are.
        std: likewise, divided by.
        output_mean: of each output, added after the net; None for a net that gives outputs in their own units.
        output_std: likewise, multiplied with.
    """

    kind = "rows"

    def __init__(
        self,
        columns: Sequence[Column | str | Mapping[str, Any]],
        outputs: Sequence[Column | str | Mapping[str, Any]] = (),
        *,
        classes: Sequence[str] = (),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        output_mean: Sequence[float] | None = None,
        output_std: Sequence[float] | None = None,
    ):
        self._inputs = tuple(Column.of(each) for each in columns)
        self._outputs = tuple(Column.of(each) for each in outputs)
        self.classes = tuple(map(str, classes))
        if bool(self._outputs) == bool(self.classes):
            both = "both outputs and classes" if self.classes else "neither outputs nor classes"
            raise ConfigError(f"processor: given {both}; allowed: the names of the one or the other")
        self.mean, self.std = self._fitting("mean", mean, self._inputs), self._fitting("std", std, self._inputs)
        self.output_mean = self._fitting("output_mean", output_mean, self._outputs)
        self.output_std = self._fitting("output_std", output_std, self._outputs)

    @staticmethod
    def _fitting(name: str, values: Sequence[float] | None, columns: Sequence[Column]) -> list[float] | None:
        if values is not None and len(values) != len(columns):
            raise ConfigError(f"processor.{name}: given {len(values)} numbers; allowed: {len(columns)}, one a column")
        return None if values is None else [float(each) for each in values]

    @property
    def inputs(self) -> tuple[Column, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[Column, ...]:
        return class_columns(self.classes) if self.classes else self._outputs

    def read(self, raw: Any, name: str = "row") -> np.ndarray:
        """A mapping from columns to numbers or texts, or the numbers in order -> (F,) float32."""
        row = self._by_name(raw, name)
        missing = [column.name for column in self._inputs if column.name not in row]
        if missing:
            every = ", ".join(column.name for column in self._inputs)
            given = ", ".join(map(str, row)) or "nothing"
            raise DataError(
                f"{name}: given {given}, without {', '.join(missing)}; allowed: a value for each of {every}"
            )
        values = np.array([value_of(column, row[column.name], name) for column in self._inputs], dtype=np.float64)
        values = values - self.mean if self.mean else values
        return (values / self.std if self.std else values).astype(np.float32)

    def _by_name(self, raw: Any, name: str) -> Mapping[str, Any]:
        if isinstance(raw, Mapping):
            return raw
        if isinstance(raw, Sequence | np.ndarray) and not isinstance(raw, str | bytes):
            if len(raw) == len(self._inputs):
                return {column.name: value for column, value in zip(self._inputs, raw, strict=True)}
            raise DataError(f"{name}: given {len(raw)} values; allowed: {len(self._inputs)}, one a column")
        raise DataError(f"{name}: given {type(raw).__name__}; allowed: a mapping from columns to values")

    def write(self, output: Any) -> dict[str, Any]:
        if self.classes:
            return probabilities_by_name(self.classes, output)
        values = np.atleast_1d(output).astype(np.float64)
        values = values * self.output_std if self.output_std else values
        values = values + self.output_mean if self.output_mean else values
        return {column.name: as_number(value) for column, value in zip(self._outputs, values, strict=True)}

    def report(self, evaluated: Evaluated, folder: Path) -> dict[str, Any]:
        # Drawing takes matplotlib, which serving does not.
        from kindling.data.rows_report import report_classes, report_numbers

        if self.classes:
            return report_classes(evaluated, self.classes, folder)
        names = [column.name for column in self._outputs]
        return report_numbers(evaluated, names, self.output_mean, self.output_std, folder)

    def parameters(self) -> dict[str, Any]:
        columns = {
            "columns": [each.as_dict() for each in self._inputs],
            "outputs": [each.as_dict() for each in self._outputs],
            "classes": list(self.classes),
        }
        return columns | {name: getattr(self, name) for name in ("mean", "std", "output_mean", "output_std")}


def value_of(column: Column, given: Any, name: str) -> float:
    """A cell as a number; a choice as its position.

    Raises:
        DataError: it is none, or outside the column's limits.
    """
    if column.choices and str(given) in column.choices:
        return column.choices.index(str(given))
    if not column.choices:
        value = number_of(given)
        is_whole = column.type != "integer" or value.is_integer()
        # So written that it refuses NaN too.
        low, high = (-LARGEST if column.low is None else column.low), column.high
        if is_whole and low <= value <= (LARGEST if high is None else high):
            return value
    raise DataError(f"{name}: column {column.name}: given {given!r}; allowed: {column.allowed()}{hint(column, given)}")


def number_of(given: Any) -> float:
    """NaN of what is no number, or no plain one."""
    if isinstance(given, bool | bytes | bytearray) or (isinstance(given, str) and not NUMBER.fullmatch(given)):
        return math.nan
    try:
        return float(given)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def hint(column: Column, given: Any) -> str:
    """What is wrong with a text that people read as a number."""
    if not isinstance(given, str) or column.choices:
        return ""
    if NUMBER.fullmatch(given.strip()) and given != given.strip():
        return ", without blanks around it"
    return ", with a point and no comma" if NUMBER.fullmatch(given.replace(",", ".", 1)) and "," in given else ""

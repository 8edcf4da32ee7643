"""What is predicted of: images by name, or the rows of a table."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kindling.errors import ConfigError, DataError, one_line
from kindling.files.names import shown
from kindling.images.listing import LeftOut
from kindling.images.views import Views
from kindling.inference.image_predictor import ImagePredictor
from kindling.inference.predicting import image_names, raw_rows
from kindling.inference.predicting.image_names import STDIN, list_images
from kindling.inference.predicting.journal import stamp_of
from kindling.inference.predicting.raw_rows import RawRow, place_of, read_rows
from kindling.inference.predicting.tables import ClassColumns, Row, Table, ValueColumns
from kindling.inference.predictor import Predictor

log = logging.getLogger(__name__)


class Read(NamedTuple):
    """What is known of an item once it is read: its example, or the error of one that has none."""

    name: str | int
    stamp: str
    example: Any
    error: str = ""


class Source(ABC):
    """Where items come from, and what becomes of them.

    Args:
        given: as the command line names it.
        columns: of the table.
    """

    # What is counted, in the plural.
    noun: str
    # Worth threads.
    reads_files: bool

    def __init__(self, given: str, columns: Table):
        self.given, self.columns = given, columns

    @abstractmethod
    def items(self) -> Iterator[Any]:
        """
        Raises:
            ConfigError: there is none.
        """

    @abstractmethod
    def identity(self, item: Any) -> tuple[str | int, str]:
        """Its name in the table, and a stamp that changes with its content."""

    @abstractmethod
    def read(self, item: Any) -> Read:
        """Its example, or what is wrong with it."""

    @abstractmethod
    def rows(self, names: Sequence[str | int], examples: Sequence[Any]) -> list[Row]:
        """Of a batch."""

    def left_out(self) -> str:
        """What is among the items and is none, once all are listed."""
        return ""

    def total(self) -> int | None:
        """How many items there are, if that can be known beforehand."""
        return None


class Images(Source):
    """The images of a folder, a glob or stdin."""

    noun, reads_files = "images", True

    def items(self) -> Iterator[str]:
        self._left_out = LeftOut()
        return not_empty(list_images(self.given, self._left_out), self.given, "name")

    def left_out(self) -> str:
        return self._left_out.words()

    def total(self) -> int | None:
        return None if self.given == STDIN else sum(1 for _ in list_images(self.given))

    def identity(self, item: str) -> tuple[str, str]:
        return shown(item), stamp_of(item)

    def read(self, item: str) -> Read:
        stamp = stamp_of(item)
        try:
            if os.path.isdir(item):
                # A folder that may not be listed would look empty.
                os.scandir(item).close()
            return Read(shown(item), stamp, self.example(item))
        except Exception as error:
            # Decoders have errors of many classes.
            return Read(shown(item), stamp, None, one_line(error).removeprefix(f"{item}: "))

    @abstractmethod
    def example(self, item: str) -> Any:
        """As the model takes it."""


class ClassifiedImages(Images):
    """Those of a model of classes."""

    def __init__(self, predictor: ImagePredictor, columns: ClassColumns, given: str, views: Views):
        super().__init__(given, columns)
        self.predictor, self.row_of = predictor, columns.row
        self.views: Views = views

    def example(self, item: str) -> Any:
        return self.predictor.processor.decoding.file(Path(item), item)

    def rows(self, names: Sequence[str | int], examples: Sequence[Any]) -> list[Row]:
        found = self.predictor.probabilities(np.stack(examples), self.views).numpy()
        return [self.row_of(str(name), each) for name, each in zip(names, found, strict=True)]


class WrittenImages(Images):
    """Those of a task whose processor reads and writes in a way of its own."""

    def __init__(self, predictor: Predictor, given: str, folder: Path | None):
        columns = ValueColumns("file", predictor.processor.outputs, folder)
        super().__init__(given, columns)
        self.predictor, self.rows_of = predictor, columns.rows

    def example(self, item: str) -> Any:
        return self.predictor.processor.read(Path(item), item)

    def rows(self, names: Sequence[str | int], examples: Sequence[Any]) -> list[Row]:
        return self.rows_of(names, self.predictor.written(examples))


class Rows(Source):
    """The rows of a file or of stdin."""

    noun, reads_files = "rows", False

    def __init__(self, predictor: Predictor, given: str, folder: Path | None):
        self.place = place_of(given)
        columns = ValueColumns(self.place, predictor.processor.outputs, folder)
        super().__init__(given, columns)
        self.predictor, self.processor, self.rows_of = predictor, predictor.processor, columns.rows

    def items(self) -> Iterator[RawRow]:
        return not_empty(self._checked(read_rows(self.given)), self.given, "row")

    def _checked(self, rows: Iterator[RawRow]) -> Iterator[RawRow]:
        """
        Raises:
            DataError: a CSV lacks a column, so that no row can be right.
        """
        needed = [column.name for column in self.processor.inputs]
        for number, row in enumerate(rows):
            if number == 0 and row.values is not None:
                unused = [name for name in row.values if name not in needed]
                if self.place == "line" and not set(needed) <= row.values.keys():
                    raise DataError(
                        f"input: given {self.given} with the columns {', '.join(map(named, row.values))}; "
                        f"allowed: {', '.join(needed)}, each in the first line, with commas between"
                    )
                if unused:
                    log.info("columns that the model does not use: %s", ", ".join(unused))
            yield row

    def identity(self, item: RawRow) -> tuple[int, str]:
        return item.place, item.stamp()

    def read(self, item: RawRow) -> Read:
        if item.error:
            return Read(*self.identity(item), None, item.error)
        name = f"{self.place} {item.place}"
        try:
            return Read(*self.identity(item), self.processor.read(item.values, name))
        except DataError as error:
            return Read(*self.identity(item), None, one_line(error).removeprefix(f"{name}: "))

    def rows(self, names: Sequence[str | int], examples: Sequence[Any]) -> list[Row]:
        return self.rows_of(names, self.predictor.written(examples))


def named(column: str) -> str:
    """A column as a message shows it: with quotes, if blanks could be overlooked."""
    return column if column and column == column.strip() else repr(column)


def not_empty(items: Iterator[Any], given: str, noun: str) -> Iterator[Any]:
    """
    Raises:
        ConfigError: there is none.
    """
    first = next(items, None)
    allowed = image_names.ALLOWED if noun == "name" else raw_rows.ALLOWED
    if first is None:
        given = f"{STDIN}, and no {noun} on stdin" if given == STDIN else f"{given}, which has no {noun}"
        raise ConfigError(f"input: given {given}; allowed: {allowed}")
    return chain([first], items)

"""Predictions as rows, and rows as CSV, JSON or Parquet, one after another. Needs no torch."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any

# File, class, probability, further classes and probabilities, error.
Row = list[Any]
STDOUT = "-"
# Rows of a group of Parquet.
ROWS_A_GROUP = 8192


class Columns:
    """What stands in a row.

    Args:
        classes: their names, by label.
        top_k: likeliest classes that are named with their probabilities; None for the probability of each class.
    """

    def __init__(self, classes: Sequence[str], top_k: int | None):
        self.classes, self.top_k = [encodable(str(name)) for name in classes], top_k
        if top_k is None:
            different = len(set(self.classes)) == len(self.classes)
            each = [name if different else f"{label}_{name}" for label, name in enumerate(self.classes)]
            further = [f"probability_{name}" for name in each]
        else:
            further = [f"{what}_{place}" for place in range(1, top_k + 1) for what in ("class", "probability")]
        self.names = ["file", "class", "probability", *further, "error"]

    def row(self, file: str, probabilities: Any) -> Row:
        """Of an image with its probabilities (K,) float32, as an array."""
        # In the fewest digits that give its bits back.
        values = [float(str(value)) for value in probabilities]
        if not all(map(math.isfinite, values)):
            return self.without(file, "the model gives NaN for it")
        order = sorted(range(len(values)), key=lambda label: -values[label])
        first = [file, self.classes[order[0]], values[order[0]]]
        if self.top_k is None:
            return [*first, *values, ""]
        order = order[: self.top_k]
        return [*first, *(cell for label in order for cell in (self.classes[label], values[label])), ""]

    def without(self, file: str, error: str) -> Row:
        """Of an image that cannot be read."""
        return [file, *[None] * (len(self.names) - 2), encodable(error)]


class Tally:
    """How many rows there are, and how many of them hold an error."""

    num_images = num_errors = 0

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.num_images += 1
            self.num_errors += bool(row[-1])


def encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def write_csv(stream: IO[str], names: Sequence[str], rows: Iterable[Row]) -> None:
    # It ends lines with CR LF, and quotes whatever holds one of them.
    writer = csv.writer(stream)
    writer.writerow(names)
    writer.writerows(rows)


def write_json(stream: IO[str], names: Sequence[str], rows: Iterable[Row]) -> None:
    """A list of objects, one a line."""
    between = "[\n"
    for row in rows:
        stream.write(between + json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False))
        between = ",\n"
    stream.write("\n]\n")


def write_parquet(stream: IO[bytes], names: Sequence[str], rows: Iterator[Row]) -> None:
    """
    Raises:
        ConfigError: pyarrow is not installed.
    """
    from kindling.config.extras import optional

    pyarrow: Any = optional("pyarrow")
    parquet: Any = optional("pyarrow.parquet")
    is_text = [name in ("file", "class", "error") or name.startswith("class_") for name in names]
    types = [pyarrow.string() if text else pyarrow.float32() for text in is_text]
    schema = pyarrow.schema(list(zip(names, types, strict=True)))
    with parquet.ParquetWriter(stream, schema) as writer:
        while group := list(islice(rows, ROWS_A_GROUP)):
            columns = [pyarrow.array(cells, kind) for cells, kind in zip(zip(*group, strict=True), types, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


# The mode that a file is opened in, and what writes it.
ENDINGS: dict[str, tuple[str, Callable[..., None]]] = {
    ".csv": ("w", write_csv),
    ".json": ("w", write_json),
    ".parquet": ("wb", write_parquet),
}

"""Predictions as rows, and rows as CSV, JSON or Parquet, one after another. Needs no torch."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kindling.files.names import encodable
from kindling.files.whole_file import write_whole

if TYPE_CHECKING:
    # It takes numpy, and rules load this file at once.
    from kindling.data.processor import Column

# What was predicted of, its values, error.
Row = list[Any]
STDOUT = "-"
# Rows of a group of Parquet.
ROWS_A_GROUP = 8192
NAN = "the model gives NaN for it"


class Table:
    """What stands in a row: what was predicted of, values, and an error.

    Args:
        names: of the columns.
        types: of each: "text", "integer" or "number".
    """

    def __init__(self, names: Sequence[str], types: Sequence[str]):
        self.names, self.types = list(names), list(types)

    def without(self, name: str | int, error: str) -> Row:
        """Of what cannot be read."""
        return [name, *[None] * (len(self.names) - 2), encodable(error)]


class ValueColumns(Table):
    """Values by name, as a processor writes them.

    Args:
        place: what the first column is called, such as "line".
        outputs: of the processor.
        folder: of its images, which stand in the table by their paths.
    """

    def __init__(self, place: str, outputs: "Sequence[Column]", folder: Path | None = None):
        self.folder = folder
        self.pictures = {column.name for column in outputs if column.type == "image"}
        self.outputs = [column.name for column in outputs]
        names = [encodable(name) for name in self.outputs]
        # What is predicted may have the name of a place.
        names = [f"predicted_{name}" if name in (place, "error") else name for name in names]
        types = [column.type if column.type in ("number", "integer") else "text" for column in outputs]
        super().__init__([place, *names, "error"], ["text" if place == "file" else "integer", *types, "text"])

    def rows(self, names: Sequence[str | int], written: Sequence[Mapping[str, Any]]) -> list[Row]:
        return [self._row(name, values) for name, values in zip(names, written, strict=True)]

    def _row(self, name: str | int, written: Mapping[str, Any]) -> Row:
        values = [
            self._picture(name, output, written[output]) if output in self.pictures else written[output]
            for output in self.outputs
        ]
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            return self.without(name, NAN)
        return [name, *(encodable(value) if isinstance(value, str) else value for value in values), ""]

    def _picture(self, name: str | int, output: str, picture: Any) -> str:
        """The path of a PNG that is written, below the folder as its input lies below the current one or the root."""
        from kindling.images.png import png_of

        assert self.folder is not None, "stdout is refused"
        parts = [part for part in Path(str(name)).parts if part not in ("/", "..")]
        file = self.folder.joinpath(*parts[:-1], f"{parts[-1]}.{output}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(file, "wb") as stream:
            stream.write(png_of(picture, output))
        return str(file)


class ClassColumns(Table):
    """What stands in a row of an image.

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
        names = ["file", "class", "probability", *further, "error"]
        texts = [name in ("file", "class", "error") or name.startswith("class_") for name in names]
        super().__init__(names, ["text" if is_text else "number" for is_text in texts])

    def row(self, file: str, probabilities: Any) -> Row:
        """Of an image with its probabilities (K,) float32, as an array."""
        # In the fewest digits that give its bits back.
        values = [float(str(value)) for value in probabilities]
        if not all(map(math.isfinite, values)):
            return self.without(file, NAN)
        order = sorted(range(len(values)), key=lambda label: -values[label])
        first = [file, self.classes[order[0]], values[order[0]]]
        if self.top_k is None:
            return [*first, *values, ""]
        order = order[: self.top_k]
        return [*first, *(cell for label in order for cell in (self.classes[label], values[label])), ""]


class Tally:
    """How many rows there are, and how many of them hold an error."""

    num_rows = num_errors = 0

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.num_rows += 1
            self.num_errors += bool(row[-1])


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


def write_parquet(stream: IO[bytes], names: Sequence[str], rows: Iterator[Row], types: Sequence[str]) -> None:
    """Of the types of a Table.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    from kindling.config.extras import optional

    pyarrow: Any = optional("pyarrow")
    parquet: Any = optional("pyarrow.parquet")
    known = {"text": pyarrow.string(), "integer": pyarrow.int64(), "number": pyarrow.float32()}
    kinds = [known[each] for each in types]
    schema = pyarrow.schema(list(zip(names, kinds, strict=True)))
    with parquet.ParquetWriter(stream, schema) as writer:
        while group := list(islice(rows, ROWS_A_GROUP)):
            columns = [pyarrow.array(cells, kind) for cells, kind in zip(zip(*group, strict=True), kinds, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


# The mode that a file is opened in.
ENDINGS = {".csv": "w", ".json": "w", ".parquet": "wb"}


def write_table(ending: str, stream: IO[Any], table: Table, rows: Iterator[Row]) -> None:
    """Rows in the format of one of ENDINGS."""
    if ending == ".parquet":
        write_parquet(stream, table.names, rows, table.types)
    else:
        (write_json if ending == ".json" else write_csv)(stream, table.names, rows)

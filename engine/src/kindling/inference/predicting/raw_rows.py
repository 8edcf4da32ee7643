"""The rows of a CSV, of JSON or of stdin, one after another. Needs no torch."""

import csv
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import IO, Any, NamedTuple

from kindling.errors import DataError, one_line
from kindling.inference.predicting.image_names import STDIN

SUFFIXES = (".csv", ".json", ".jsonl")
ALLOWED = f"a file of rows that ends in {', '.join(SUFFIXES)}, or {STDIN} for CSV on stdin"


class RawRow(NamedTuple):
    """A row as it is given.

    Args:
        place: its line, or in a list of JSON its number; both from 1 on.
        values: by column; what is no row has an error instead.
        error: why it is none.
    """

    place: int
    values: Mapping[str, Any] | None
    error: str = ""

    def stamp(self) -> str:
        """What changes with its content."""
        content = json.dumps([self.values, self.error], default=str)
        return hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def place_of(given: str) -> str:
    """What the place of a row is called."""
    return "row" if given.lower().endswith(".json") else "line"


def read_rows(given: str) -> Iterator[RawRow]:
    """
    Raises:
        DataError: it is no table at all.
    """
    path = os.path.expanduser(given)
    suffix = os.path.splitext(path)[1].lower()
    read = {".json": _of_json, ".jsonl": _of_json_lines}.get(suffix, _of_csv)
    try:
        # A BOM is no part of the first column's name.
        with nullcontext(sys.stdin) if given == STDIN else open(path, encoding="utf-8-sig", newline="") as stream:
            yield from read(stream, given)
    except UnicodeDecodeError as error:
        raise DataError(f"{given}: is no text in UTF-8 ({one_line(error)}); convert it") from error


def _of_csv(stream: IO[str], given: str) -> Iterator[RawRow]:
    reader = csv.reader(stream)
    try:
        header = next(reader, [])
        twice = sorted({name for name in header if header.count(name) > 1})
        if not header or twice:
            what = f"the columns {', '.join(twice)} twice" if twice else "nothing"
            raise DataError(f"{given}: given {what}; allowed: CSV whose first line names each column once")
        for cells in reader:
            # A blank line is no row.
            if len(cells) == len(header):
                yield RawRow(reader.line_num, dict(zip(header, cells, strict=True)))
            elif cells:
                yield RawRow(reader.line_num, None, f"given {len(cells)} cells; allowed: {len(header)}, as the header")
    except csv.Error as error:
        raise DataError(f"{given}: line {reader.line_num} is no CSV ({error}); mend it") from error


def _of_json(stream: IO[str], given: str) -> Iterator[RawRow]:
    try:
        rows = json.load(stream)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{given}: is no JSON ({one_line(error)}); mend it") from error
    if not isinstance(rows, list):
        raise DataError(f"{given}: given {type(rows).__name__}; allowed: a list of objects, one a row")
    for place, row in enumerate(rows, start=1):
        yield _of_object(place, row)


def _of_json_lines(stream: IO[str], given: str) -> Iterator[RawRow]:
    for place, line in enumerate(stream, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield RawRow(place, None, f"is no JSON ({one_line(error)})")
            else:
                yield _of_object(place, row)


def _of_object(place: int, row: Any) -> RawRow:
    if isinstance(row, dict):
        return RawRow(place, row)
    return RawRow(place, None, f"given {type(row).__name__}; allowed: an object, a value for each column")

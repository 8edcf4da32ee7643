"""The rows of a CSV, of JSON or of stdin, one after another. Needs no torch."""

import csv
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
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
    # Else an open quote would swallow the rest.
    reader = csv.reader(stream, strict=True)
    place = 1
    try:
        # On stdin too, a BOM is no part of it.
        header = [name.removeprefix("\ufeff") for name in next(reader, [])]
        twice = twice_in(header)
        if not header or twice:
            what = f"the columns {', '.join(twice)} twice" if twice else "nothing"
            raise DataError(f"{given}: given {what}; allowed: CSV whose first line names each column once")
        place = reader.line_num + 1
        for cells in reader:
            # A blank line is no row.
            if len(cells) == len(header):
                yield RawRow(place, dict(zip(header, cells, strict=True)))
            elif cells:
                yield RawRow(place, None, f"given {len(cells)} cells; allowed: {len(header)}, as the header")
            place = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{given}: line {place} is no CSV ({error}); mend it") from error


def twice_in(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _of_json(stream: IO[str], given: str) -> Iterator[RawRow]:
    try:
        rows = json.load(stream, object_pairs_hook=_of_pairs)
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
                row = json.loads(line, object_pairs_hook=_of_pairs)
            except (json.JSONDecodeError, RecursionError) as error:
                yield RawRow(place, None, f"is no JSON ({one_line(error)})")
            else:
                yield _of_object(place, row)


class _Twice(list):
    """Names that an object of JSON gives twice, of which Python would keep the last."""


def _of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
    return _Twice(twice_in([name for name, _ in pairs])) or dict(pairs)


def _of_object(place: int, row: Any) -> RawRow:
    if isinstance(row, _Twice):
        return RawRow(place, None, f"given {', '.join(row)} twice; allowed: each column once")
    if isinstance(row, dict):
        return RawRow(place, row)
    return RawRow(place, None, f"given {type(row).__name__}; allowed: an object, a value for each column")

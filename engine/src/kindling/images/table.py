"""Images and their labels in a table: CSV, or Parquet if pyarrow is there.

Imports nothing heavy: a config asks here for its number of classes while it is composed.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from kindling.config.extras import optional
from kindling.config.fault import Fault, nearest
from kindling.errors import DataError, counted, one_line
from kindling.files.names import shown
from kindling.images.listing import same, shortened

# By which columns are found, without case, blanks and signs; each kind's own setting is `data.<kind>_column`.
NAMES = {
    "path": ("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagefilename", "img"),
    "label": ("label", "labels", "class", "classname", "classlabel", "category", "target"),
    "split": ("split", "subset", "partition"),
}
DELIMITERS = ",;\t|"
# What stands between several labels in a cell; hardly ever in a class's name, sometimes, and often.
SEPARATORS = "|;,/+& "
ALLOWED = "allowed: a .csv, .tsv or .parquet with a column of paths and one of labels"


class Row(NamedTuple):
    """A line of a table; the split is "" in a table without such a column."""

    path: str
    label: str
    split: str


def table_of(given: str | Path) -> Path:
    """
    Raises:
        DataError: it is no file, or its name has another ending.
    """
    file = Path(given).expanduser()
    if not str(given).strip() or not file.exists():
        raise DataError(f"data.table: given {given}, which does not exist; {ALLOWED}")
    if not file.is_file():
        raise DataError(f"data.table: given {file}, which is no file; {ALLOWED}")
    if file.suffix.lower() not in READERS:
        raise DataError(f"data.table: given {file}; {ALLOWED}")
    return file


def read_rows(file: Path, columns: Mapping[str, str | None]) -> Sequence[Row]:
    """
    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    try:
        state = file.stat()
        return _read(file, tuple(sorted(columns.items())), state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise DataError(f"data.table: given {file}, which cannot be read ({error.strerror or error})") from error


# The config asks for it, and then the data is read.
@lru_cache(maxsize=1)
def _read(file: Path, columns: tuple[tuple[str, str | None], ...], *_state: int) -> Sequence[Row]:
    rows = [Row(*each) for each in READERS[file.suffix.lower()](file, dict(columns))]
    if not rows:
        raise DataError(f"data.table: given {file}, which has no rows; {ALLOWED}")
    num_rows = Counter(row.label for row in rows)
    for sign in SEPARATORS:
        if found := combined(num_rows, sign):
            raise DataError(_several(file, sum(map(num_rows.__getitem__, found)), len(rows), found, sign))
    return rows


def combined(labels: Iterable[str], sign: str) -> list[str]:
    """Those that are several labels with a sign between them: each part is a label, or often a part by "|" or ";"."""
    parts = {label: [part.strip(" '\"") for part in label.strip("[](){}").split(sign)] for label in labels}
    single = {each[0] for each in parts.values() if len(each) == 1}
    joined = {label: [*filter(None, each)] for label, each in parts.items() if len(each) > 1}
    if sign in "|;":
        single |= {
            part for part, num in Counter(part for each in joined.values() for part in set(each)).items() if num > 1
        }
    found = [label for label, each in joined.items() if len(each) > 1 and single.issuperset(each)]
    # "hot dog" beside "hot" and "dog" is a class.
    return found if sign in "|;," or (len(found) > 1 and len(found) == len(joined)) else []


def _several(file: Path, num: int, num_rows: int, examples: Sequence[str], sign: str = "") -> str:
    by, renamed = (f" ({sign!r})", f", or write names of classes without {sign!r}") if sign else ("", "")
    return (
        f"data.table: given {file} with several labels{by} in {num} of {counted(num_rows, 'row')}: "
        f"{shortened([*map(repr, examples)])}; allowed: one a row, as there is no multi-label task; keep one label of "
        f"each{renamed}"
    )


def _of_csv(file: Path, columns: Mapping[str, str | None]) -> Iterator[tuple[str, str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = "\t" if file.suffix.lower() == ".tsv" else max(DELIMITERS, key=first.count)
            if "\0" in first:
                raise DataError(f"data.table: given {file}, which is no text; {ALLOWED}")
            lines = csv.reader(stream, delimiter=delimiter, strict=True)
            names = next(lines, [])
            places = [names.index(name) if name else None for name in chosen(file, names, columns)]
            # A class seen often is one text in memory.
            texts: dict[str, str] = {}
            for line in lines:
                if not line:
                    continue
                if len(line) != len(names):
                    raise DataError(
                        f"{file}, line {lines.line_num}: has {len(line)} values for {len(names)} columns; mend it"
                    )
                path, label, split = ("" if place is None else line[place] for place in places)
                label = _label(label)
                yield path.strip(), texts.setdefault(label, label), texts.setdefault(split, split)
    except csv.Error as error:
        raise DataError(f"data.table: given {file}, which is no CSV ({error}); mend it") from error


def _of_parquet(file: Path, columns: Mapping[str, str | None]) -> Iterator[tuple[str, str, str]]:
    parquet: Any = optional("pyarrow.parquet", "parquet")
    try:
        wanted = chosen(file, parquet.read_schema(file).names, columns)
        read = parquet.read_table(file, columns=list(dict.fromkeys(filter(None, wanted))))
    except DataError:
        raise
    except Exception as error:
        # Its errors have several classes.
        raise DataError(f"data.table: given {file}, which is no Parquet ({one_line(error)}); mend it") from error
    values = [read.column(name).to_pylist() if name else [""] * read.num_rows for name in wanted]
    if lists := [each for each in values[1] if isinstance(each, list)]:
        raise DataError(_several(file, len(lists), read.num_rows, cast(Any, lists)))
    for path, label, split in zip(*values, strict=True):
        yield _text(path).strip(), _label(_text(label)), _text(split)


READERS = {".csv": _of_csv, ".tsv": _of_csv, ".parquet": _of_parquet}


def _text(value: Any) -> str:
    # NaN is a missing value too.
    return "" if value is None or value != value else str(value)


def _label(text: str) -> str:
    """One form of labels that look alike."""
    return same(shown(text.strip()))


def chosen(file: Path, names: Sequence[str], columns: Mapping[str, str | None]) -> list[str | None]:
    """The columns of paths, labels and splits; the last may be missing.

    Raises:
        DataError: one is missing, there are two of a name, or several may be meant.
    """
    if twice := [name for name, num in Counter(names).items() if num > 1]:
        raise DataError(f"data.table: given {file} with two columns {twice[0]!r}; allowed: one of a name; rename one")
    return [_column(kind, file, names, columns.get(kind)) for kind in NAMES]


def _column(kind: str, file: Path, names: Sequence[str], given: str | None) -> str | None:
    setting = f"data.{kind}_column"
    listed = f"the columns of {file}: {shortened([*map(repr, names)])}"
    if given is not None:
        if given not in names:
            raise DataError(str(Fault(setting, repr(given), listed, nearest(given, names))))
        return given
    found = [name for name in names if re.sub(r"[\W_]", "", name.lower()) in NAMES[kind]]
    if len(found) > 1:
        raise DataError(
            f"{setting}: given none, and {shortened([*map(repr, found)])} may be meant; set it to one of them"
        )
    if not found and kind != "split":
        raise DataError(
            f"{setting}: given none, and no column is named {', '.join(NAMES[kind])}; allowed: {listed}; the first "
            "line must name them"
        )
    return found[0] if found else None

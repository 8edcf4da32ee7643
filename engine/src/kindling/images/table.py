"""Images and their labels in a table: CSV, or Parquet if pyarrow is there.

Imports nothing heavy: a config asks here for its number of classes while it is composed.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
# In a column of one label.
ON, OFF = {"1", "1.0", "True", "true"}, {"0", "0.0", "False", "false"}
# Of a row: its path, the cells of its labels, its split.
Cells = tuple[str, tuple[Any, ...], str]
SETTINGS = ("data.path_column", "data.label_column", "data.split_column", "data.label_separator")
ALLOWED = "allowed: a .csv, .tsv or .parquet with a column of paths and one of labels"


class Columns(NamedTuple):
    """Which columns hold what; None for one that is found by its name, like the two below.

    Args:
        path: of the images.
        label: of the labels; several hold 0 or 1 each.
        split: of the names of splits.
        separator: of several labels in a cell.
    """

    path: str | None = None
    label: str | tuple[str, ...] | None = None
    split: str | None = None
    separator: str | None = None

    @property
    def has_several_labels(self) -> bool:
        """Whether an image may have any number of labels."""
        return self.separator is not None or isinstance(self.label, tuple)


def columns_of(path: Any, label: Any, split: Any, separator: Any) -> Columns:
    """As a config gives them, in the order of SETTINGS.

    Raises:
        DataError: there are none of labels, or a separator that separates nothing.
    """
    path, split, separator = (None if each is None else str(each) for each in (path, split, separator))
    if separator == "":
        raise DataError("data.label_separator: given ''; allowed: a sign, such as '|', or null")
    if label is None or isinstance(label, str | int | float):
        return Columns(path, None if label is None else str(label), split, separator)
    names = tuple(map(str, label))
    if separator is not None:
        raise DataError(
            f"data.label_separator: given {separator!r} with {len(names)} columns of 0 and 1; allowed: null, or one "
            "column in data.label_column"
        )
    if len(set(names)) < max(2, len(names)):
        raise DataError(f"data.label_column: given {list(names)}; allowed: a name, or two or more, each once")
    return Columns(path, names, split)


class Row(NamedTuple):
    """A line of a table; the split is "" in a table without such a column, and no label gives no labels."""

    path: str
    labels: tuple[str, ...]
    split: str

    @property
    def label(self) -> str:
        return ", ".join(self.labels)


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


def read_rows(file: Path, columns: Columns) -> Sequence[Row]:
    """
    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    try:
        state = file.stat()
        return _read(file, columns, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise DataError(f"data.table: given {file}, which cannot be read ({error.strerror or error})") from error


# The config asks for it, and then the data is read.
@lru_cache(maxsize=1)
def _read(file: Path, columns: Columns, *_state: int) -> Sequence[Row]:
    rows = list(_rows(file, columns))
    if not rows:
        raise DataError(f"data.table: given {file}, which has no rows; {ALLOWED}")
    if isinstance(columns.label, tuple):
        return rows
    num_rows = Counter(label for row in rows for label in row.labels)
    for sign in SEPARATORS:
        if found := combined(num_rows, sign):
            raise DataError(_several(file, sum(map(num_rows.__getitem__, found)), len(rows), found, sign))
    return rows


def _rows(file: Path, columns: Columns) -> Iterator[Row]:
    """With equal labels as one tuple in memory, and equal splits as one text."""
    texts: dict[Any, Any] = {}
    read: dict[Any, tuple[str, ...]] = {}
    for path, cells, split in READERS[file.suffix.lower()](file, columns):
        labels = read.get(cells)
        if labels is None:
            labels = read[cells] = _labels(file, cells, columns)
        yield Row(path.strip(), texts.setdefault(labels, labels), texts.setdefault(split, split))


def _labels(file: Path, cells: tuple[Any, ...], columns: Columns) -> tuple[str, ...]:
    """Sorted, each once; a cell of Parquet may be a list of them.

    Raises:
        DataError: a column of one label holds something other than 0 or 1.
    """
    if isinstance(columns.label, tuple):
        wrong = next((each for each in zip(columns.label, cells, strict=True) if each[1] not in ON | OFF), None)
        if wrong:
            raise DataError(
                f"data.label_column: given {file} with {wrong[1]!r} in the column {wrong[0]!r}; allowed: 0 or 1"
            )
        return tuple(sorted(_label(name) for name, cell in zip(columns.label, cells, strict=True) if cell in ON))
    (cell,) = cells
    if columns.separator is None:
        return tuple(filter(None, [_label(cell)]))
    parts = cell if isinstance(cell, tuple) else cell.split(columns.separator)
    return tuple(sorted(set(filter(None, map(_label, parts)))))


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
        f"{shortened([*map(repr, examples)])}; allowed: one a row; keep one label of each{renamed}; or, for a "
        f"multi-label task, set data.label_separator to {sign or '|'!r}"
    )


def _of_csv(file: Path, columns: Columns) -> Iterator[Cells]:
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = "\t" if file.suffix.lower() == ".tsv" else max(DELIMITERS, key=first.count)
            if "\0" in first:
                raise DataError(f"data.table: given {file}, which is no text; {ALLOWED}")
            lines = csv.reader(stream, delimiter=delimiter, strict=True)
            names = next(lines, [])
            path, labels, split = chosen(file, names, columns)
            path, labels = names.index(path), [names.index(name) for name in labels]
            split = names.index(split) if split else None
            for line in lines:
                if not line:
                    continue
                if len(line) != len(names):
                    raise DataError(
                        f"{file}, line {lines.line_num}: has {len(line)} values for {len(names)} columns; mend it"
                    )
                cells = tuple(line[place] for place in labels)
                yield line[path], cells, "" if split is None else line[split]
    except csv.Error as error:
        raise DataError(f"data.table: given {file}, which is no CSV ({error}); mend it") from error


def _of_parquet(file: Path, columns: Columns) -> Iterator[Cells]:
    parquet: Any = optional("pyarrow.parquet", "parquet")
    try:
        path, labels, split = chosen(file, parquet.read_schema(file).names, columns)
        read = parquet.read_table(file, columns=list(dict.fromkeys(filter(None, [path, *labels, split]))))
    except DataError:
        raise
    except Exception as error:
        # Its errors have several classes.
        raise DataError(f"data.table: given {file}, which is no Parquet ({one_line(error)}); mend it") from error
    cells = [read.column(name).to_pylist() for name in labels]
    if columns.separator is None and (lists := [each for each in cells[0] if isinstance(each, list)]):
        raise DataError(_several(file, len(lists), read.num_rows, cast(Any, lists)))
    splits = read.column(split).to_pylist() if split else [""] * read.num_rows
    for name, *given, part in zip(read.column(path).to_pylist(), *cells, splits, strict=True):
        yield _text(name), tuple(map(_text, given)), _text(part)


READERS = {".csv": _of_csv, ".tsv": _of_csv, ".parquet": _of_parquet}


def _text(value: Any) -> Any:
    """A text, or several as a tuple."""
    if isinstance(value, list):
        return tuple(map(_text, value))
    # NaN is a missing value too.
    return "" if value is None or value != value else str(value)


def unnamed(columns: Columns, classes: Iterable[str]) -> list[str]:
    """The columns of 0 and 1 that are no class, as no image of training has a 1 there."""
    names = columns.label if isinstance(columns.label, tuple) else ()
    return [name for name in names if _label(name) not in set(classes)]


def _label(text: str) -> str:
    """One form of labels that look alike."""
    return same(shown(text.strip()))


def chosen(file: Path, names: Sequence[str], columns: Columns) -> tuple[str, list[str], str | None]:
    """The column of paths, those of labels and that of splits, which may be missing.

    Raises:
        DataError: one is missing, there are two of a name, or several may be meant.
    """
    if twice := [name for name, num in Counter(names).items() if num > 1]:
        raise DataError(f"data.table: given {file} with two columns {twice[0]!r}; allowed: one of a name; rename one")
    given = columns.label if isinstance(columns.label, tuple) else [columns.label]
    path = _column("path", file, names, columns.path)
    labels = [_column("label", file, names, each) for each in given]
    return cast(str, path), cast(list[str], labels), _column("split", file, names, columns.split)


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

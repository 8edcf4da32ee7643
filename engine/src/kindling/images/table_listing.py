"""Which images a table names, by split, and which of its rows cannot be used. Imports nothing heavy."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from kindling.errors import DataError, counted
from kindling.images.listing import Faulty, shortened
from kindling.images.table import Columns, Row, read_rows, table_of
from kindling.images.wrong_root import SPLIT_NAMES

FOUND_BY_NAME = Columns()
SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}


@dataclass
class Faults:
    """What rows of a table have that cannot be used, by kind, each with a few examples and their number."""

    num_rows: int
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, row: str) -> None:
        self.found.setdefault(kind, []).append(row)

    def words(self) -> str:
        """`4 of 90 rows: 3 of a missing file (a.jpg, b.jpg, c.jpg), 1 without a label (d.jpg)`; "" if there is none."""
        kinds = ", ".join(f"{len(rows)} {kind} ({shortened(rows)})" for kind, rows in self.found.items())
        return f"{len(self)} of {counted(self.num_rows, 'row')}: {kinds}" if kinds else ""

    def __len__(self) -> int:
        return sum(map(len, self.found.values()))


class Listed(NamedTuple):
    """The images of each split with their labels, in the order of a tree with a folder a class; and what is left out.

    Attributes:
        splits: names to (path, labels) sorted by labels and path; all are "train" in a table without splits.
        classes: sorted; those of training, or of all splits.
        faults: of rows that are left out.
    """

    splits: dict[str, list[tuple[Path, tuple[int, ...]]]]
    classes: list[str]
    faults: Faults


def list_table(
    table: str | Path,
    root: str | Path | None = None,
    columns: Columns = FOUND_BY_NAME,
    faulty: Faulty = "refuse",
    *,
    without_train: bool = False,
) -> Listed:
    """The images that a table names.

    Args:
        table: the file.
        root: that paths in it start from; None for the table's own folder.
        columns: which hold what.
        faulty: whether rows that cannot be used are refused or left out.
        without_train: whether it may have other splits alone, and classes that training lacks.

    Raises:
        DataError: the table cannot be read, or has faults that are refused.
    """
    file = table_of(table)
    rows = read_rows(file, columns)
    home = Path(root).expanduser() if root is not None else file.parent
    if not home.is_dir():
        raise DataError(
            f"data.root: given {home}, which is no folder; allowed: one that the paths of {file} start from"
        )
    split_of = _splits(file, rows, without_train=without_train)
    kept, faults = usable(rows, home, may_lack_labels=columns.has_several_labels)
    trained = {row.labels for _, row in kept if without_train or split_of[row.split] == "train"}
    trained_on = {label for labels in trained for label in labels}
    known = [(path, row) for path, row in kept if trained_on.issuperset(row.labels)]
    for _, row in kept:
        if other := [label for label in row.labels if label not in trained_on]:
            faults.add("with a label that no row of training has", f"{', '.join(other)!r} of {row.path}")
    if faults and faulty == "refuse":
        raise DataError(
            f"data.table: given {file}, which has rows that cannot be used, {faults.words()}; mend them, or leave them "
            "out with data.faulty=skip"
        )
    classes = sorted(trained_on)
    if len(classes) < 2 and not without_train:
        left_out = f"; {words}" if (words := left_out_words(faults)) else ""
        raise DataError(
            f"data.table: given {file}, whose rows for training have the labels {classes}{left_out}; allowed: two or "
            "more"
        )
    names = {name: place for place, name in enumerate(classes)}
    places = {row.labels: tuple(names[label] for label in row.labels) for _, row in known}
    splits: dict[str, list[tuple[Path, tuple[int, ...]]]] = {
        name: [] for name in SPLIT_NAMES if name in split_of.values()
    }
    # As a tree is listed: paths are compared folder by folder.
    for path, row in sorted(known, key=lambda each: (places[each[1].labels], each[0].split(os.sep))):
        splits[split_of[row.split]].append((Path(path), places[row.labels]))
    return Listed(splits, classes, faults)


def usable(rows: Sequence[Row], home: Path, *, may_lack_labels: bool = False) -> tuple[list[tuple[str, Row]], Faults]:
    """Rows with their whole paths, of each file the first; and what is wrong with the others."""
    faults = Faults(len(rows))
    first: dict[str, Row] = {}
    contradicted: set[str] = set()
    for row in rows:
        path = str(home / row.path)
        before = first.get(path)
        if not row.path:
            faults.add("without a path", f"label {row.label!r}")
        elif not row.labels and not may_lack_labels:
            faults.add("without a label", row.path)
        elif before is None and not os.path.isfile(path):
            faults.add("of a missing file", row.path)
        elif before is None:
            first[path] = row
        elif before.labels != row.labels:
            contradicted.add(path)
            faults.add("of a file named before with another label", f"{row.path}: {before.label!r} and {row.label!r}")
        else:
            split = f" in {row.split} and {before.split}" if row.split != before.split else ""
            faults.add("of a file named before", f"{row.path}{split}")
    for path in sorted(contradicted):
        faults.add("contradicted by another row", first.pop(path).path)
    return list(first.items()), faults


def _splits(file: Path, rows: Sequence[Row], *, without_train: bool) -> dict[str, str]:
    """Which split each name in a table means.

    Raises:
        DataError: a name is none, or training is not among them.
    """
    names = {row.split for row in rows}
    if names == {""}:
        return {"": "train"}
    found = {name: SPLIT_OF.get(name.strip().lower()) for name in names}
    unknown = sorted(name for name, split in found.items() if split is None)
    if unknown:
        raise DataError(
            f"data.split_column: given {file} with {shortened([*map(repr, unknown)])}; allowed: {', '.join(SPLIT_OF)}"
        )
    if "train" not in found.values() and not without_train:
        raise DataError(
            f"data.split_column: given {file} without rows of train; allowed: train, and val and test if any"
        )
    return {name: split for name, split in found.items() if split}


def facts_of(table: str, root: str | None, columns: Columns, faulty: Faulty) -> Listed:
    """As `list_table`, of a table that has not changed since: a config asks for its classes, channels and size.

    Raises:
        DataError: as `list_table`.
    """
    state = table_of(table).stat()
    return _facts(table, root, columns, faulty, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _facts(table: str, root: str | None, columns: Columns, faulty: Faulty, *_state: int) -> Listed:
    return list_table(table, root, columns, faulty)


def spread_of_classes(listed: Listed) -> list[list[Path]]:
    """The training images of each class, of several labels by the first; last those without any."""
    by_class: list[list[Path]] = [[] for _ in (*listed.classes, "")]
    for path, labels in listed.splits.get("train", []):
        by_class[labels[0] if labels else -1].append(path)
    return [paths for paths in by_class if paths]


def left_out_words(faults: Faults) -> str:
    return f"left out: {faults.words()}" if faults else ""

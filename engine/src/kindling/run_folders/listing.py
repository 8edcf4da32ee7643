"""Runs as rows of a table, from their run.json alone, which is read with distrust."""

import math
import operator
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kindling.config.fault import Fault, nearest
from kindling.errors import ConfigError
from kindling.run_folders.lock import is_held
from kindling.run_folders.saved_run import run_of

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
CONDITION = re.compile(r"([^<>=!]+)(>=|<=|!=|=|>|<)(.*)")
# What each run has beside its settings and metrics.
FACTS = ("run", "status", "started", "best", "reason")
# Folders of a run, in which there are no others.
INSIDE = ("checkpoints", "tensorboard", "evaluation", "export")


class Row(NamedTuple):
    """A run.

    Attributes:
        facts: by name, those of FACTS.
        others: its settings by dotted key, and its metrics.
    """

    facts: dict[str, Any]
    others: dict[str, Any]

    def __getitem__(self, name: str) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.facts[name] if name in self.facts else self.others.get(name)


def rows_of(folder: Path) -> Iterator[Row]:
    """The runs in a folder and below it, also those of sweeps; without the files that no run has written.

    A folder with the settings and the checkpoints of a run is one, also if its run.json is lost.
    """
    for place, folders, files in os.walk(folder):
        folders.sort()
        if "run.json" in files or ("config.yaml" in files and {"checkpoints", "run.json"} & {*folders}):
            folders[:] = [each for each in folders if each not in INSIDE]
            yield row_of(Path(place), folder)


def row_of(run: Path, below: Path) -> Row:
    name, facts = str(run.relative_to(below)), run_of(run)
    if facts is None:
        reason = "run.json describes no run" if (run / "run.json").is_file() else "there is no file run.json"
        broken = {"run": name, "status": "unreadable", "reason": reason}
        return Row(dict.fromkeys(FACTS) | broken, {})
    status, best = facts["status"], facts.get("best")
    if status == "running" and not is_held(run):
        status = "killed"
    best = best if isinstance(best, dict) else {}
    settings, metrics = facts.get("settings"), facts.get("metrics", {})
    return Row(
        {
            "run": name,
            "status": status,
            "started": facts.get("started_at"),
            "best": f"{best.get('monitor')} {_number(best.get('score'))}" if best else None,
            "reason": facts.get("reason"),
        },
        {**(settings if isinstance(settings, dict) else {}), **metrics},
    )


def _number(value: Any) -> str:
    try:
        return f"{value:.5g}" if isinstance(value, int | float) else str(value)
    except OverflowError:
        return str(value)


def chosen(rows: Sequence[Row], conditions: Sequence[str], key: str | None, *, reverse: bool) -> list[Row]:
    """The rows for which all conditions hold, in the order of a column; those without a value come last.

    Raises:
        ConfigError: a condition is none, or names a column that no run has.
    """
    found = list(rows)
    for text in conditions:
        match = CONDITION.fullmatch(text)
        if not match:
            raise ConfigError(f"--where: given {text}; allowed: a column, one of {' '.join(OPERATORS)}, and a value")
        name, compare, value = match[1].strip(), OPERATORS[match[2]], match[3].strip()
        refuse_unknown("--where", [name], rows)
        found = [row for row in found if _holds(row[name], compare, value)]
    if key is None:
        return found
    refuse_unknown("--sort", [key], rows)
    known = [row for row in found if not _is_nothing(row[key])]
    known.sort(key=lambda row: _comparable(row[key]), reverse=reverse)
    return [*known, *(row for row in found if _is_nothing(row[key]))]


def refuse_unknown(flag: str, names: Sequence[str], rows: Sequence[Row]) -> None:
    """
    Raises:
        ConfigError: no run has a column of one of these names.
    """
    known = {*FACTS, *(key for row in rows for key in row.others)}
    for name in names if rows else ():
        if name not in known:
            allowed = f"{', '.join(FACTS)}, a setting such as optimizer.lr, or a metric such as val/loss"
            raise ConfigError(str(Fault(flag, name, allowed, nearest(name, known))))


def _holds(value: Any, compare: Callable[[Any, Any], bool], wanted: str) -> bool:
    """Numbers are compared as numbers, all else as text; of what a run does not have, only != holds."""
    if value is None:
        return compare is operator.ne
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return compare(value, float(wanted))
        except ValueError:
            return compare is operator.ne
    # Of a list, as it is typed on a command line.
    return compare(text_of(value).replace(", ", ","), wanted.replace(", ", ","))


def _is_nothing(value: Any) -> bool:
    """NaN has no place in an order."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _comparable(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # An integer may be too large for a float.
    return not is_number, value if is_number else 0.0, "" if is_number else text_of(value)


def text_of(value: Any) -> str:
    """A value as on a command line, and nothing that a terminal would obey."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)

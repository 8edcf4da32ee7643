"""The trials of a sweep as a table that fits the terminal, and as JSON."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from kindling.run_folders.columns import GAP, WIDE
from kindling.run_folders.listing import text_of
from kindling.run_folders.lock import CLAIM, is_held
from kindling.run_folders.trials import Trial
from kindling.sweeps.objectives import front_of, objectives_of, values_of
from kindling.sweeps.words import rank, shortened

# The states of the trials without numbers.
LATE = ("running", "interrupted", "killed", "unreadable", "not begun", "pruned", "no number", "failed")


def state_of(trial: Trial, objectives: Mapping[str, str]) -> str:
    """What a person wants to know of a trial beside its numbers: nothing, if it has finished with them."""
    if trial.state == "finished":
        return "" if values_of(trial, objectives) else "no number"
    if trial.state != "open":
        return trial.state
    if is_held(trial.folder) or is_held(trial.folder, CLAIM):
        return "running"
    if trial.facts is None and os.path.lexists(trial.folder / "run.json"):
        return "unreadable"
    status = (trial.facts or {}).get("status")
    return {"interrupted": "interrupted", "running": "killed"}.get(str(status), "not begun")


def best_first(trials: Sequence[Trial], objectives: Mapping[str, str]) -> list[tuple[Trial, str]]:
    """The trials with their states: those of the front come first, those without numbers last, as LATE has them."""
    front = {trial.number for trial in front_of(trials, objectives)} if len(objectives) > 1 else set()
    found = [(trial, "front" if trial.number in front else state_of(trial, objectives)) for trial in trials]

    def order(each: tuple[Trial, str]) -> Any:
        trial, state = each
        return LATE.index(state) if state in LATE else -1, state != "front", rank(trial, objectives)

    return sorted(found, key=order)


def table(trials: Sequence[Trial], settings: Mapping[str, Any], most: int | None = None, columns: int = WIDE) -> Table:
    """The trials, best first: a column for each setting if that fits, else all settings in one.

    Args:
        most: rows that are shown.
        columns: of the terminal.
    """
    objectives = objectives_of(settings)
    ordered = best_first(trials, objectives)[:most]
    shown = [trial for trial, _ in ordered]
    names = short_names(list(settings["params"]))
    first = [("trial", [str(trial.number) for trial in shown])]
    first += [(text_of(name), [_number(trial.value(name)) for trial in shown]) for name in objectives]
    last = [("", [state for _, state in ordered])] if any(state for _, state in ordered) else []
    of_settings = [(name, [value_of(trial, key) for trial in shown]) for key, name in names.items()]
    for split in (str, _in_lines):
        cells = [(split(name), column) for name, column in [*first, *of_settings, *last]]
        widths = [max(map(len, [*name.split("\n"), *column])) for name, column in cells]
        if sum(widths) + GAP * (len(widths) - 1) <= columns:
            return _table(cells)
    together = [_together(trial, names) for trial in shown]
    return _table([*((_in_lines(name), column) for name, column in first), ("settings", together), *last])


def _together(trial: Trial, names: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value_of(trial, key)}" for key, name in names.items() if key in trial.params)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _table(cells: Sequence[tuple[str, Sequence[str]]]) -> Table:
    found = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for place, (name, column) in enumerate(cells):
        # What all rows need is not narrowed for the settings.
        width = max(map(len, [*name.split("\n"), *column])) if name != "settings" else None
        found.add_column(name, justify="left" if place else "right", overflow="fold", min_width=width)
    for row in zip(*(column for _, column in cells), strict=True):
        found.add_row(*row)
    return found


def _in_lines(name: str) -> str:
    """A name that takes several lines instead of a wide column."""
    for sign in "._/":
        name = name.replace(sign, f"{sign}\n")
    return name


def value_of(trial: Trial, key: str) -> str:
    """As short as a table wants it; "" of a setting that is not there under its condition."""
    return text_of(" ".join(shortened(trial.params.get(key, "")).split()))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """By key the shortest end of it that no other has, such as lr of optimizer.lr."""
    found = {}
    for key in keys:
        parts = key.lstrip("+").split(".")
        ends = [".".join(parts[-number:]) for number in range(1, len(parts) + 1)]
        others = [other.lstrip("+") for other in keys if other != key]
        free = (end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others))
        found[key] = text_of(next(free, key))
    return found


def reasons(trials: Sequence[Trial]) -> list[str]:
    """Why trials have failed, a line for each reason, with their numbers."""
    found: dict[str, list[str]] = {}
    for trial in trials:
        if trial.state == "failed":
            found.setdefault(text_of(trial.reason.partition("\n")[0]) or "no reason", []).append(str(trial.number))
    ordered = sorted(found.items(), key=lambda each: -len(each[1]))
    return [f"failed: trial{'s' * (len(of) > 1)} {', '.join(of)}: {reason}" for reason, of in ordered]


def as_json(trials: Sequence[Trial], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A dict for each trial, best first."""
    objectives = objectives_of(settings)
    return [
        {
            "trial": trial.number,
            "state": state or "finished",
            "values": {name: trial.value(name) for name in objectives},
            "params": trial.params,
            "reason": trial.reason or None,
            "folder": str(trial.folder),
            **{key: (trial.facts or {}).get(key) for key in ("started_at", "ended_at")},
        }
        for trial, state in best_first(trials, objectives)
    ]

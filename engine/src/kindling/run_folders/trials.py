"""The trials of a sweep, read from their folders, which are all that there is of a sweep."""

import csv
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

from kindling.config.logged import FACTS
from kindling.errors import ConfigError
from kindling.files.foreign_file import read_text
from kindling.files.whole_file import write_whole
from kindling.run_folders.saved_run import run_of

SWEEP_FILE, TRIAL_FILE = "sweep.json", "trial.json"
# Bytes.
MOST_OF_TRIAL, MOST_OF_METRICS = 1_000_000, 200_000_000
# A folder of another name, such as 007, is no trial's.
NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
RESTORE = "allowed: the file as its sweep wrote it; put it back, or remove the folder and run the sweep anew"
# How a trial can have ended.
ENDS = ("finished", "pruned", "failed")


@dataclass
class Trial:
    """One trial, as its folder tells.

    Attributes:
        number: the name of its folder.
        params: what the settings of the space are, as texts.
        overrides: those of them that the sweep chose.
        outcome: what the sweep has written of its end, if the run could not.
        facts: its run.json; None before there is one.
    """

    folder: Path
    params: dict[str, str]
    overrides: list[str] = field(default_factory=list)
    outcome: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] | None = None

    @property
    def number(self) -> int:
        return int(self.folder.name)

    @property
    def state(self) -> str:
        """finished, pruned, failed; or open: not begun, running, or interrupted."""
        status = self.outcome.get("state") or (self.facts or {}).get("status")
        return status if status in ENDS else "open"

    @property
    def reason(self) -> str:
        return str(self.outcome.get("reason") or (self.facts or {}).get("reason") or "")

    @property
    def score(self) -> float | None:
        """The best value of what was monitored; None unless the trial finished with a number."""
        score = _number(self._best.get("score"))
        return score if self.state == "finished" and score is not None and math.isfinite(score) else None

    def value(self, name: str) -> float | None:
        """A metric, at the validation at which what was monitored was best; or one of FACTS.

        None unless the trial finished with such a number.
        """
        score, monitor = self.score, str(self._best.get("monitor", name))
        if name in FACTS:
            found = self._fact(name) if self.state == "finished" else None
        elif score is None or name == monitor:
            found = score
        else:
            found = next((_number(row.get(name)) for row in self._rows if _number(row.get(monitor)) == score), None)
        return found if found is not None and math.isfinite(found) else None

    @property
    def _best(self) -> dict[str, Any]:
        return (self.facts or {}).get("best") or {}

    def _fact(self, name: str) -> float | None:
        facts = self.facts or {}
        if name == "parameters":
            return _number(facts.get("num_parameters"))
        every = [each.get("timings") for each in (*facts.get("earlier", []), facts) if isinstance(each, dict)]
        attempts = [each for each in every if isinstance(each, dict)]
        # An attempt that was interrupted has its total alone.
        return sum(_number(each.get("fit_s", each.get("total_s"))) or 0.0 for each in attempts)

    def reports(self, monitor: str) -> list[float]:
        """What was monitored, at each validation."""
        return [value for row in self._rows if (value := _number(row.get(monitor))) is not None]

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        try:
            return list(csv.DictReader(StringIO(read_text(self.folder / "metrics.csv", MOST_OF_METRICS))))
        except (OSError, ValueError, csv.Error):
            return []


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


class Trials:
    """The trials of a sweep; what has ended is read once.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._ended: dict[str, Trial] = {}

    def read(self) -> list[Trial]:
        """Those that have been asked for, in the order of their numbers."""
        return [trial for folder in self.folders() if (trial := self.of(folder))]

    def folders(self) -> list[Path]:
        """Those that are claimed, with a trial or without."""
        with os.scandir(self.folder) as found:
            names = [each.name for each in found if NUMBER.fullmatch(each.name) and each.is_dir()]
        return [self.folder / name for name in sorted(names, key=int)]

    def of(self, folder: Path) -> Trial | None:
        """None if the folder was claimed, and nothing asked for yet."""
        trial = self._ended.get(folder.name) or read_trial(folder)
        if trial and trial.state != "open":
            self._ended[folder.name] = trial
        return trial


def read_trials(sweep: Path) -> list[Trial]:
    """The trials that have been asked for, in the order of their numbers."""
    return Trials(sweep).read()


def unreadable(sweep: Path) -> list[int]:
    """The trials whose trial.json is there and is none."""
    folders = [folder for folder in Trials(sweep).folders() if os.path.lexists(folder / TRIAL_FILE)]
    return [int(folder.name) for folder in folders if read_trial(folder) is None]


def read_trial(folder: Path) -> Trial | None:
    """None if the folder was claimed, and nothing asked for yet."""
    try:
        content = json.loads(read_text(folder / TRIAL_FILE, MOST_OF_TRIAL))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("params"), dict):
        return None
    params = {str(key): str(value) for key, value in content["params"].items()}
    overrides, outcome = content.get("overrides"), content.get("outcome")
    return Trial(
        folder,
        params,
        [str(each) for each in overrides] if isinstance(overrides, list) else [],
        outcome if isinstance(outcome, dict) else {},
        run_of(folder),
    )


def write_trial(trial: Trial) -> None:
    content = {"params": trial.params, "overrides": trial.overrides, "outcome": trial.outcome}
    with write_whole(trial.folder / TRIAL_FILE, durable=True) as stream:
        json.dump(content, stream, indent=2, ensure_ascii=False)


def read_sweep(sweep: Path) -> dict[str, Any] | None:
    """What sweep.json holds; None if the folder has none.

    Raises:
        ConfigError: it cannot be read.
    """
    file = sweep / SWEEP_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(read_text(file, MOST_OF_TRIAL))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: {error}; {RESTORE}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: holds no sweep; {RESTORE}")
    return content


def write_sweep(sweep: Path, content: Mapping[str, Any]) -> None:
    with write_whole(sweep / SWEEP_FILE, durable=True) as stream:
        json.dump(content, stream, indent=2, ensure_ascii=False)

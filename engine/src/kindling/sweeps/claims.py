"""Which trial comes next: whoever makes its folder has it, in whatever process."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kindling.config.composition import to_plain
from kindling.config.space import Param, text_of
from kindling.errors import InUseError, KindlingError
from kindling.run_folders.lock import CLAIM, RunLock, is_held
from kindling.run_folders.trials import Trial, Trials, write_trial


class Claims:
    """Takes trials for this process.

    Args:
        trials: of the sweep's folder.
        config: of the sweep.
        settings: of the sweep.
        space: its parameters.
        most: trials of the sweep.
    """

    def __init__(
        self, trials: Trials, config: DictConfig, settings: Mapping[str, Any], space: Sequence[Param], most: int
    ):
        self.trials, self.config, self.settings, self.space, self.most = trials, config, settings, space, most

    def next(self) -> tuple[Trial, RunLock] | None:
        """A trial that nobody works on: one that was begun, or a new one; None if there is none, or none yet."""
        for folder in self.trials.folders():
            # Somebody has put it there, or had more trials.
            if int(folder.name) >= self.most:
                break
            found = self.trials.of(folder)
            if found is None or found.state == "open":
                if _is_ending(folder):
                    # With its outcome, another trial would be asked for.
                    return None
                claim = _claimed(folder)
                # Meanwhile another process may have ended it.
                found = self.trials.of(folder)
                if claim and (found is None or found.state == "open"):
                    return found or self._asked(folder), claim
                if claim:
                    claim.release()
        return self._new()

    def elsewhere(self) -> list[int]:
        """The trials that have not ended: where `next` finds none, those that other processes work on."""
        numbers = [int(folder.name) for folder in self.trials.folders() if int(folder.name) < self.most]
        return [number for number in numbers if self._is_open(number)]

    def _is_open(self, number: int) -> bool:
        trial = self.trials.of(self.trials.folder / str(number))
        return trial is None or trial.state == "open"

    def _new(self) -> tuple[Trial, RunLock] | None:
        while True:
            taken = {int(folder.name) for folder in self.trials.folders()}
            number = next(each for each in count() if each not in taken)
            if number >= self.most:
                return None
            folder = self.trials.folder / str(number)
            if not folder.is_dir() and os.path.lexists(folder):
                raise KindlingError(f"{folder}: is no folder, and stands where a trial's is to be; move it away")
            with suppress(FileExistsError):
                # Whoever makes the folder has the trial.
                folder.mkdir()
                claim = _claimed(folder)
                if claim:
                    return self._asked(folder), claim

    def _asked(self, folder: Path) -> Trial:
        """The trial of a folder that was just claimed, written into it."""
        from kindling.sweeps.sampling import ask

        number = int(folder.name)
        others = [trial for trial in self.trials.read() if trial.number != number]
        params = ask(self.settings, self.space, number, others)
        overrides = [f"{key}={value}" for key, value in params.items()]
        trial = Trial(folder, {**self._defaults(params), **params}, overrides)
        write_trial(trial)
        return trial

    def _defaults(self, params: Mapping[str, Any]) -> dict[str, str]:
        """What the config has of the settings that a trial to begin with leaves alone."""
        found: dict[str, str] = {}
        for param in self.space:
            if param.key not in params and param.is_active({**found, **params}):
                key = param.key.lstrip("+")
                chosen = OmegaConf.select(self.config, f"hydra.runtime.choices.{key}")
                value = chosen if chosen is not None else to_plain(OmegaConf.select(self.config, key))
                # As the space has it, so that a sampler learns from it.
                found[param.key] = param.spelled(value) or text_of(value)
        return found


def _is_ending(folder: Path) -> bool:
    """Whether a run goes on whose sweep has died, which ends it."""
    return is_held(folder) and not is_held(folder, CLAIM)


def _claimed(folder: Path) -> RunLock | None:
    """None if another process has it, or its run still lives."""
    if is_held(folder, CLAIM) or is_held(folder):
        return None
    claim = RunLock(folder, CLAIM)
    try:
        claim.acquire()
    except InUseError:
        return None
    return claim

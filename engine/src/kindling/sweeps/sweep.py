"""The loop of a sweep: which trial comes next, and what came of those that ended."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from kindling.config import project
from kindling.errors import ConfigError, Interrupted, InUseError, KindlingError
from kindling.files.redaction import redact_text
from kindling.files.whole_file import write_whole
from kindling.run_folders.lock import CLAIM, RunLock, is_held
from kindling.run_folders.trials import (
    SWEEP_FILE,
    Trial,
    read_sweep,
    read_trial,
    read_trials,
    trial_folders,
    write_sweep,
    write_trial,
)
from kindling.sweeps import words
from kindling.sweeps.jobs import Forks, death
from kindling.sweeps.recipe import recipe
from kindling.sweeps.settings import described, refuse_other_starts, refuse_other_sweep, settings_of, space_of

# Between two looks at the processes.
LOOK_S = 0.02


class Running(NamedTuple):
    """A trial in a process of its own.

    Attributes:
        place: of its cores.
        claim: the lock that tells others that it is taken.
        started: by the monotonic clock.
    """

    trial: Trial
    place: int
    claim: RunLock
    started: float


class Sweep:
    """The trials of a folder, of which several processes may each run some.

    Args:
        loader: composes the config of a trial.
        context: Hydra's.
        task: of the command.
        config: of the sweep.
        arguments: the overrides of the command line.
    """

    def __init__(self, loader: Any, context: Any, task: Any, config: DictConfig, arguments: Sequence[str]):
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.settings = settings_of(config)
        self.space, self.fixed = space_of(loader, self.settings, arguments)
        self.config = config
        self.forks = Forks(loader, context, task, config, self.settings["n_jobs"])
        self.running: dict[int, Running] = {}
        self.ended_s: list[float] = []
        self.started = time.monotonic()

    def run(self) -> None:
        """
        Raises:
            ConfigError: the folder holds another sweep.
            KindlingError: trials have failed.
            Interrupted: a signal came, or the time is over; all trials that ran can be gone on with.
        """
        refuse_other_starts(self.space, self.settings["start"])
        self.folder.mkdir(parents=True, exist_ok=True)
        # Looked for first, since another process writes sweep.json before it makes one.
        begun = trial_folders(self.folder)
        description = described(self.settings, self.space, self.fixed)
        before = read_sweep(self.folder)
        if before is not None:
            refuse_other_sweep(str(self.folder), before, description)
        elif begun:
            raise ConfigError(
                f"{self.folder}: holds {begun[0].name}, and no {SWEEP_FILE}; "
                "allowed: a folder without runs, as by sweep.name=NEW, or remove it"
            )
        else:
            write_sweep(self.folder, description)
        self._say_begin(read_trials(self.folder))
        try:
            while self._start_some() or self.running:
                self._wait()
        except BaseException:
            self._stop()
            raise
        self._conclude()

    def _start_some(self) -> bool:
        """Start as many trials as there are places; whether there is anything to wait for."""
        while len(self.running) < self.settings["n_jobs"]:
            claimed = self._next()
            if claimed is None:
                break
            trial, claim = claimed
            place = min(set(range(self.settings["n_jobs"])) - {each.place for each in self.running.values()})
            pid = self.forks.start(trial.folder, [*self.fixed, *trial.overrides], place)
            self.running[pid] = Running(trial, place, claim, time.monotonic())
        return bool(self.running)

    def _next(self) -> tuple[Trial, RunLock] | None:
        """A trial that nobody works on: one that was begun, or a new one; None if there is none left."""
        self._refuse_further_failures()
        for folder in trial_folders(self.folder):
            found = read_trial(folder)
            if found is None and self._is_beyond(int(folder.name)):
                continue
            if found is None or found.state == "open":
                claim = self._claimed(folder)
                # Meanwhile another process may have ended it.
                found = read_trial(folder)
                if claim and (found is None or found.state == "open"):
                    return found or self._asked(folder), claim
                if claim:
                    claim.release()
        return self._new()

    def _is_beyond(self, number: int) -> bool:
        """Whether a folder is none of this sweep's trials: those that it asks for have no such number."""
        if self.settings["sampler"] == "grid":
            return self._params(number) is None
        return number >= self.settings["n_trials"]

    def _new(self) -> tuple[Trial, RunLock] | None:
        most = self.settings["n_trials"]
        while True:
            taken = {int(folder.name) for folder in trial_folders(self.folder)}
            number = next(each for each in count() if each not in taken)
            ended = most is not None and number >= most
            if ended or (self.settings["sampler"] == "grid" and self._params(number) is None):
                return None
            folder = self.folder / str(number)
            if not folder.is_dir() and os.path.lexists(folder):
                raise KindlingError(f"{folder}: is no folder, and stands where a trial's is to be; move it away")
            with suppress(FileExistsError):
                # Whoever makes the folder has the trial.
                folder.mkdir()
                claim = self._claimed(folder)
                if claim:
                    return self._asked(folder), claim

    def _claimed(self, folder: Path) -> RunLock | None:
        """None if another process has it, or its run still lives."""
        if is_held(folder, CLAIM) or is_held(folder):
            return None
        claim = RunLock(folder, CLAIM)
        try:
            claim.acquire()
        except InUseError:
            return None
        return claim

    def _params(self, number: int) -> dict[str, Any] | None:
        from kindling.sweeps.sampling import ask

        others = [trial for trial in read_trials(self.folder) if trial.number != number]
        return ask(self.settings, self.space, number, others)

    def _asked(self, folder: Path) -> Trial:
        """The trial of a folder that was just claimed, written into it."""
        params = self._params(int(folder.name)) or {}
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
                value = chosen if chosen is not None else OmegaConf.select(self.config, key)
                found[param.key] = str(value)
        return found

    def _wait(self) -> None:
        """Until a trial has ended, or the time is over.

        Raises:
            Interrupted: the time of the sweep is over.
        """
        while True:
            for pid in list(self.running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._end(self.running.pop(pid), os.waitstatus_to_exitcode(status))
                    return
            now = time.monotonic()
            if self.settings["hours"] is not None and now - self.started > 3600 * self.settings["hours"]:
                print(f"sweep: sweep.hours={self.settings['hours']} is over; the same command goes on", flush=True)
                raise Interrupted("SIGTERM")
            for pid, running in self.running.items():
                limit = self.settings["trial_hours"]
                if limit is not None and now - running.started > 3600 * limit and not running.trial.outcome:
                    running.trial.outcome = {"state": "failed", "reason": f"longer than sweep.trial_hours={limit}"}
                    os.kill(pid, signal.SIGTERM)
            time.sleep(LOOK_S)

    def _end(self, running: Running, code: int) -> None:
        trial = read_trial(running.trial.folder) or running.trial
        if trial.state == "open" and running.trial.outcome:
            trial.outcome = running.trial.outcome
            write_trial(trial)
        elif trial.state == "open" and (trial.facts or {}).get("status") != "interrupted":
            trial.outcome = {"state": "failed", "reason": death(code, trial.folder)}
            write_trial(trial)
        running.claim.release()
        self.ended_s.append(time.monotonic() - running.started)
        print(words.line(trial, read_trials(self.folder), self.settings, self._left_s()), flush=True)

    def _left_s(self) -> float | None:
        most = self.settings["n_trials"]
        if most is None or not self.ended_s:
            return None
        left = most - sum(trial.state != "open" for trial in read_trials(self.folder))
        return left * sum(self.ended_s) / len(self.ended_s) / self.settings["n_jobs"] if left else None

    def _refuse_further_failures(self) -> None:
        """
        Raises:
            KindlingError: more trials have failed than may.
        """
        trials = read_trials(self.folder)
        failed = [trial for trial in trials if trial.state == "failed"]
        most = self.settings["n_trials"] or len(trials)
        if len(failed) > max(2, self.settings["max_failed"] * most):
            raise KindlingError(
                f"sweep: {len(failed)} of {len(trials)} trials failed, which is more than sweep.max_failed="
                f"{self.settings['max_failed']} of {most}: {words.failures(trials)}"
            )

    def _stop(self) -> None:
        """End all trials, each with a checkpoint."""
        for pid in self.running:
            os.kill(pid, signal.SIGTERM)
        for pid, running in self.running.items():
            os.waitpid(pid, 0)
            running.claim.release()
        self.running.clear()

    def _say_begin(self, trials: Sequence[Trial]) -> None:
        most = self.settings["n_trials"]
        done = f"; {words.counts(trials)}" if trials else ""
        print(f"sweep: {'a grid' if most is None else f'{most} trials'} in {self.folder}{done}", flush=True)

    def _conclude(self) -> None:
        """
        Raises:
            KindlingError: trials have failed.
        """
        trials = read_trials(self.folder)
        Console(width=100, highlight=False).print(words.table(trials, self.settings))
        best = words.best_of(trials, self.settings["better"])
        if best is not None:
            said = f"trial {best.number}, {self.settings['monitor']} {best.score:.5g}"
            print(f"best: {said}: {words.chosen(best)}")
            self._write_recipe(best, said)
        print(f"sweep: {words.counts(trials)}; {self.folder}", flush=True)
        failed = sum(trial.state == "failed" for trial in trials)
        if failed:
            raise KindlingError(f"sweep: {failed} of {len(trials)} trials failed: {words.failures(trials)}")

    def _write_recipe(self, best: Trial, said: str) -> None:
        title = f"The best of {self.folder.name}: {said}"
        file = self.folder / "best.yaml"
        with write_whole(file) as stream:
            stream.write(redact_text(recipe(self.forks.loader, [*self.fixed, *best.overrides], title)))
        print(f"as an experiment: cp {file} {project.current().configs}/experiment/")

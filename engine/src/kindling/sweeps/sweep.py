"""The loop of a sweep: which trial comes next, and what came of those that ended."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from kindling.config.space import Grid
from kindling.console import shown
from kindling.errors import ConfigError, Interrupted, KindlingError
from kindling.process.cores import available_cores
from kindling.process.group import LOOK_S, Group
from kindling.run_folders.lock import RunLock
from kindling.run_folders.trials import SWEEP_FILE, Trial, Trials, read_sweep, read_trial, write_sweep, write_trial
from kindling.sweeps import words
from kindling.sweeps.claims import Claims
from kindling.sweeps.commands import gpus_of, where_configs_are
from kindling.sweeps.ending import conclude
from kindling.sweeps.jobs import Jobs, death
from kindling.sweeps.objectives import objectives_of
from kindling.sweeps.settings import described, read_command, refuse_other_sweep, settings_of

# Between two looks at what others may have left.
LOOK_FOR_TRIALS_S = 1.0


class Running(NamedTuple):
    """A trial in a process of its own.

    Attributes:
        place: of its cores.
        claim: the lock that tells others that it is taken.
        started: by the monotonic clock.
    """

    group: Group
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
        prepare: imports what forked trials need.
        config: of the sweep.
        arguments: the overrides of the command line.
    """

    def __init__(
        self,
        loader: Any,
        context: Any,
        task: Any,
        prepare: Callable[[], None],
        config: DictConfig,
        arguments: Sequence[str],
    ):
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.settings = settings_of(config)
        self.space, self.fixed = read_command(loader, self.settings, arguments)
        if not any(each.startswith("sweep=") for each in arguments):
            # A recipe has chosen it, and its trials are single runs.
            self.fixed.append("sweep=none")
        self.objectives = objectives_of(self.settings)
        self.most: int = self.settings["n_trials"]
        if self.settings["sampler"] == "grid":
            self.most = min(self.most or sys.maxsize, Grid(self.space).size)
        self.trials = Trials(self.folder)
        self.claims = Claims(self.trials, config, self.settings, self.space, self.most)
        gpus = gpus_of(self.settings)
        self.settings["n_jobs"] = len(gpus) or self.settings["n_jobs"]
        self.jobs = Jobs(loader, context, task, prepare, config, self.settings["n_jobs"], gpus)
        self.running: list[Running] = []
        self.ended_s: list[float] = []
        self.waits_for: list[int] = []
        # By trial that was interrupted alone: the time of its checkpoint; None if it has none.
        self.interrupted: dict[int, float | None] = {}
        self.started = time.monotonic()

    def run(self) -> None:
        """
        Raises:
            ConfigError: the folder holds another sweep.
            KindlingError: trials have failed.
            Interrupted: a signal came, or the time is over; all trials that ran can be gone on with.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Looked for first, since another process writes sweep.json before it makes one.
        begun = self.trials.folders()
        description = described(self.settings, self.space, self.fixed)
        if configs := where_configs_are(self.jobs.config):
            description["configs"] = configs
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
        self._say_begin(self.trials.read())
        try:
            while self._start_some() or self._are_elsewhere():
                self._wait()
        except BaseException:
            self._stop()
            raise
        conclude(self.folder, self.trials.read(), self.jobs.loader, self.fixed)

    def _start_some(self) -> bool:
        """Start as many trials as there are places; whether there is anything to wait for."""
        while len(self.running) < self.settings["n_jobs"]:
            self._refuse_further_failures()
            claimed = self.claims.next()
            if claimed is None:
                break
            trial, claim = claimed
            place = min(set(range(self.settings["n_jobs"])) - {each.place for each in self.running})
            group = self.jobs.start(trial.folder, [*self.fixed, *trial.overrides], place)
            self.running.append(Running(group, trial, place, claim, time.monotonic()))
        return bool(self.running)

    def _are_elsewhere(self) -> bool:
        """Whether other processes work on the last trials; of one that dies, this one goes on with the trial."""
        left = self.claims.elsewhere()
        if left and not self.waits_for:
            print(f"sweep: waiting for other processes, which run {words.numbered(left)}", flush=True)
        self.waits_for = left
        return bool(left)

    def _wait(self) -> None:
        """Until a trial has ended, others may have left one, or the time is over.

        Raises:
            Interrupted: the time of the sweep is over.
        """
        until = time.monotonic() + LOOK_FOR_TRIALS_S
        while time.monotonic() < until or len(self.running) == self.settings["n_jobs"]:
            for running in self.running:
                code = self.jobs.exit_code(running.group, running.place)
                if code is not None:
                    self.running.remove(running)
                    self._end(running, code)
                    return
            now = time.monotonic()
            if self.settings["hours"] is not None and now - self.started > 3600 * self.settings["hours"]:
                print(f"sweep: sweep.hours={self.settings['hours']} is over; the same command goes on", flush=True)
                raise Interrupted("SIGTERM")
            for running in self.running:
                limit = self.settings["trial_hours"]
                if limit is not None and now - running.started > 3600 * limit and not running.trial.outcome:
                    running.trial.outcome = {"state": "failed", "reason": f"longer than sweep.trial_hours={limit}"}
                    running.group.ask_to_end()
            time.sleep(LOOK_S)

    def _end(self, running: Running, code: int) -> None:
        trial = read_trial(running.trial.folder) or running.trial
        if trial.state in ("open", "failed") and running.trial.outcome:
            trial.outcome = running.trial.outcome
            if running.group.was_killed:
                trial.outcome["reason"] += "; it did not end, and was killed"
            write_trial(trial)
        elif trial.state == "open" and (trial.facts or {}).get("status") != "interrupted":
            trial.outcome = {"state": "failed", "reason": death(code, trial.folder)}
            write_trial(trial)
        elif trial.state == "open" and self._is_stuck(trial):
            reason = f"interrupted twice without a new checkpoint: {trial.reason}"
            trial.outcome = {"state": "failed", "reason": reason}
            write_trial(trial)
        running.claim.release()
        self.ended_s.append(time.monotonic() - running.started)
        print(words.line(trial, self.trials.read(), self.settings, self._left_s()), flush=True)

    def _is_stuck(self, trial: Trial) -> bool:
        """Whether a trial was interrupted alone twice without a checkpoint between, so that it would be for ever."""
        file = trial.folder / "checkpoints" / "last.ckpt"
        saved = file.stat().st_mtime if file.exists() else None
        is_stuck = self.interrupted.get(trial.number, math.nan) == saved
        self.interrupted[trial.number] = saved
        return is_stuck

    def _left_s(self) -> float | None:
        if not self.ended_s:
            return None
        left = self.most - sum(trial.state != "open" for trial in self.trials.read())
        return left * sum(self.ended_s) / len(self.ended_s) / self.settings["n_jobs"] if left > 0 else None

    def _refuse_further_failures(self) -> None:
        """
        Raises:
            KindlingError: more trials have failed than may.
        """
        trials = self.trials.read()
        failed = [trial for trial in trials if trial.state == "failed"]
        if len(failed) > max(2, self.settings["max_failed"] * self.most):
            raise KindlingError(
                f"sweep: {len(failed)} of {len(trials)} trials failed, which is more than sweep.max_failed="
                f"{self.settings['max_failed']} of {self.most}: {words.failures(trials)}; "
                "to try them again remove their folders, to go on raise sweep.max_failed"
            )

    def _stop(self) -> None:
        """End all trials, each with a checkpoint; those that do not end are killed."""
        for running in self.running:
            running.group.ask_to_end()
        while self.running:
            for running in list(self.running):
                if self.jobs.exit_code(running.group, running.place) is None:
                    continue
                self.running.remove(running)
                running.claim.release()
                if running.group.was_killed:
                    print(f"sweep: trial {running.trial.number} did not end, and was killed", flush=True)
            time.sleep(LOOK_S)

    def _say_begin(self, trials: Sequence[Trial]) -> None:
        done = f"; {words.counts(trials)}" if trials else ""
        print(f"sweep: {self.most} trial{'s' * (self.most > 1)} in {shown(self.folder)}{done}", flush=True)
        jobs, cores = self.settings["n_jobs"], available_cores()
        if jobs > cores:
            print(
                f"sweep: {jobs} trials at a time share {cores} cores; sweep.n_jobs={cores} would be quicker", flush=True
            )

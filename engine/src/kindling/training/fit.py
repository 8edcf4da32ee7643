"""`Trainer.fit` with what can go wrong: signals, processes left behind, memory, and losses that become NaN."""

import logging
import math
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from omegaconf import DictConfig

from kindling.checkpoints.checkpoint import Saved
from kindling.console import report
from kindling.errors import DivergedError
from kindling.lightning_internals.results import exact_means
from kindling.lightning_internals.warnings import ONCE_A_STEP, RARE_LOGS, SKIPPED_BATCH, ignored
from kindling.loggers import tracking
from kindling.process import signals, surroundings
from kindling.run_folders.record import RunRecord
from kindling.training.anomaly import anomalies_in_one_line
from kindling.training.divergence import refuse_spoilt_weights
from kindling.training.failures import explained, naming_checkpoint, naming_misfits
from kindling.training.machine import device_of
from kindling.training.others import ended_with_others, in_each_process
from kindling.training.parts import Build, Parts, Rollbacks, resume_callback
from kindling.training.replay import find_divergence
from kindling.training.rollback import advice, can_roll_back, culprit
from kindling.training.start import starting_point
from kindling.training.task import Task

log = logging.getLogger(__name__)


def fit(build: Build, run: RunRecord, cfg: DictConfig) -> Parts:
    """Train from the starting point to the end; with on_nan=rollback, again from the last checkpoint after a NaN.

    Raises:
        DivergedError: a loss became NaN; it names the step, and what was NaN first.
        Interrupted: a signal or a deadline ended the run.
    """
    start, deadline = starting_point(run), math.inf
    rollbacks: Rollbacks = start.content["rollbacks"] if start else []
    while True:
        if rollbacks:
            run.update(rollbacks=rollbacks)
        parts = build(start, rollbacks)
        run.update(**device_of(parts.trainer))
        tracking.begin(parts.trainer.loggers, run)
        deadline = limit_time(parts.trainer, deadline)
        try:
            train_once(parts, start, run, skips=bool(rollbacks))
            return parts
        except DivergedError as error:
            # The frames hold the batch's activations.
            traceback.clear_frames(error.__traceback__)
            rollbacks = [*rollbacks, roll_back(error, parts.trainer, rollbacks, build, run, cfg)]
        start = starting_point(run)


def limit_time(trainer: Trainer, deadline: float) -> float:
    """Let `max_time` be that of all attempts together; returns the deadline of the next one."""
    saver = resume_callback(trainer)
    if saver is None:
        return deadline
    saver.deadline = min(deadline, saver.deadline)
    return saver.deadline


def train_once(parts: Parts, start: Saved | None, run: RunRecord, *, skips: bool = False) -> None:
    """Make one attempt, from a checkpoint or from the beginning, perhaps without batches that gave NaN."""
    data, task, _, trainer = parts
    if trainer.world_size > 1 and surroundings.is_by_hand():
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        report("waiting for %d processes in all at %s", trainer.world_size, address)
    guard = partial(fitting, task=task, path=start and start.path, skips=skips)
    with in_each_process(trainer, run, guard, resume_callback(trainer)):
        trainer.fit(task, data, ckpt_path=start and start.path, weights_only=True)
    # A callback may have changed them after the last checkpoint, or there is none.
    refuse_spoilt_weights(task, " after training")


@contextmanager
def guarded(
    trainer: Trainer, *, run: RunRecord | None, task: LightningModule, path: Path | str | None
) -> Iterator[None]:
    """Compute in one process with all that can go wrong.

    Args:
        trainer: of this process.
        run: None if the process that has spawned this one keeps it.
        task: which is trained or tested.
        path: the checkpoint to begin with.
    """
    with (
        naming_checkpoint(path),
        explained(trainer, task),
        naming_misfits(),
        exact_means(),
        ended_with_others(trainer, run),
    ):
        yield


@contextmanager
def fitting(
    trainer: Trainer, *, run: RunRecord | None, task: LightningModule, path: Path | None, skips: bool
) -> Iterator[None]:
    """Fit in one process with all that can go wrong.

    Args:
        trainer: as `guarded` takes it, and so are the next three.
        run: see there.
        task: see there.
        path: see there.
        skips: whether batches are left out.
    """
    with (
        guarded(trainer, run=run, task=task, path=path),
        anomalies_in_one_line(),
        signals.deferred(resume_callback(trainer)),
        ignored(RARE_LOGS, *[SKIPPED_BATCH] * skips, *[ONCE_A_STEP] * steps_as_ours(task)),
    ):
        yield


def steps_as_ours(task: LightningModule) -> bool:
    """Whether the hooks of an optimizer's step are the engine's and Lightning's own."""
    return type(task).optimizer_step is LightningModule.optimizer_step and (
        type(task).optimizer_zero_grad is Task.optimizer_zero_grad
    )


def roll_back(
    error: DivergedError, trainer: Trainer, rollbacks: Rollbacks, build: Build, run: RunRecord, cfg: DictConfig
) -> list[int]:
    """The batch to leave out, as [epoch, batch], when training goes on from the last checkpoint.

    Raises:
        DivergedError: it would not help, or was not asked for.
    """
    place = find_divergence(build, run, rollbacks, trainer) if trainer.world_size == 1 else None
    message = f"{error}; {place or 'the step could not be found by a replay'}"
    if not can_roll_back(place, rollbacks, cfg):
        told = DivergedError(message)
        for line in advice(run, place, rollbacks):
            told.add_note(line)
        raise told from error
    log.warning("warning: %s; rollback %d of %d", message, len(rollbacks) + 1, cfg.rollback.times)
    return culprit(place, trainer)

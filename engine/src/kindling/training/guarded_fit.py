"""`Trainer.fit` with what can go wrong: signals, processes left behind, memory, and losses that become NaN."""

import logging
import math
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, ModelSummary, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from kindling.checkpoints import resume_files
from kindling.checkpoints.checkpoint import Saved
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint
from kindling.errors import DivergedError
from kindling.loggers import tracking
from kindling.process import signals
from kindling.run_folders.record import RunRecord
from kindling.training.divergence import FindDivergence, FoundError, Place
from kindling.training.failures import explained, taking_up
from kindling.training.observer import Observer
from kindling.training.start import starting_point
from kindling.training.task import Task

log = logging.getLogger(__name__)
WRITERS = (ModelCheckpoint, LearningRateMonitor, ModelSummary, ProgressBar, Observer)  # not for a replay
LEFT_OUT = "Be aware that when using `ckpt_path`"  # Lightning misses those in a replay
NOT_FOUND = -1  # no batch; the rollback counts all the same
SKIPPED = "`training_step` returned `None`"  # at the batches that rollbacks leave out


class Parts(NamedTuple):
    """What a run is made of."""

    data: LightningDataModule
    classifier: Task
    loggers: list[Logger]
    trainer: Trainer


class Build(Protocol):
    """Builds the parts anew."""

    def __call__(self, start: Saved | None, rollbacks: list[list[int]], *, replay: Any = None) -> Parts: ...


def fit(build: Build, run: RunRecord, cfg: DictConfig) -> Parts:
    """Train from the starting point to the end; with on_nan=rollback, again from the last checkpoint after a NaN.

    Raises:
        DivergedError: a loss became NaN; it names the step, and what was NaN first.
        Interrupted: a signal or a deadline ended the run.
    """
    start, deadline = starting_point(run), math.inf
    rollbacks: list[list[int]] = start.content["rollbacks"] if start else []  # [epoch, batch] of each
    while True:
        if rollbacks:
            run.update(rollbacks=rollbacks)
        parts = build(start, rollbacks)
        data, classifier, _, trainer = parts
        tracking.begin(trainer.loggers, run)
        saver = next((each for each in callbacks_of(trainer) if isinstance(each, ResumeCheckpoint)), None)
        if saver:  # max_time is that of all attempts together
            deadline = saver._deadline = min(deadline, saver._deadline)
        try:
            path = start and start.path
            with (
                ending_children(trainer),
                taking_up(path),
                explained(trainer, classifier),
                signals.deferred(saver),
                ignoring(SKIPPED),
            ):
                trainer.fit(classifier, data, ckpt_path=path, weights_only=True)
            return parts
        except DivergedError as error:
            traceback.clear_frames(error.__traceback__)  # which hold the batch's activations
            place = find_divergence(build, run, rollbacks, trainer) if trainer.world_size == 1 else None
            message = f"{error}; {place or 'the step could not be found by a replay'}"
            again = place is not None and [place.epoch, place.batch] in rollbacks and cfg.rollback.lr_factor == 1
            incurable = place is not None and (place.batch is None or again)
            if cfg.on_nan != "rollback" or incurable or len(rollbacks) >= cfg.rollback.times:
                raise DivergedError(f"{message}; {advice(run, place, rollbacks)}") from error
            culprit = [place.epoch, place.batch] if place else [trainer.current_epoch, NOT_FOUND]
            rollbacks = [*rollbacks, culprit]
            log.warning("warning: %s; rollback %d of %d", message, len(rollbacks), cfg.rollback.times)
        start = starting_point(run)


def advice(run: RunRecord, place: Place | None, rollbacks: list[list[int]]) -> str:
    """What is left of a run that has diverged, and what may help."""
    kept = bool(resume_files.newest_first(run.folder))
    words = ["the checkpoints before it are kept" if kept else "there is no checkpoint before it"]
    if rollbacks:
        words.append(f"{len(rollbacks)} rollback{'s' * (len(rollbacks) > 1)} did not help")
    if place and place.is_input:
        words.append("mend the data")
    else:
        words.append("lower optimizer.lr or set trainer.gradient_clip_val" + " with fork=" * kept)
    if run.config["on_nan"] != "rollback" and place and place.batch is not None:
        words[-1] += ", or leave such batches out with on_nan=rollback" + " and resume=" * kept
    return "; ".join(words)


def find_divergence(build: Build, run: RunRecord, rollbacks: list[list[int]], failed: Trainer) -> Place | None:
    """Replay the steps since the last checkpoint and look at everything; None if the NaN does not come again."""
    finder = FindDivergence(failed.global_step)
    try:
        start = resume_files.newest_whole(run.folder)
        data, classifier, _, trainer = build(start, rollbacks, replay=finder)
        trainer.num_sanity_val_steps = failed.num_sanity_val_steps
        save_nothing(trainer)
        with ending_children(trainer), ignoring(SKIPPED), ignoring(LEFT_OUT):
            trainer.fit(classifier, data, ckpt_path=start and start.path, weights_only=True)
    except FoundError as found:
        return found.place
    except DivergedError:
        return finder.place_of_loss(failed)
    except Exception as error:  # such as memory; the NaN is what the run has failed by
        log.warning("warning: the replay failed: %s: %s", type(error).__name__, error)
    return None


def save_nothing(trainer: Trainer) -> None:
    """Let a replay leave the run's checkpoints as they are."""
    kept = [each for each in callbacks_of(trainer) if not isinstance(each, ModelCheckpoint)]  # Lightning's default
    callbacks_of(trainer)[:] = kept
    for each in kept:
        if isinstance(each, ResumeCheckpoint):
            each._save = lambda trainer, progress: None


@contextmanager
def ignoring(warning: str) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", warning)
        yield


@contextmanager
def ending_children(trainer: Trainer) -> Iterator[None]:
    """If this process fails, end those that Lightning has launched; they would wait for ever."""
    try:
        yield
    except BaseException:
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGKILL)
            getattr(launcher, "procs", []).clear()  # or Lightning's observer would then kill this process too
        raise


def callbacks_of(trainer: Any) -> list[Any]:
    """Those of a trainer; Lightning sets them where a type checker does not look."""
    return trainer.callbacks

"""A replay of the steps since the last checkpoint, which finds what was NaN first and leaves the run as it was."""

import logging

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, ModelSummary, ProgressBar

from kindling.checkpoints import resume_files
from kindling.console import silent
from kindling.errors import DivergedError
from kindling.lightning_internals import launched
from kindling.lightning_internals.warnings import MISSING_CALLBACKS, SKIPPED_BATCH, ignored
from kindling.run_folders.record import RunRecord
from kindling.training.divergence import FindDivergence, FoundError, Place
from kindling.training.observer import Observer
from kindling.training.parts import Build, Rollbacks, callbacks_of, resume_callback

log = logging.getLogger(__name__)
# What a replay does without: callbacks that write or show.
WRITERS = (ModelCheckpoint, LearningRateMonitor, ModelSummary, ProgressBar, Observer)


def find_divergence(build: Build, run: RunRecord, rollbacks: Rollbacks, failed: Trainer) -> Place | None:
    """Train again from the last checkpoint and look at everything; None if the NaN does not come again."""
    finder = FindDivergence(failed.global_step)
    try:
        start = resume_files.newest_whole(run.folder)
        with silent():
            data, task, _, trainer = build(start, rollbacks, replay=finder)
        trainer.num_sanity_val_steps = failed.num_sanity_val_steps
        save_nothing(trainer)
        with silent(), launched.ended_on_failure(trainer), ignored(SKIPPED_BATCH, MISSING_CALLBACKS):
            trainer.fit(task, data, ckpt_path=start and start.path, weights_only=True)
    except FoundError as found:
        return found.place
    except DivergedError:
        return finder.place_of_loss(failed)
    except Exception as error:
        # Memory may run out; the run failed by the NaN.
        log.warning("warning: the replay failed: %s: %s", type(error).__name__, error)
    return None


def save_nothing(trainer: Trainer) -> None:
    """Let a replay leave the run's checkpoints as they are."""
    # A Trainer without a ModelCheckpoint has added its own.
    kept = [each for each in callbacks_of(trainer) if not isinstance(each, ModelCheckpoint)]
    callbacks_of(trainer)[:] = kept
    saver = resume_callback(trainer)
    if saver:
        saver.saves = False

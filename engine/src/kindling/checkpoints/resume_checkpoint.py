"""The checkpoint to resume from: at batch boundaries, so that a resumed run ends with the bits of one never killed."""

import math
import sys
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, Timer

from kindling.checkpoints import resume_files
from kindling.checkpoints.agreement import Agreement
from kindling.checkpoints.checkpoint import DESCRIPTION, PROGRESS
from kindling.checkpoints.conditions import compare_conditions, conditions
from kindling.console import warn
from kindling.errors import ConfigError, Interrupted
from kindling.lightning_internals import epoch_sums
from kindling.lightning_internals.loop_counters import count_epoch, rewind
from kindling.process import signals
from kindling.ranges import NotNegative, PositiveInt
from kindling.run_folders.resumption import LIMITS, changed_settings

SHARE_OF_TIME = 0.02  # of training that checkpoints by time may cost


class ResumeCheckpoint(Checkpoint):
    """Saves checkpoints/step_<optimizer steps>.ckpt, the newest also as last.ckpt, and takes a run up from one.

    A checkpoint is taken before a batch of training, outside of validation and of accumulation, and when training
    ends. Signals and `max_time` end the run there, after a checkpoint.

    Args:
        folder: of the run.
        every_n_steps: optimizer steps between two checkpoints; None for none by steps.
        every_minutes: minutes between two, longer if they would cost more than a fiftieth of the time; None likewise.
        keep: how many of the newest are kept.
        max_time: of this process, as Lightning's Timer takes it.
        strict: refuse to go on where the last bits would differ, instead of warning.
    """

    def __init__(
        self,
        *,
        folder: str,
        every_n_steps: PositiveInt | None,
        every_minutes: NotNegative | None,
        keep: PositiveInt,
        max_time: str | dict[str, int] | None,
        strict: bool,
    ):
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.every_s = math.inf if every_minutes is None else 60 * every_minutes
        self.keep = keep
        self.strict = strict
        duration = Timer(max_time).time_remaining() if max_time else None
        self._deadline = math.inf if duration is None else time.monotonic() + duration
        self._agreement = Agreement()
        self._progress: dict[str, Any] | None = None  # of the checkpoint that is being taken up
        self._sums: dict[str, Any] | None = None  # of the epoch that is resumed
        self._saving: dict[str, Any] | None = None
        self._saved_step = -1
        self._saved_at = time.monotonic()
        self._save_s = 0.0

    # Saving

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._progress is not None:
            self._take_up_batch(trainer)
        elif self._sums is not None:
            self._add_sums(trainer)
        if batch_idx % trainer.accumulate_grad_batches or (batch_idx and not _is_resumable(trainer)):
            return
        stop, due = self._wanted(trainer)
        if due or stop:
            self._save(trainer, {"epoch": trainer.current_epoch, "batch": batch_idx, "ended": False})
            if trainer.world_size == 1:
                stop = stop or signals.requested()  # during the save
        if stop:
            raise stop

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._sums is not None:
            self._add_sums(trainer)

    def _add_sums(self, trainer: Trainer) -> None:
        assert self._sums is not None
        epoch_sums.add_logged(trainer, self._sums)
        self._sums = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loop = trainer.fit_loop.epoch_loop
        ended = loop._num_ready_batches_reached()  # of an epoch; max_steps may end training within one
        batch = 0 if ended else loop.batch_progress.current.completed
        stop = None
        if trainer.world_size > 1:  # no further batch will ask the others
            stop, _ = self._agreement.ask(trainer, signals.requested(), False)
        self._save(trainer, {"epoch": trainer.current_epoch - (not ended), "batch": batch, "ended": True})
        if stop:
            raise stop

    def _wanted(self, trainer: Trainer) -> tuple[Interrupted | None, bool]:
        """Whether to end, and whether to save; the same in all processes."""
        step, now = trainer.global_step, time.monotonic()
        new = step != self._saved_step
        due = new and step > 0 and self.every_n_steps is not None and step % self.every_n_steps == 0
        timely = new and now - self._saved_at > max(self.every_s, self._save_s / SHARE_OF_TIME)
        stop = Interrupted("max_time") if now > self._deadline else signals.requested()
        if trainer.world_size > 1:
            if not self._agreement.is_due(step):
                return None, due
            stop, timely = self._agreement.ask(trainer, stop, timely)
        return stop, due or timely

    def _save(self, trainer: Trainer, progress: dict[str, Any]) -> None:
        if trainer.global_step == self._saved_step and not progress["ended"]:
            return
        started = time.monotonic()
        file = self.folder / "checkpoints" / f"step_{trainer.global_step:09}.ckpt"
        self._saving = progress
        try:
            trainer.save_checkpoint(file)
        finally:
            self._saving = None
        if trainer.is_global_zero:
            resume_files.keep_beside(file, best_files(trainer, file.parent))
            resume_files.name_last(file)
            for old in resume_files.newest_first(self.folder)[self.keep :]:
                resume_files.remove(old)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self._save_s = self._saved_at - started

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._saving is None:  # another callback saves
            return
        progress = self._saving
        rewind(checkpoint["loops"]["fit_loop"], **progress)
        states = {type(logger).__name__: logger.state_dict() for logger in stateful(trainer.loggers)}
        checkpoint[PROGRESS] = progress | {
            "logged_steps": trainer.fit_loop.epoch_loop._batches_that_stepped,
            "should_stop": trainer.should_stop and not progress["ended"],
            "metrics": {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()},
            "loggers": states,
            "sums": epoch_sums.collect(trainer, pl_module),
            "conditions": conditions(trainer),
        }

    # Taking up

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit" or PROGRESS not in checkpoint:
            return
        progress: dict[str, Any] = checkpoint[PROGRESS]
        self._progress = progress
        self._saved_step = checkpoint["global_step"]
        if progress["ended"] and not changed_limits(checkpoint, pl_module):
            trainer.should_stop = True  # nothing is left to train
            if progress["batch"]:
                count_epoch(checkpoint["loops"]["fit_loop"], 1)
        compare_conditions(progress["conditions"], conditions(trainer), strict=self.strict)
        for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            state = checkpoint["callbacks"].get(callback.state_key, {})
            if "patience" in state:  # what is configured counts, not what was
                state["patience"] = callback.patience
            if "current_score" in state:  # which ModelCheckpoint saves, but does not load
                callback.current_score = state["current_score"]
                forget_missing(state, callback)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        states = self._progress["loggers"] if self._progress else {}
        for logger in stateful(trainer.loggers):
            logger.load_state_dict(states.get(type(logger).__name__))
        if self._progress is None:
            return
        trainer.num_sanity_val_steps = 0  # it would wipe the metrics
        metrics = {name: value.to(pl_module.device) for name, value in self._progress["metrics"].items()}
        trainer._logger_connector._callback_metrics.update(metrics)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        if self._progress is None:
            return
        trainer.should_stop = trainer.should_stop or self._progress["should_stop"]
        self._sums = self._progress["sums"][trainer.global_rank]
        epoch_sums.restore_metrics(pl_module, self._progress["sums"][trainer.global_rank])
        refuse_longer_cycle(trainer)
        if _is_resumable(trainer):  # Lightning does not, if the schedule has asked for the number of steps
            state = {"epoch": self._progress["epoch"], "batches_done": self._progress["batch"]}
            trainer.train_dataloader.load_state_dict(state)  # pyright: ignore[reportOptionalMemberAccess]
        # No validation is due before the first batch, as Lightning would conclude from the counters.
        self._check_val_every_n_epoch = trainer.check_val_every_n_epoch
        trainer.check_val_every_n_epoch = sys.maxsize

    def _take_up_batch(self, trainer: Trainer) -> None:
        self._progress = None
        trainer.check_val_every_n_epoch = self._check_val_every_n_epoch
        trainer.fit_loop._restarting = False  # or the epoch's end would leave out the plateau schedule


def best_files(trainer: Trainer, folder: Path) -> set[Path]:
    """What the run's ModelCheckpoints keep as their best in a folder."""
    kept = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    files = {Path(path) for each in kept for path in (each.best_model_path, *each.best_k_models) if path}
    return {file for file in files if file.parent == folder and file.is_file()}


def forget_missing(state: dict[str, Any], callback: ModelCheckpoint) -> None:
    """Let a ModelCheckpoint whose files were removed seek the best ones anew."""
    gone = [file for file in (state["best_model_path"], *state["best_k_models"]) if file and not Path(file).is_file()]
    if gone:
        warn(f"resume: {gone[0]} is gone; the best checkpoint is sought anew")
        none = {"best_model_path": "", "best_model_score": None, "best_k_models": {}, "kth_best_model_path": ""}
        state.update(none, kth_value=callback.kth_value)


def changed_limits(saved: dict[str, Any], pl_module: Any) -> list[str]:
    changed = changed_settings(saved[DESCRIPTION]["config"], pl_module.config)
    return [key for key in changed if key in LIMITS]


def refuse_longer_cycle(trainer: Trainer) -> None:
    """
    Raises:
        ConfigError: a schedule that ends for good is to go on for longer.
    """
    steps = trainer.estimated_stepping_batches
    for config in trainer.lr_scheduler_configs:
        end = getattr(config.scheduler, "total_steps", None)
        if end is not None and steps > end:
            raise ConfigError(
                f"resume: given {steps:.0f} steps; allowed: {end}, at which {type(config.scheduler).__name__} ends; "
                "start a new run, perhaps from its weights: weights="
            )


def _is_resumable(trainer: Trainer) -> bool:
    return hasattr(trainer.train_dataloader, "load_state_dict")


def stateful(loggers: list[Any]) -> list[Any]:
    return [logger for logger in loggers if hasattr(logger, "load_state_dict")]

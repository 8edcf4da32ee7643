"""The checkpoint to resume from: at batch boundaries, so that a resumed run ends with the bits of one never killed."""

import math
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, Timer

from kindling.checkpoints import resume_files, shared_out
from kindling.checkpoints.agreement import Agreement
from kindling.checkpoints.checkpoint import PROGRESS
from kindling.checkpoints.conditions import compare_conditions, conditions
from kindling.checkpoints.limits import changed_limits, refuse_longer_schedule
from kindling.checkpoints.module_state import ModuleState
from kindling.console import report, warn
from kindling.errors import Interrupted
from kindling.lightning_internals import checkpoints, dataloaders, loops, results
from kindling.lightning_internals.loggers import logger_states, restore_loggers
from kindling.process import signals
from kindling.ranges import NotNegative, Positive, PositiveInt

# Share of training that checkpoints by time may cost.
SHARE_OF_TIME = 0.02


class ResumeCheckpoint(Checkpoint):
    """Saves checkpoints/step_<optimizer steps>.ckpt, the newest also as last.ckpt, and restores a run from one.

    A checkpoint is taken before a batch of training, outside of validation and of accumulation, and when training
    ends; of a loader that cannot begin within an epoch, only before the first batch of one. Signals and `max_time`
    end the run there, after a checkpoint.

    Args:
        folder: of the run.
        every_n_steps: optimizer steps, of all optimizers together: a checkpoint is taken once a multiple of it has
            been passed; None for none by steps.
        every_minutes: minutes between two, longer if they would cost more than a fiftieth of the time; None likewise.
        keep: how many of the newest are kept.
        max_time: of this process, as Lightning's Timer takes it.
        strict: refuse to go on where the last bits would differ, instead of warning.
        silence_s: how long one of several processes may show no sign of life before the others end; None for ever.
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
        silence_s: Positive | None = None,
    ):
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.every_s = math.inf if every_minutes is None else 60 * every_minutes
        self.keep = keep
        self.strict = strict
        self.silence_s = silence_s
        duration = Timer(max_time).time_remaining() if max_time else None
        self.deadline = math.inf if duration is None else time.monotonic() + duration
        # False in a replay, which leaves the run's checkpoints as they are.
        self.saves = True
        self._agreement = Agreement()
        self._saved_step = -1
        self._saved_at = time.monotonic()
        self._save_s = 0.0
        # Progress to save; None while another callback saves.
        self._saving: dict[str, Any] | None = None
        # Progress that is being restored, until the first batch.
        self._restoring: dict[str, Any] | None = None
        # Sums of the resumed epoch, until added to its own.
        self._epoch_sums: dict[str, Any] | None = None
        # Places of the loaders in the checkpoint.
        self._loader_states: list[dict[str, Any]] = []
        # What was logged again as the resumed epoch ended.
        self._logged_again: list[str] = []
        self._module_state = ModuleState()

    # When to save

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._restoring is not None:
            self._finish_restoring(trainer, pl_module)
        elif self._epoch_sums is not None:
            results.add_logged_sums(trainer, self._epoch_sums)
        self._module_state.note_beginning(pl_module)
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if batch_idx and not dataloaders.can_begin_within_epoch(trainer):
            return
        stop, due = self._wanted(trainer)
        if due or stop:
            self._save(trainer, {"epoch": trainer.current_epoch, "batch": batch_idx, "ended": False})
            if trainer.world_size == 1:
                # A signal may have come during the save.
                stop = stop or signals.requested()
        if stop:
            raise stop

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Training with max_steps may end within an epoch.
        at_epoch_end = loops.epoch_has_ended(trainer)
        batch = 0 if at_epoch_end else loops.batches_done(trainer)
        stop = None
        if trainer.world_size > 1:
            # No further batch will ask the others.
            stop, _ = self._agreement.ask(trainer, signals.requested(), False)
        self._save(trainer, {"epoch": trainer.current_epoch - (not at_epoch_end), "batch": batch, "ended": True})
        if stop:
            raise stop

    def _wanted(self, trainer: Trainer) -> tuple[Interrupted | None, bool]:
        """Whether to end, and whether to save; the same in all processes."""
        step, now = trainer.global_step, time.monotonic()
        new = step != self._saved_step
        due = new and self.every_n_steps is not None and passed(self.every_n_steps, self._saved_step, step)
        timely = new and now - self._saved_at > max(self.every_s, self._save_s / SHARE_OF_TIME)
        stop = Interrupted("max_time") if now > self.deadline else signals.requested()
        if trainer.world_size > 1:
            if not self._agreement.is_due(step):
                return None, due
            stop, timely = self._agreement.ask(trainer, stop, timely)
        return stop, due or timely

    # What to save

    def _save(self, trainer: Trainer, progress: dict[str, Any]) -> None:
        if not self.saves or (trainer.global_step == self._saved_step and not progress["ended"]):
            return
        started = time.monotonic()
        file = self.folder / "checkpoints" / f"step_{trainer.global_step:09}.ckpt"
        self._saving = progress
        try:
            with signals.worth_waiting_for():
                trainer.save_checkpoint(file)
        finally:
            self._saving = None
        if trainer.is_global_zero:
            resume_files.keep_beside(file, checkpoints.best_files(trainer, file.parent))
            resume_files.name_last(file)
            for old in resume_files.newest_first(self.folder)[self.keep :]:
                resume_files.remove(old)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        self._save_s = self._saved_at - started

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._saving is None:
            return
        progress = self._saving
        loops.rewind(checkpoint["loops"]["fit_loop"], **progress)
        checkpoint[PROGRESS] = progress | {
            "logged_steps": loops.logged_step(trainer),
            "should_stop": trainer.should_stop and not progress["ended"],
            "metrics": results.callback_metrics(trainer),
            "loggers": logger_states(trainer.loggers),
            "sums": results.epoch_sums(trainer, pl_module, self._epoch_sums and self._epoch_sums["logged"]),
            "module": self._module_state.gathered(trainer, pl_module),
            "conditions": conditions(trainer),
        }

    # What to restore

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit" or PROGRESS not in checkpoint:
            return
        progress: dict[str, Any] = checkpoint[PROGRESS]
        self._restoring = progress
        # In older checkpoints these stand where Lightning left them, a batch ahead.
        self._loader_states = loops.loader_states(checkpoint["loops"]["fit_loop"]) if "module" in progress else []
        self._saved_step = checkpoint["global_step"]
        if progress["ended"] and not changed_limits(checkpoint, trainer):
            # Nothing is left to train.
            trainer.should_stop = True
            if progress["batch"]:
                loops.count_epochs(checkpoint["loops"]["fit_loop"], 1)
        compare_conditions(progress["conditions"], trainer, strict=self.strict)
        for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            prepare_state(checkpoint["callbacks"].get(callback.state_key, {}), callback)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        restore_loggers(trainer.loggers, self._restoring["loggers"] if self._restoring else {})
        if self._restoring is not None:
            # A sanity check would wipe the metrics.
            trainer.num_sanity_val_steps = 0
            results.restore_callback_metrics(trainer, pl_module, self._restoring["metrics"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        if self.saves and not dataloaders.can_begin_within_epoch(trainer):
            name = type(pl_module).__name__
            report("resume: %s takes its batches itself, so checkpoints are taken only where an epoch begins", name)
        if self._restoring is None:
            return
        trainer.should_stop = trainer.should_stop or self._restoring["should_stop"]
        self._epoch_sums = shared_out.sums(self._restoring["sums"], trainer, pl_module)
        results.restore_torchmetrics(pl_module, self._epoch_sums)
        refuse_longer_schedule(trainer)
        self._begin_loaders(trainer, self._restoring)
        self._validation = loops.suspend_validation(trainer)

    def _begin_loaders(self, trainer: Trainer, progress: dict[str, Any]) -> None:
        if not dataloaders.can_begin_within_epoch(trainer):
            return
        loaders, states = dataloaders.training_loaders(trainer), self._loader_states
        if len(states) != len(loaders):
            states = [{"epoch": progress["epoch"], "batches_done": progress["batch"]} for _ in loaders]
        for loader in loaders:
            if hasattr(loader, "strict"):
                loader.strict = self.strict
        if progress["batch"] and any(hasattr(loader, "skips") for loader in loaders):
            report("resume: the first %d batches of epoch %d are drawn again", progress["batch"], progress["epoch"])
        dataloaders.begin_at(trainer, states)

    def _finish_restoring(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the loop go on as in a run that was never killed."""
        assert self._restoring is not None
        # Older checkpoints lack them.
        if module_states := self._restoring.get("module", []):
            rank = trainer.global_rank if len(module_states) == trainer.world_size else 0
            self._module_state.restore(pl_module, module_states[rank])
        self._restoring = None
        results.forget_logged_at_start(trainer)
        loops.resume_validation(trainer, self._validation)
        loops.end_restart(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        results.forget_logged(trainer, self._logged_again)
        self._logged_again = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._epoch_sums is not None:
            results.add_logged_sums(trainer, self._epoch_sums)
            self._logged_again = results.log_again(trainer, self._epoch_sums)
            self._epoch_sums = None


def prepare_state(state: dict[str, Any], callback: Any) -> None:
    """Change the state of a callback, before it is restored, to what it should go on with."""
    checkpoints.keep_configured_patience(state, callback)
    checkpoints.restore_current_score(state, callback)
    missing = checkpoints.missing_best(state)
    if missing:
        warn(f"resume: {missing[0]} is gone; the best checkpoint is sought anew")
        checkpoints.forget_best(state, callback)


def passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple has been passed since; a step of two optimizers counts twice, so it may be stepped over."""
    return now // every > max(0, before) // every

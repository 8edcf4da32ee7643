"""The best weights of a run."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from kindling.callbacks.weights_checkpoint import WeightsCheckpoint, label
from kindling.checkpoints.resume_files import name_also
from kindling.ranges import AllOrMore
from kindling.run_folders.best import BEST


class BestCheckpoint(WeightsCheckpoint):
    """Keeps the best weights as best.ckpt; of several each has a name that says of which epoch, step and score it is.

    Args:
        dirpath: of the checkpoints.
        filename: without .ckpt; may have fields as of ModelCheckpoint, such as {epoch}.
        monitor: a metric that is logged; None: the last epoch is the best.
        mode: whether less of it is better.
        save_top_k: how many of the best are kept; -1 for all, 0 for none.
        save_weights_only: False to save the states of optimizers and callbacks too.
    """

    def __init__(
        self,
        *,
        dirpath: str | None,
        filename: str,
        monitor: str | None,
        mode: Literal["min", "max"],
        save_top_k: AllOrMore,
        save_weights_only: bool,
    ):
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            mode=mode,
            save_top_k=save_top_k,
            save_weights_only=save_weights_only,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        # As runs have it that began with Lightning's own.
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    @property
    def best_file(self) -> Path:
        """The name that the best one always has, whatever else it is called."""
        return Path(self.best_model_path).with_name(BEST)

    def format_checkpoint_name(self, metrics: dict[str, Any], filename: str | None = None, *more: Any, **named: Any):
        filename = filename or self.filename
        if self.save_top_k != 1 and filename and "{" not in filename:
            filename = f"{filename}_epoch_{{epoch:03}}_step_{{step:06}}{label(self.monitor, metrics)}"
        elif self.save_top_k != 1 and filename and "{step" not in filename:
            filename = f"{filename}_step_{{step:06}}"
        return super().format_checkpoint_name(metrics, filename, *more, **named)

    def decide(self, trainer: Trainer, *, at_epoch_end: bool) -> None:
        if self._should_skip_saving_checkpoint(trainer):
            return
        self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
        best = Path(self.best_model_path)
        if trainer.is_global_zero and self.best_model_path and best.name != BEST and best.is_file():
            name_also(best, BEST)

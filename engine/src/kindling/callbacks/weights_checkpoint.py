"""Checkpoints of the weights, for everything but going on with the training."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from kindling.callbacks.deciding import Deciding
from kindling.checkpoints.checkpoint import WEIGHTS_ALONE


class WeightsCheckpoint(Deciding, ModelCheckpoint):
    """Saves weights, the description and versions; with `save_weights_only=False` what Lightning saves too."""

    # Neither saves by steps, so that a step need not call it.
    on_train_batch_end = Callback.on_train_batch_end
    _is_saving = False

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        weights_only, self._is_saving = self.save_weights_only, self.save_weights_only
        # Lightning would leave out what callbacks change, such as an average.
        self.save_weights_only = False
        try:
            super()._save_checkpoint(trainer, filepath)
        finally:
            self.save_weights_only, self._is_saving = weights_only, False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._is_saving:
            checkpoint[WEIGHTS_ALONE] = True


def label(metric: str | None, metrics: dict[str, Any]) -> str:
    """A metric and its value as a part of a file name, to be filled in by Lightning; "" if it is not there."""
    return f"_{metric.replace('/', '_')}_{{{metric}:.4f}}" if metric in metrics and metric else ""

"""A checkpoint of each few epochs that tells in its name how good it is."""

from lightning.pytorch import Trainer

from kindling.callbacks.weights_checkpoint import WeightsCheckpoint, label
from kindling.lightning_internals import fresh
from kindling.ranges import PositiveInt


class PeriodicCheckpoint(WeightsCheckpoint):
    """Keeps all that it saves: epoch_004_val_loss_0.1042.ckpt; if that epoch did not log the metric, epoch_004.ckpt.

    Lightning's own writes a metric that is not logged as 0.

    Args:
        dirpath: of the checkpoints.
        named_after: a metric that is logged; None for none.
        every_n_epochs: between two.
        save_weights_only: False to save the states of optimizers and callbacks too.
    """

    def __init__(
        self,
        *,
        dirpath: str | None,
        named_after: str | None,
        every_n_epochs: PositiveInt,
        save_weights_only: bool = True,
    ):
        super().__init__(
            dirpath=dirpath,
            filename="epoch_{epoch:03}",
            auto_insert_metric_name=False,
            every_n_epochs=every_n_epochs,
            save_top_k=-1,
            save_weights_only=save_weights_only,
            enable_version_counter=False,
        )
        self.named_after = named_after

    def decide(self, trainer: Trainer, *, at_epoch_end: bool) -> None:
        if self._should_skip_saving_checkpoint(trainer) or (trainer.current_epoch + 1) % self._every_n_epochs:
            return
        metrics = self._monitor_candidates(trainer)
        named = self.named_after
        is_known = named is not None and fresh.is_fresh(trainer, named, at_epoch_end=at_epoch_end)
        self.filename = f"epoch_{{epoch:03}}{label(named if is_known else None, metrics)}"
        self._save_topk_checkpoint(trainer, metrics)

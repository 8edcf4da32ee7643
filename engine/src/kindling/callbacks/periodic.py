"""A checkpoint of each few epochs that tells in its name how good it is."""

from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from kindling.ranges import PositiveInt


class PeriodicCheckpoint(ModelCheckpoint):
    """Keeps all that it saves: epoch_004_val_loss_0.1042.ckpt; without a metric of that name, epoch_004.ckpt.

    Lightning's own writes a metric that is not logged as 0.

    Args:
        dirpath: of the checkpoints.
        named_after: a metric that is logged; None for none.
        every_n_epochs: between two.
    """

    def __init__(self, *, dirpath: str | None, named_after: str | None, every_n_epochs: PositiveInt):
        super().__init__(
            dirpath=dirpath,
            filename="epoch_{epoch:03}",
            auto_insert_metric_name=False,
            every_n_epochs=every_n_epochs,
            save_top_k=-1,
            enable_version_counter=False,
        )
        self.named_after = named_after

    def format_checkpoint_name(self, metrics: dict[str, Any], *arguments: Any, **named: Any) -> str:
        name = self.named_after
        is_logged = name is not None and name in metrics
        label = f"_{name.replace('/', '_')}_{{{name}:.4f}}" if is_logged else ""  # pyright: ignore[reportOptionalMemberAccess]
        self.filename = f"epoch_{{epoch:03}}{label}"
        return super().format_checkpoint_name(metrics, *arguments, **named)

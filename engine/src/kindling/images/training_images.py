"""Training images as the net sees them."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchvision.utils import make_grid

from kindling.callbacks.drawing import TensorBoardCallback, boards, current_step, show
from kindling.images.datamodule import ImageDataModule
from kindling.images.loader import Batch
from kindling.ranges import PositiveInt


class TrainingImages(TensorBoardCallback):
    """A grid of the first images of the first epoch, with their augmentation and without normalisation.

    Args:
        num_images: of the first batch.
        every_n_epochs: also in each n-th epoch after it; None for the first one alone.
    """

    def __init__(self, num_images: PositiveInt, every_n_epochs: PositiveInt | None):
        super().__init__(every_n_epochs)
        self.num_images = num_images

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        leave_out_without_images(self, trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        epoch = trainer.current_epoch
        if batch_idx or (epoch and (not self.every_n_epochs or epoch % self.every_n_epochs)):
            return
        if boards(trainer):
            self.attempt(self._draw, trainer, batch)

    def _draw(self, trainer: Trainer, batch: Batch) -> None:
        grid = make_grid(pixels(trainer, batch[0][: self.num_images]))
        show(trainer, "train/images", grid, current_step(trainer))


def leave_out_without_images(callback: TensorBoardCallback, trainer: Trainer) -> None:
    data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    if not isinstance(data, ImageDataModule):
        given = type(data).__name__ if data is not None else "the module's own data"
        callback.leave_out(trainer, f"given {given}; it draws an ImageDataModule, of images with one label each, alone")


def pixels(trainer: Trainer, images: Tensor) -> Tensor:
    """Normalised images (B, C, H, W) as uint8, with one or three channels."""
    data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (data.mean, data.std))
    shown = (images.float().cpu() * std + mean).mul(255).round().clamp(0, 255).to(torch.uint8)
    return shown if shown.shape[1] in (1, 3) else shown[:, :1]

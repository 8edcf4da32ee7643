"""Fits a model's whitening layers to the training images."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from kindling.data.splits import SPLIT_SEED
from kindling.images.augment import Normalize
from kindling.images.datamodule import ImageDataModule
from kindling.ranges import PositiveInt
from my_project.models.whitening import Whitening


class FitWhitening(Callback):
    """Fits each `Whitening` of a new model to some training images, the same for every seed and process."""

    def __init__(self, num_images: PositiveInt):
        self.num_images = num_images

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        layers = [each for each in pl_module.modules() if isinstance(each, Whitening) and not each.is_fitted]
        # A resumed run has its layers from the checkpoint.
        if stage != "fit" or not layers:
            return
        data: ImageDataModule = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        images, generator = data.splits.train, torch.Generator().manual_seed(SPLIT_SEED)
        picked = torch.randperm(len(images), generator=generator)[: self.num_images].tolist()
        assert data.mean, "checked with the splits"
        assert data.std
        normalized = Normalize(data.mean, data.std)(torch.stack([images[index] for index in picked]))
        for layer in layers:
            layer.fit(normalized)

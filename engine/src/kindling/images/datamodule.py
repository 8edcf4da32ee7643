"""The LightningDataModule that every set of images shares; a set of its own says only how to read itself."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from lightning.pytorch import LightningDataModule
from torch import nn

from kindling.data.splits import folds
from kindling.errors import ConfigError, DataError
from kindling.images.augment import Augment, Normalize
from kindling.images.images import ImageFiles, Images, ImageTensors, file_states, join
from kindling.images.loader import EpochLoader
from kindling.process.cores import available_cores, share_cores
from kindling.ranges import NotNegativeInt, Positive, PositiveInt, Seed
from kindling.stages import STAGES, Stage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """What `read` returns: the three splits and the name of each class, by label."""

    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]

    def of_fold(self, fold: int, num_folds: int) -> "Splits":
        """Train and val cut anew, such that val is one of `num_folds` parts."""
        images = join(self.train, self.val)
        held = folds(images.labels, num_folds) == fold
        train, val = images.take((~held).nonzero().flatten()), images.take(held.nonzero().flatten())
        return replace(self, train=train, val=val)


class ImageDataModule(LightningDataModule):
    """Images with one label each; subclass it and write `read` to bring your own.

    Args:
        num_classes: K; labels run from 0 to K - 1.
        channels: 1 for grey, 3 for colour.
        image_size: height and width in pixels.
        mean: of the training pixels, one a channel, in [0, 1]; None if `read` is to find it.
        std: likewise.
        batch_size: images a step and process.
        num_workers: processes that decode files; unused for sets in memory.
        in_memory: hold the set as one tensor on the device; "auto" decides by size.
        augment: for training images alone.
        seed: of the order and of the augmentation.
        fold: of cross-validation: train and val together are cut into `num_folds` parts, of each class alike, and
            this one is val. Statistics that `read` finds are those of its own training split.
        num_folds: see fold.
        balanced_sampling: draws each class equally often in training, with repetition.
        transform: takes a training image (C, H, W) uint8 and returns it changed, before `augment`; any of
            torchvision.transforms.v2. Image by image, so it costs much more than `augment`.
    """

    def __init__(
        self,
        *,
        num_classes: PositiveInt,
        channels: PositiveInt,
        image_size: PositiveInt,
        mean: list[float] | None,
        std: list[Positive] | None,
        batch_size: PositiveInt,
        num_workers: NotNegativeInt | Literal["auto"],
        in_memory: bool | Literal["auto"],
        augment: Augment | None,
        seed: Seed,
        # Older checkpoints lack these, hence the defaults.
        fold: NotNegativeInt | None = None,
        num_folds: Annotated[int, Ge(2)] = 5,
        balanced_sampling: bool = False,
        transform: nn.Module | None = None,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.channels = channels
        self.image_size = image_size
        self.mean, self.std = mean, std
        self.batch_size = batch_size
        self.num_workers = available_cores() // 2 if num_workers == "auto" else num_workers
        self.in_memory = in_memory
        self.augment = augment
        self.seed = seed
        self.fold, self.num_folds = fold, num_folds
        self.balanced_sampling = balanced_sampling
        self.transform = transform

    def read(self) -> Splits:
        """Read the images, or list their files; called once in each process, after `prepare_data`."""
        raise NotImplementedError

    @cached_property
    def splits(self) -> Splits:
        splits = self.read()
        if self.fold is not None:
            splits = splits.of_fold(self.fold, self.num_folds)
        if len(splits.classes) != self.num_classes:
            raise DataError(
                f"data.num_classes: given {self.num_classes}; the data holds {len(splits.classes)} classes; "
                f"set data.num_classes={len(splits.classes)}"
            )
        if not self.mean or not self.std:
            raise ConfigError(
                f"data.mean, data.std: given {self.mean}, {self.std}; allowed: a number for each channel, "
                f"as {type(self).__name__} does not find them in its images"
            )
        return splits

    def setup(self, stage: str) -> None:
        """Check the images and give this process its share of the cores."""
        images_of = (self.splits.train, self.splits.val, self.splits.test)
        on_cpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cpu"
        share_cores(
            decoding=any(isinstance(images, ImageFiles) for images in images_of),
            num_processes=self.trainer.num_devices if self.trainer and on_cpu else 1,
        )
        if self.in_memory is False and isinstance(self.splits.train, ImageTensors):
            log.warning("data.in_memory=false has no effect: this set is always held in memory")

        shape = (self.image_size, self.image_size, self.channels)
        for name in STAGES:
            images: Images = getattr(self.splits, name)
            if len(images) == 0:
                raise DataError(f"data: the {name} split is empty; allowed: at least one image; add images")
            if isinstance(images, ImageTensors) and images.images.shape[1:] != shape:
                raise DataError(
                    f"data: given {name} images of (H, W, C) = {tuple(images.images.shape[1:])}; "
                    f"allowed: {shape}, from data.image_size and data.channels"
                )
            if not 0 <= int(images.labels.min()) <= int(images.labels.max()) < self.num_classes:
                raise DataError(f"data: a {name} label lies outside 0 to {self.num_classes - 1}; mend the labels")

    @property
    def facts(self) -> Mapping[str, object]:
        """What a checkpoint must know of the data, beyond the config."""
        _ = self.splits
        facts = {"classes": list(self.splits.classes), "mean": self.mean, "std": self.std}
        root = getattr(self, "root", None)
        return facts | ({"root": str(Path(root).absolute())} if root else {})

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all images and labels; of files, their names and sizes."""
        digest = hashlib.blake2b(digest_size=16)
        for name in STAGES:
            images: Images = getattr(self.splits, name)
            digest.update(images.labels.numpy().data)
            if isinstance(images, ImageTensors):
                digest.update(images.images.numpy().data)
            else:
                sizes = (f"{p.parent.name}/{p.name} {s.st_size}\n" for p, s in file_states(images.paths))
                digest.update("".join(sizes).encode(errors="surrogateescape"))
        return digest.hexdigest()

    def train_dataloader(self) -> EpochLoader:
        # Overfitting takes the same images each epoch, as they are.
        overfit = bool(getattr(self.trainer, "overfit_batches", 0))
        if overfit:
            return self.loader("train", train=True)
        return self.loader("train", train=True, shuffle=True, augment=self.augment, transform=self.transform)

    def val_dataloader(self) -> EpochLoader:
        return self.loader("val")

    def test_dataloader(self) -> EpochLoader:
        return self.loader("test")

    def loader(
        self,
        split: Stage,
        *,
        train: bool = False,
        shuffle: bool = False,
        augment: Augment | None = None,
        transform: nn.Module | None = None,
    ) -> EpochLoader:
        images: Images = getattr(self.splits, split)
        assert self.mean, "checked with the splits"
        assert self.std
        return EpochLoader(
            images,
            batch_size=self.batch_size,
            normalize=Normalize(self.mean, self.std),
            seed=self.seed,
            train=train,
            shuffle=shuffle,
            balance=shuffle and self.balanced_sampling,
            augment=augment,
            transform=transform,
            num_workers=self.num_workers,
            device=self.trainer.strategy.root_device if self.trainer else torch.device("cpu"),
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )

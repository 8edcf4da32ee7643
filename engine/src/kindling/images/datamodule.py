"""The LightningDataModule that every set of images shares; a set of its own says only how to read itself."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import nn

from kindling.data.datamodule import DataModule
from kindling.data.splits import Splits as SplitsOfAnyKind
from kindling.errors import ConfigError, DataError, OtherDataError
from kindling.images.augment import Augment, Normalize
from kindling.images.decoding import VERSIONS, Decoding
from kindling.images.images import NO_LABEL, ImageFiles, Images, ImageTensors, num_by_class, renumbered
from kindling.images.listing import shortened
from kindling.images.loader import EpochLoader
from kindling.images.paths import as_paths
from kindling.ranges import Positive, PositiveInt
from kindling.stages import STAGES, Stage

# Classes that a message names.
LONGEST_LIST = 5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits(SplitsOfAnyKind):
    """What `read` returns: the three splits and the name of each class, by label."""

    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]


class ImageDataModule(DataModule):
    """Images with one label each, or labels (N, K) bool; subclass it and write `read` to bring your own.

    Args:
        num_classes: K; labels run from 0 to K - 1.
        channels: 1 for grey, 3 for colour.
        image_size: height and width in pixels.
        mean: of the training pixels, one a channel, in [0, 1]; None if `read` is to find it.
        std: likewise.
        in_memory: hold the set as one tensor on the device; "auto" decides by size.
        augment: for training images alone.
        transform: takes a training image (C, H, W) uint8 and returns it changed, before `augment`; any of
            torchvision.transforms.v2. Image by image, so it costs much more than `augment`.
        white: as Decoding takes it, like the three below; they stand for images from outside, too.
        background: likewise.
        max_pixels: likewise.
        decoding: its version.
        settings: those of DataModule; workers decode files, and are unused for sets in memory.
    """

    def __init__(
        self,
        *,
        num_classes: PositiveInt,
        channels: PositiveInt,
        image_size: PositiveInt,
        mean: list[float] | None,
        std: list[Positive] | None,
        in_memory: bool | Literal["auto"],
        augment: Augment | None,
        # Older checkpoints lack it, hence the default.
        transform: nn.Module | None = None,
        white: Positive | None = None,
        background: Sequence[Annotated[int, Interval(ge=0, le=255)]] = (255, 255, 255),
        max_pixels: PositiveInt = Decoding.max_pixels,
        decoding: Literal[1, 2, 3, 4] = VERSIONS[-1],
        **settings: Any,
    ):
        super().__init__(**settings)
        self.num_classes = num_classes
        self.channels = channels
        self.image_size = image_size
        self.mean, self.std = mean, std
        self.in_memory = in_memory
        self.augment = augment
        self.transform = transform
        self.decoding = Decoding(image_size, channels, white, background, max_pixels, decoding)

    def read(self) -> Splits:
        """Read the images, or list their files; called once in each process, after `prepare_data`."""
        raise NotImplementedError

    @cached_property
    def splits(self) -> Splits:
        splits: Splits = self._by_known_names(self._read_splits())
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

    def _by_known_names(self, splits: Splits) -> Splits:
        """With the labels that the model that is evaluated knows the classes by.

        Raises:
            OtherDataError: there are images of other classes.
        """
        known = tuple(self.known.get("classes") or splits.classes)
        if known == splits.classes:
            return splits
        images = {name: each for name in STAGES if (each := getattr(splits, name)) is not None}
        counts = sum(num_by_class(each.labels, len(splits.classes)) for each in images.values())
        there = [(name, n) for name, n in zip(splits.classes, torch.as_tensor(counts).tolist(), strict=True) if n]
        other = [f"{n} of {name!r}" for name, n in there if name not in known]
        if other:
            given = f"{', '.join(other[:LONGEST_LIST])}{' and more' * (len(other) > LONGEST_LIST)}"
            raise OtherDataError(
                f"data: given examples of classes that the model lacks, {given}; the model knows {list(known)}; "
                "remove or rename them"
            )
        labels = torch.tensor([known.index(name) if name in known else NO_LABEL for name in splits.classes])
        known_by = {
            name: replace(each, labels=renumbered(each.labels, labels, len(known))) for name, each in images.items()
        }
        return replace(splits, **known_by, classes=known)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.in_memory is False and isinstance(self.splits.train, ImageTensors):
            log.warning("data.in_memory=false has no effect: this set is always held in memory")

    def check(self, name: Stage, examples: Images) -> None:
        super().check(name, examples)
        shape = (self.image_size, self.image_size, self.channels)
        if isinstance(examples, ImageTensors) and examples.images.shape[1:] != shape:
            raise DataError(
                f"data: given {name} images of (H, W, C) = {tuple(examples.images.shape[1:])}; "
                f"allowed: {shape}, from data.image_size and data.channels"
            )
        if (
            examples.labels.ndim == 1
            and not 0 <= int(examples.labels.min()) <= int(examples.labels.max()) < self.num_classes
        ):
            raise DataError(f"data: a {name} label lies outside 0 to {self.num_classes - 1}; mend the labels")

    def described(self) -> list[str]:
        (line,), classes = super().described(), self.splits.classes
        size = f"{self.image_size} x {self.image_size} pixels in {self.channels} channel{'s' * (self.channels > 1)}"
        return [
            f"{line.replace('examples', 'images')}, {size}",
            f"data: {len(classes)} classes: {shortened(list(classes))}",
        ]

    def is_read_one_by_one(self, examples: Images) -> bool:
        return isinstance(examples, ImageFiles)

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
        for images in self.present().values():
            digest.update(images.labels.numpy().data)
            if isinstance(images, ImageTensors):
                digest.update(images.images.numpy().data)
            else:
                digest.update(as_paths(images.paths).sizes_by_name())
        return digest.hexdigest()

    def changes(self) -> dict[str, Any]:
        return {"augment": self.augment, "transform": self.transform}

    def make_loader(self, examples: Images, **settings: Any) -> EpochLoader:
        assert self.mean, "checked with the splits"
        assert self.std
        return EpochLoader(examples, normalize=Normalize(self.mean, self.std), **settings)

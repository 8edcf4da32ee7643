"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100, from torchvision's files."""

from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torchvision.datasets

from kindling.data.splits import hold_out
from kindling.errors import ConfigError, DataError, one_line
from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.images import ImageTensors
from kindling.ranges import Fraction

# Those of torchvision.datasets that hold `data` and `targets` as this module reads them.
Name = Literal["MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100"]


class TorchvisionImages(ImageDataModule):
    """A torchvision set whose images lie in memory; the official test split, validation cut from train.

    Args:
        name: of the class in torchvision.datasets.
        root: where torchvision's files lie or are downloaded to.
        val_fraction: share of each training class that becomes the validation split.
    """

    def __init__(self, *, name: Name, root: str, val_fraction: Fraction, **settings: Any):
        super().__init__(**settings)
        # A checkpoint may name anything.
        if name not in get_args(Name):
            raise ConfigError(f"data.name: given {name!r}; allowed: {', '.join(get_args(Name))}")
        self.dataset = name
        self.root = Path(root).expanduser()
        self.val_fraction = val_fraction

    def prepare_data(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise DataError(f"data.root: given the file {self.root}; allowed: a folder")
        try:
            self._open(train=True)
            self._open(train=False)
        except DataError as found:
            try:
                getattr(torchvision.datasets, self.dataset)(str(self.root), download=True)
            except Exception as error:
                # The network, the space or the permission may be missing.
                raise DataError(
                    f"{found}, and the download failed ({one_line(error)}); or take data=mnist_5k"
                ) from error

    def read(self) -> Splits:
        train_set, test_set = self._open(train=True), self._open(train=False)
        everything = _tensors(train_set)
        train, val = hold_out(everything.labels, self.val_fraction)
        return Splits(
            train=everything.take(train),
            val=everything.take(val),
            test=_tensors(test_set),
            classes=tuple(train_set.classes),
        )

    def _open(self, *, train: bool) -> Any:
        try:
            dataset = getattr(torchvision.datasets, self.dataset)(str(self.root), train=train)
            _tensors(dataset)
        except Exception as error:
            # Torchvision raises whatever its parser meets.
            raise DataError(
                f"data.root: given {self.root}, whose {self.dataset} files are missing or damaged ({one_line(error)}); "
                f"allowed: torchvision's files of {self.dataset}; delete damaged ones and copy them there"
            ) from error
        return dataset


def _tensors(dataset: Any) -> ImageTensors:
    images = torch.as_tensor(dataset.data)
    if images.ndim == 3:  # grey sets come as (N, H, W)
        images = images[..., None]
    return ImageTensors(images, torch.as_tensor(dataset.targets))

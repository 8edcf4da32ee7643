"""Data sets made small and offline, and what is read from them; those of images, and any other."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image
from torch import Tensor

from kindling.cli.entry import compose
from kindling.config.check import fits
from kindling.config.composition import instantiate
from kindling.config.targets import locate
from kindling.errors import ConfigError, DataError
from kindling.images.datamodule import ImageDataModule
from kindling.images.images import Images

# Images of a stand-in: of train, of test.
IMAGES_A_CLASS = {True: 12, False: 4}


def written(name: str) -> dict[str, Any]:
    return fits.written("data", name)


SETS = fits.options("data")


def reads_images_with_labels(name: str) -> bool:
    """Whether its class is an ImageDataModule; other data may have channels too, such as images with masks."""
    try:
        found = locate(fits.target_of(written(name)), "data")
    except ConfigError:
        # Reading it, in a test, says what is wrong.
        return False
    return isinstance(found, type) and issubclass(found, ImageDataModule)


DATA = [name for name in SETS if reads_images_with_labels(name)]


def one_for_each_shape(names: list[str]) -> list[str]:
    """The last data set of each shape (C, H, W), by what their files say; of CIFAR, that with a hundred classes."""
    shapes: dict[Any, str] = {}
    for name in names:
        facts = [written(name).get(key) for key in ("channels", "image_size")]
        shapes[name if None in facts else tuple(facts)] = name
    return list(shapes.values())


SHAPES = one_for_each_shape(DATA)


def lines_of(data: str, folder: Path) -> list[str]:
    """The overrides of a data set that finds its files nowhere but below a folder."""
    given = places_of(lambda key: written(data).get(key) == "???", folder)
    return [f"data={data}", f"paths.data={folder}/data", "data.batch_size=16", *given]


def places_of(is_asked: Callable[[str], bool], folder: Path) -> list[str]:
    """The overrides that say where the images below a folder are, of settings that have no default."""
    names = dict(zip(fits.PLACES, ("tree", "table.csv"), strict=True))
    return [f"data.{key}={folder}/{name}" for key, name in names.items() if is_asked(key)]


@cache
def config_of(name: str, folder: Path) -> Any:
    """The data node of a config, to copy: checking it anew would take a fifth of a second."""
    return compose([*fits.lines_for(name), *lines_of(name, folder)]).data


class MissingFilesError(Exception):
    """Raised by a data set's `read`; what is wrong with the images that it has read is no such error."""


@cache
def read(name: str, folder: Path, seed: int = 0) -> Any:
    """A data set, without `prepare_data`, which may download.

    Raises:
        MissingFilesError: it cannot be read.
        DataError: its examples are not what its config promises.
    """
    cfg = config_of(name, folder).copy()
    if "seed" in cfg:
        cfg.seed = seed
    return prepared(instantiate(cfg, "data"))


def prepared(data: Any) -> Any:
    """A data module that has read its files.

    Raises:
        MissingFilesError: it cannot be read.
    """
    if hasattr(data, "read"):
        data.read = partial(_read_or_missing, data.read)
    data.setup("fit")
    return data


def _read_or_missing(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (DataError, OSError) as error:
        raise MissingFilesError(str(error)) from error


def write_tree(root: Path) -> None:
    """A folder of dark, a folder of bright and a folder of grey images, with noise."""
    rng = np.random.default_rng(0)
    for name, brightness in (("bright", 180), ("dark", 0), ("grey", 90)):
        (root / name).mkdir(parents=True)
        for index in range(20):
            pixels = brightness + rng.integers(0, 70, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index:02}.png")


def write_table(root: Path) -> Path:
    """A table of the images of a tree, beside it."""
    files = sorted(root.glob("*/*"))
    lines = ["path,label", *(f"{file.relative_to(root.parent)},{file.parent.name}" for file in files)]
    table = root.with_name("table.csv")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def make_tree(
    root: Path,
    *,
    splits: tuple[str, ...] = ("",),
    classes: str = "abc",
    images: int = 10,
    size: int = 12,
    channels: int = 3,
) -> Path:
    """A class-per-folder tree of random PNGs, grey or colour."""
    rng = np.random.default_rng(0)
    for split in splits:
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(images):
                pixels = rng.integers(0, 256, (size, size, channels), dtype=np.uint8)
                Image.fromarray(pixels.squeeze()).save(folder / f"{index:03}.png")
    return root


def replace_torchvisions(patch: pytest.MonkeyPatch) -> None:
    """Let the class of torchvision.datasets that a data config names make its images, of the shape promised there."""
    for name in DATA:
        facts = written(name)
        if isinstance(getattr(torchvision.datasets, str(facts.get("name")), None), type):
            patch.setattr(torchvision.datasets, facts["name"], stand_in(facts))


def stand_in(facts: dict[str, Any]) -> type:
    """A pattern a class, with the mean and std that the config promises."""
    size, channels, num_classes = facts["image_size"], facts["channels"], facts["num_classes"]
    mean, std = np.array(facts["mean"]), np.array(facts["std"])

    class StandIn:
        def __init__(self, root: str, train: bool = True, **_: Any):
            patterns = np.random.default_rng(0).random((num_classes, size, size, channels))
            labels = np.arange(IMAGES_A_CLASS[train] * num_classes) % num_classes
            noise = np.random.default_rng(1 + train).random((len(labels), *patterns.shape[1:]))
            # A fifth of the pixels is an image's own.
            chances = np.where(noise < 0.2, noise * 5, patterns[labels])
            pixels = (two_values(chances, mean, std) * 255).round().astype(np.uint8)
            self.data = pixels[..., 0] if channels == 1 else pixels
            self.targets = labels.tolist()
            self.classes = [f"class {label}" for label in range(num_classes)]

    return StandIn


def two_values(chances: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Uniform numbers -> two values at most with a given mean and std: mean - std or 0, and a higher one."""
    low = np.maximum(mean - std, 0)
    # The share of the higher value.
    share = (mean - low) ** 2 / ((mean - low) ** 2 + std**2)
    return np.where(chances < share, low + (mean - low) / share, low)


def pixels_of(images: Images) -> Tensor:  # (N, H, W, C) uint8
    return torch.stack([images[index] for index in range(len(images))])


def as_bytes(data: ImageDataModule, images: Tensor) -> Tensor:
    """Normalised images (N, C, H, W) -> (N, H, W, C) uint8, as they were read."""
    raw = images.permute(0, 2, 3, 1) * torch.tensor(data.std) + torch.tensor(data.mean)
    return (raw * 255).round().to(torch.uint8)


def read_all(loader: Any, epoch: int = 0) -> tuple[Tensor, Tensor]:
    """All images (N, C, H, W) and labels (N,) of an epoch."""
    loader.order.set_epoch(epoch)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def labelled(images: Tensor, labels: Tensor) -> list[tuple[bytes, int]]:
    return [(image.numpy().tobytes(), label) for image, label in zip(images.contiguous(), labels.tolist(), strict=True)]

"""Every model and every data set of configs/, made small and offline, for the contracts that all of them keep."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from kindling.classifier import PRETRAINED
from kindling.config import project
from kindling.config.composition import instantiate, to_plain
from kindling.config.entry import compose
from kindling.config.files import ConfigFiles
from kindling.data.datamodule import ImageDataModule
from kindling.data.images import Images
from kindling.train import check_shapes
from my_project.data.torchvision_sets import TorchvisionImages

CONFIGS = project.current().configs

MODELS: list[str] = ConfigFiles(CONFIGS).groups["model"]
DATA: list[str] = ConfigFiles(CONFIGS).groups["data"]
SPLITS = ("train", "val", "test")
BATCH = 8
IMAGES_A_CLASS = {True: 12, False: 4}  # of a made set: train, test


class Case(NamedTuple):
    """A model built for the shape of a data set, and a batch of it."""

    cfg: DictConfig
    net: nn.Module
    images: Tensor  # (B, C, H, W), in the memory order of the loader
    labels: Tensor


def written(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / "data" / f"{name}.yaml").read_text(encoding="utf-8"))


def one_for_each_shape(names: list[str]) -> list[str]:
    """The last data set of each shape (C, H, W), by what their files say; of CIFAR, that with a hundred classes."""
    shapes: dict[Any, str] = {}
    for name in names:
        facts = [written(name).get(key) for key in ("channels", "image_size")]
        shapes[name if None in facts else tuple(facts)] = name
    return list(shapes.values())


def lines_of(data: str, folder: Path) -> list[str]:
    """The overrides of a data set that finds its files nowhere but below a folder."""
    root = [f"data.root={folder}/tree"] if written(data).get("root") == "???" else []
    return [f"data={data}", f"paths.data={folder}/data", "data.batch_size=16", *root]


@cache
def composed(*lines: str) -> DictConfig:
    """A config to copy: checking it anew would take a fifth of a second."""
    return compose(lines)


@cache
def read(name: str, folder: Path, seed: int = 0) -> ImageDataModule:
    """A data set, without `prepare_data`, which may download.

    Raises:
        DataError: its files are missing.
    """
    cfg = composed(*lines_of(name, folder)).copy()
    cfg.seed = seed
    data: ImageDataModule = instantiate(cfg.data, "data")
    data.setup("fit")
    return data


@cache
def build(model: str, data: str, folder: Path) -> Case:
    """
    Raises:
        ConfigError: the model does not fit the shape.
    """
    cfg = composed("data=fake", f"model={model}").copy()
    cfg.data = composed(*lines_of(data, folder)).data
    net = build_net(cfg)
    shape = (BATCH, cfg.data.channels, cfg.data.image_size, cfg.data.image_size)
    check_shapes(net, torch.zeros(2, *shape[1:]), cfg)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return Case(cfg, net, images.to(memory_format=torch.channels_last), torch.arange(BATCH) % cfg.data.num_classes)


def build_net(cfg: DictConfig, seed: int = 0) -> nn.Module:
    """A model with random weights, whatever weights its config would download."""
    plain = {key: value for key, value in to_plain(cfg.model).items() if key not in PRETRAINED}
    torch.manual_seed(seed)
    return instantiate(plain | ({"weights": None} if "weights" in plain else {}), "model")


def write_tree(root: Path) -> None:
    """A folder of dark, a folder of bright and a folder of grey images, with noise."""
    rng = np.random.default_rng(0)
    for name, brightness in (("bright", 180), ("dark", 0), ("grey", 90)):
        (root / name).mkdir(parents=True)
        for index in range(20):
            pixels = brightness + rng.integers(0, 70, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index:02}.png")


def made_set(self: TorchvisionImages, *, train: bool) -> Any:
    """Stands for torchvision's files: a pattern a class, with the mean and std that the config promises."""
    rng = np.random.default_rng(0)
    shape = (self.num_classes, self.image_size, self.image_size, self.channels)
    patterns = rng.random(shape)
    labels = np.arange(IMAGES_A_CLASS[train] * self.num_classes) % self.num_classes
    noise = np.random.default_rng(1 + train).random((len(labels), *shape[1:]))
    chances = np.where(noise < 0.2, noise * 5, patterns[labels])  # a fifth of the pixels is an image's own
    pixels = (two_values(chances, np.array(self.mean), np.array(self.std)) * 255).round().astype(np.uint8)
    images = pixels[..., 0] if self.channels == 1 else pixels
    return SimpleNamespace(data=images, targets=labels.tolist(), classes=[f"class {i}" for i in range(shape[0])])


def two_values(chances: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Uniform numbers -> two values at most with a given mean and std: mean - std or 0, and a higher one."""
    low = np.maximum(mean - std, 0)
    share = (mean - low) ** 2 / ((mean - low) ** 2 + std**2)  # of the higher value
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


def freeze_batch_norm(net: nn.Module) -> nn.Module:
    """Let batch norm, which mixes the images of a batch on purpose, use what it has seen before."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return net


def seeded(net: nn.Module, images: Tensor) -> Tensor:
    """Logits whose dropout is the same at each call."""
    torch.manual_seed(0)
    return net(images)


def loss_of(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(seeded(net, images), labels)


def descend(case: Case, make: Callable[..., torch.optim.Optimizer], steps: int, until: float = 0.0) -> float:
    """Steps on one batch until its loss is low enough; returns the last loss."""
    optimizer = make(case.net.parameters())
    case.net.train()
    loss = torch.tensor(torch.inf)
    for _ in range(steps):
        loss = F.cross_entropy(case.net(case.images), case.labels)
        if loss <= until:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()

"""Every model of configs/, built for the shapes of the data sets."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from kindling.cli.entry import compose
from kindling.config import project
from kindling.config.check.files import ConfigFiles
from kindling.config.composition import instantiate, to_plain
from kindling.errors import ConfigError
from kindling.testing.sets import SHAPES, config_of, lines_of
from kindling.training.example import check_example
from kindling.training.rebuild import PRETRAINED

MODELS: list[str] = ConfigFiles(project.current().configs).groups.get("model", [])
BATCH = 8


class Case(NamedTuple):
    """A model built for the shape of a data set, and a batch of it."""

    cfg: DictConfig
    net: nn.Module
    images: Tensor  # (B, C, H, W), in the memory order of the loader
    labels: Tensor

    def copy(self) -> "Case":
        return self._replace(net=copy.deepcopy(self.net))


@cache
def fitting(model: str, folder: Path) -> list[Case]:
    """The model with all shapes that it fits, the smallest images first."""
    found, refusals = [], []
    for data in SHAPES:
        try:
            found.append(build(model, data, folder))
        except ConfigError as error:
            refusals.append(f"data={data}: {error}")
    if not found:
        pytest.fail(f"model={model} takes the images of no data set of configs/data\n" + "\n".join(refusals))
    return sorted(found, key=lambda each: each.images[0].numel())


@cache
def config_with(model: str, folder: Path) -> DictConfig:
    return compose([f"model={model}", *lines_of(SHAPES[0], folder)])


def build(model: str, data: str, folder: Path) -> Case:
    """
    Raises:
        ConfigError: the model does not fit the shape.
    """
    cfg = config_with(model, folder).copy()
    cfg.data = config_of(data, folder)
    net = build_net(cfg)
    shape = (BATCH, cfg.data.channels, cfg.data.image_size, cfg.data.image_size)
    config = to_plain(cfg)
    task = instantiate(config["task"], "task", net=net, config=config)
    check_example(task, torch.zeros(2, *shape[1:]))
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return Case(cfg, net, images.to(memory_format=torch.channels_last), torch.arange(BATCH) % cfg.data.num_classes)


def build_net(cfg: DictConfig, seed: int = 0, **settings: object) -> nn.Module:
    """A model with random weights, whatever weights its config would download."""
    plain = {key: value for key, value in to_plain(cfg.model).items() if key not in PRETRAINED}
    torch.manual_seed(seed)
    return instantiate(plain | ({"weights": None} if "weights" in plain else {}) | settings, "model")


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

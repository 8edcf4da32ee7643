"""What a task and its torchmetrics make of an epoch, as numbers by name."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torchmetrics import Metric

from kindling.errors import ConfigError
from kindling.lightning_internals.warnings import NOT_UPDATED, ignored


def computed(metrics: Mapping[str, Metric], trainer: Trainer) -> dict[str, Tensor]:
    """What metrics give for an epoch; those of several numbers give one for each.

    Raises:
        ConfigError: one gives neither a number nor numbers.
    """
    found: dict[str, Tensor] = {}
    for name, metric in metrics.items():
        # Another process may have had batches.
        if metric.update_called or trainer.world_size > 1:
            with ignored(NOT_UPDATED):
                found |= numbers_of(name, metric.compute())
    return found


def as_numbers(metrics: Mapping[str, Any]) -> dict[str, Tensor]:
    """
    Raises:
        ConfigError: a metric of a task is no number.
    """
    found = {name: torch.as_tensor(value) for name, value in metrics.items()}
    for name, value in found.items():
        if value.ndim:
            raise ConfigError(
                f"task.epoch_metrics: gives {name} of shape {tuple(value.shape)}; allowed: a number for each name; "
                "reduce it, or give one for each class"
            )
    return found


def numbers_of(name: str, value: Any) -> dict[str, Tensor]:
    if isinstance(value, Tensor) and value.ndim == 0:
        return {name: value}
    if isinstance(value, Tensor) and value.ndim == 1:
        return {f"{name}_{index}": each for index, each in enumerate(value)}
    if isinstance(value, Mapping):
        return {f"{name}_{key}": each for key, inner in value.items() for each in numbers_of("", inner).values()}
    shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    raise ConfigError(f"metrics.{name}: gives {shape}; allowed: a number, a vector or a dict of numbers")

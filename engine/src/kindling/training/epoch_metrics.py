"""What a task and its torchmetrics make of an epoch, as numbers by name."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torchmetrics import Metric

from kindling.console import warn
from kindling.errors import ConfigError, one_line
from kindling.lightning_internals.warnings import NOT_UPDATED


def computed(metrics: Mapping[str, Metric], examples: str, trainer: Trainer, said: set[str]) -> dict[str, Tensor]:
    """What metrics give for an epoch; those of several numbers give one for each.

    Args:
        metrics: by name.
        examples: that they have seen, in words.
        trainer: whose other processes may have had batches where this one had none.
        said: what has been warned of.

    Raises:
        ConfigError: one gives nothing of these examples, or neither a number nor numbers.
    """
    found: dict[str, Tensor] = {}
    for name, metric in metrics.items():
        if metric.update_called or trainer.world_size > 1:
            found |= numbers_of(name, value_of(metric, name, examples, trainer, said))
    return found


def value_of(metric: Metric, name: str, examples: str, trainer: Trainer, said: set[str]) -> Any:
    """What a metric gives; what it warns of is said once."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = metric.compute()
    except Exception as error:
        # Another process may be gone.
        if trainer.world_size > 1 and isinstance(error, RuntimeError):
            raise
        raise ConfigError(
            f"metrics.{name}: given {examples}, of which {type(metric).__name__} gives nothing ({one_line(error)}); "
            "allowed: more examples, another metric, or metrics=none"
        ) from error
    for each in caught:
        text = f"metrics.{name}: of {examples}: {' '.join(str(each.message).split())}"
        if NOT_UPDATED not in text and text not in said and not trainer.sanity_checking:
            said.add(text)
            warn(text)
    return value


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

"""A step of a task, as it counts in the loss and in the metrics of an epoch."""

import math
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torchmetrics import Metric

from kindling.errors import ConfigError, one_line
from kindling.stages import Stage
from kindling.training.sums import StepOutput


def counted(task: Any, batch: Any, stage: Stage, batch_idx: int) -> StepOutput:
    """A step, which the sums and the metrics of its stage have taken in, unless its examples count elsewhere."""
    output, sums = task.step(batch, stage), task.kindling_sums[stage]
    if batch_idx >= sums.num_own:
        return output
    sums.add(output)
    for name, metric in task.kindling_metrics_of[stage].items():
        if not isinstance(output.outputs, Tensor):
            raise ConfigError(
                f"metrics: given {type(output.outputs).__name__} as outputs by {type(task).__name__}.step; "
                "allowed: a tensor, with its targets, in StepOutput; or metrics=none"
            )
        update(name, metric, output)
    return output


def update(name: str, metric: Metric, output: StepOutput) -> None:
    """
    Raises:
        ConfigError: the metric cannot take the outputs and targets.
    """
    try:
        metric.update(output.outputs.detach(), output.targets)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ConfigError(
            f"metrics.{name}: given outputs {described(output.outputs)} and targets {described(output.targets)}, which "
            f"{type(metric).__name__} cannot take ({one_line(error)}); allowed: a metric of these, or metrics=none"
        ) from error


def described(value: Any) -> str:
    """Shape and kind of a tensor, such as (16, 1) float32."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"


def no_loss(module: nn.Module) -> Tensor:
    """A loss of 0 that no parameter could lower, in which all take part; of a batch without examples."""
    return 0.0 * torch.stack([each.sum() for each in module.parameters() if each.requires_grad]).sum()


def window_scale(trainer: Trainer, batch_idx: int) -> float:
    """Lightning divides a loss by all the batches of a step, also where an epoch ends with fewer."""
    full, batches = trainer.accumulate_grad_batches, trainer.num_training_batches
    rest = int(batches % full) if math.isfinite(batches) else 0
    return full / rest if rest and batch_idx >= batches - rest else 1.0

"""A step of a task, as it counts in the loss and in the metrics of an epoch."""

import math
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from kindling.errors import ConfigError
from kindling.stages import Stage
from kindling.training.sums import StepOutput


def counted(task: Any, batch: Any, stage: Stage) -> StepOutput:
    """A step, which the sums and the metrics of its stage have taken in."""
    output = task.step(batch, stage)
    task.kindling_sums[stage].add(output)
    for metric in task.kindling_metrics_of[stage].values():
        if not isinstance(output.outputs, Tensor):
            raise ConfigError(
                f"metrics: given {type(output.outputs).__name__} as outputs by {type(task).__name__}.step; "
                "allowed: a tensor, with its targets, in StepOutput; or metrics=none"
            )
        metric.update(output.outputs.detach(), output.targets)
    return output


def window_scale(trainer: Trainer, batch_idx: int) -> float:
    """Lightning divides a loss by all the batches of a step, also where an epoch ends with fewer."""
    full, batches = trainer.accumulate_grad_batches, trainer.num_training_batches
    rest = int(batches % full) if math.isfinite(batches) else 0
    return full / rest if rest and batch_idx >= batches - rest else 1.0

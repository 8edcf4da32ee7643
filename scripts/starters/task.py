"""Numbers foretold by squared errors, to start from: say here what yours computes, and from which paper it comes."""

from typing import ClassVar

from torch import Tensor

from kindling.errors import ConfigError
from kindling.stages import Stage
from kindling.training.task import StepOutput, Task


class Starter(Task):
    """Trains a net, inputs (B, ...) -> outputs of the targets' shape (B, ...)."""

    # Of what is logged beside the loss, which way is better.
    METRICS: ClassVar = {"mae": "min"}

    def step(self, batch: tuple[Tensor, Tensor], stage: Stage) -> StepOutput:
        inputs, targets = batch
        outputs = self(inputs)
        errors = difference(outputs, targets)
        return StepOutput(errors.square().mean(), errors.numel(), {"mae": errors.abs().sum()}, outputs, targets)

    # For predict, export and serve, write `processor`: "What comes in and goes out" in docs/tasks.md.


def difference(outputs: Tensor, targets: Tensor) -> Tensor:
    """
    Raises:
        ConfigError: the shapes differ, which broadcasting would hide.
    """
    if outputs.shape != targets.shape:
        raise ConfigError(
            f"model: gives {tuple(outputs.shape)} for targets {tuple(targets.shape)}; allowed: the targets' shape; "
            "take a model and data that fit"
        )
    return outputs - targets

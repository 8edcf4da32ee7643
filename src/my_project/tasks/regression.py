"""Regression: one number for each example."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kindling.data.rows_processor import RowsProcessor
from kindling.errors import ConfigError
from kindling.ranges import Positive
from kindling.stages import Stage
from kindling.training.task import StepOutput, Task


class Regression(Task):
    """Trains a net, features (B, F) -> predictions (B,), by squared errors.

    Predicting the mean of the targets costs a loss of about 1; mae and rmse are in the target's own unit.

    Args:
        net: what is trained.
        target_std: the spread of the targets, as whose share an error counts in the loss.
        engine: what every task takes.
    """

    METRICS: ClassVar = {"mae": "min", "rmse": "min"}

    def __init__(self, net: nn.Module, target_std: Positive, **engine: Any):
        super().__init__(net, **engine)
        self.target_std = target_std

    def step(self, batch: tuple[Tensor, Tensor], stage: Stage) -> StepOutput:
        features, targets = batch  # (B, F), (B,)
        predictions = self(features)  # (B,)
        errors = predictions - targets
        loss = (errors / self.target_std).square().mean()
        return StepOutput(loss, len(targets), {"mae": errors.abs().sum()}, predictions, targets)

    def epoch_metrics(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        metrics = super().epoch_metrics(sums)
        return {**metrics, "rmse": self.target_std * metrics["loss"].sqrt()}

    def example(self) -> Tensor:
        return torch.zeros(2, self.config["data"]["num_features"])

    def check_outputs(self, outputs: Tensor) -> None:
        if outputs.shape != (2,):
            raise ConfigError(f"gives {tuple(outputs.shape)} for two examples; allowed: (2,), one number each")

    def processor(self) -> RowsProcessor:
        return RowsProcessor(self.facts["columns"], [self.facts["target"]])

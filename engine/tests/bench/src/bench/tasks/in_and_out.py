"""Tasks of rows and of texts, each with a processor, and one that has none."""

import torch.nn.functional as F
from torch import Tensor

from kindling.data.rows_processor import RowsProcessor
from kindling.data.text_processor import TextProcessor
from kindling.stages import Stage
from kindling.training.task import StepOutput, Task


class Silent(Task):
    """A number for each row; it does not say how rows are read."""

    def step(self, batch: tuple[Tensor, Tensor], stage: Stage) -> StepOutput:
        rows, targets = batch  # (B, F), (B,)
        predictions = self(rows)  # (B,)
        return StepOutput((predictions - targets).square().mean(), len(rows), outputs=predictions, targets=targets)


class Sum(Silent):
    """A number for each row."""

    def processor(self) -> RowsProcessor:
        return RowsProcessor(self.facts["columns"], ["sum"])


class Sign(Task):
    """A class for each row."""

    def step(self, batch: tuple[Tensor, Tensor], stage: Stage) -> StepOutput:
        rows, labels = batch  # (B, F), (B,)
        logits = self(rows)  # (B, K)
        return StepOutput(F.cross_entropy(logits, labels), len(rows), outputs=logits, targets=labels)

    def processor(self) -> RowsProcessor:
        return RowsProcessor(self.facts["columns"], classes=self.facts["classes"])


class Next(Task):
    """What follows each character."""

    def step(self, batch: tuple[Tensor, Tensor], stage: Stage) -> StepOutput:
        ids, following = batch  # (B, T), (B, T)
        logits = self(ids)  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), following.flatten())
        return StepOutput(loss, following.numel(), outputs=logits, targets=following)

    def processor(self) -> TextProcessor:
        return TextProcessor(self.facts["vocabulary"], self.config["data"]["block_size"])

"""Language: what follows each character, from those before it."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kindling.data.text_processor import TextProcessor
from kindling.stages import Stage
from kindling.training.task import StepOutput, Task

# A place of the batch whose follower is not asked for.
NOT_COUNTED = -100


class Language(Task):
    """Trains a net, ids (B, T) -> logits (B, T, V), to foretell the next id; the loss is in nats a character."""

    METRICS: ClassVar = {"perplexity": "min"}

    def step(self, batch: tuple[Tensor, Tensor], stage: Stage) -> StepOutput:
        ids, following = batch  # (B, T), (B, T)
        logits = self(ids)  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), following.flatten(), ignore_index=NOT_COUNTED)
        return StepOutput(loss, (following != NOT_COUNTED).sum(), outputs=logits, targets=following)

    def epoch_metrics(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        metrics = super().epoch_metrics(sums)
        return {**metrics, "perplexity": metrics["loss"].exp()}

    def example(self) -> Tensor:
        return torch.zeros(2, self.config["data"]["block_size"], dtype=torch.int64)

    def processor(self) -> TextProcessor:
        return TextProcessor(self.facts["vocabulary"], self.config["data"]["block_size"])

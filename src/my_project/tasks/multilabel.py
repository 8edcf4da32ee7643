"""Multi-label classification of images: any number of K labels for each."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kindling.errors import ConfigError
from kindling.images.processor import processor_of
from kindling.images.task import ImageTask
from kindling.ranges import Fraction
from kindling.stages import Stage
from kindling.training.task import StepOutput
from my_project.tasks.labels_processor import LabelsProcessor


class Multilabel(ImageTask):
    """Trains a net to say of each label whether an image has it.

    Args:
        net: images (B, C, H, W) -> logits (B, K), a sigmoid of which is the probability of a label.
        criterion: logits (B, K), labels (B, K) of 0 and 1 -> mean loss ().
        threshold: of the probability, from which an image is said to have the label.
        engine: what every task takes.
    """

    # The share of right answers, over all labels; and the F1 score of all answers together (micro).
    METRICS: ClassVar = {"accuracy": "max", "f1": "max"}

    def __init__(self, net: nn.Module, criterion: nn.Module, threshold: Fraction, **engine: Any):
        super().__init__(net.to(memory_format=torch.channels_last), **engine)
        self.criterion = criterion
        self.threshold = threshold

    def step(self, batch: tuple[Tensor, Tensor], stage: Stage) -> StepOutput:
        images, labels = batch  # (B, C, H, W), (B, K) bool
        if labels.ndim != 2:
            raise ConfigError(
                "task: given multilabel for images with one label each; allowed: labels (N, K), such as those of "
                "data=table with data.label_separator; or task=classification"
            )
        logits = self(images)  # (B, K)
        loss = self.criterion(logits, labels.to(logits.dtype))
        said = logits.sigmoid() >= self.threshold
        sums = {"accuracy": (said == labels).float().mean(1).sum()}
        sums |= {"hits": (said & labels).sum(), "said_or_true": said.sum() + labels.sum()}
        return StepOutput(loss, len(labels), sums, logits, labels.long())

    def epoch_metrics(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        hits, said_or_true = sums["hits"], sums["said_or_true"]
        rest = {name: value for name, value in sums.items() if name not in ("hits", "said_or_true")}
        # 0 if no label is said, and none is true.
        return super().epoch_metrics(rest) | {"f1": 2 * hits / said_or_true.clamp_min(1)}

    def processor(self) -> LabelsProcessor:
        data = self.config["data"]
        separator = data.get("label_separator") or "|"
        return processor_of(data, self.facts, LabelsProcessor, threshold=self.threshold, separator=separator)

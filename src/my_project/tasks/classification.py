"""Classification of images: one label of K for each."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kindling.errors import ConfigError
from kindling.images.criterion import CrossEntropy, comparable
from kindling.images.processor import ImageProcessor, processor_of
from kindling.images.task import ImageTask
from kindling.images.views import Views, average_logits
from kindling.stages import Stage
from kindling.training.task import StepOutput


class Classification(ImageTask):
    """Trains a net to give each image its label.

    Args:
        net: images (B, C, H, W) -> logits (B, K).
        criterion: logits (B, K), labels (B,) -> mean loss ().
        mix: training images (B, C, H, W) and labels (B,) -> mixed images and shares of the classes (B, K).
        views: of a test image, whose logits are averaged.
        plain_loss: whether validation and tests log the loss of a class of torch.nn without smoothing and weights;
            runs of before log what is minimised.
        engine: what every task takes.
    """

    METRICS: ClassVar = {"accuracy": "max"}

    def __init__(
        self,
        net: nn.Module,
        criterion: nn.Module,
        views: Views,
        *,
        mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        plain_loss: bool | None = None,
        **engine: Any,
    ):
        # Channels last, convolutions run 1.6 times faster.
        super().__init__(net.to(memory_format=torch.channels_last), **engine)
        self.criterion = comparable(criterion) if plain_loss else criterion
        self.mix = mix
        # Stages that are not named take one view.
        self.views: dict[str, Views] = {"test": views}

    def setup(self, stage: str) -> None:
        loss = self.criterion
        # A checkpoint brings the weights of its classes.
        if isinstance(loss, CrossEntropy) and loss.is_balanced and (stage == "fit" or loss.is_even):
            data: Any = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            loss.balance(data.splits.train.labels)

    def step(self, batch: tuple[Tensor, Tensor], stage: Stage) -> StepOutput:
        images, labels = batch  # (B, C, H, W), (B,)
        if labels.dtype == torch.bool:
            raise ConfigError(
                "task: given classification for images with several labels; allowed: one label each, or task=multilabel"
            )
        if self.mix is not None and stage == "train":
            images, labels = self.mix(images, labels)  # (B, C, H, W), (B, K)
        logits = average_logits(self.net, images, self.views.get(stage, "none"))  # (B, K)
        # Smoothed or weighted losses of two runs cannot be compared.
        criterion = self.criterion if stage == "train" else getattr(self.criterion, "plain", self.criterion)
        loss = criterion(logits, labels)
        # Of a mixed image the largest share is the label.
        labels = labels.argmax(1) if labels.ndim == 2 else labels
        hits = (logits.argmax(1) == labels).sum()
        return StepOutput(loss, len(labels), {"accuracy": hits}, logits, labels)

    def processor(self) -> ImageProcessor:
        return processor_of(self.config["data"], self.facts)

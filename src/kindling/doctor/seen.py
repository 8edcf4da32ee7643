"""What a run has shown of itself so far, which the rules look at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lightning.pytorch import Trainer
from torch import Tensor

from kindling.classifier import Classifier
from kindling.data.datamodule import ImageDataModule


@dataclass
class Seen:
    """A rule is asked at the moment that fills the fields which it reads.

    Args:
        trainer: of the run.
        classifier: its LightningModule.
        data: set up.
        logits: (B, K) of the first batch of training.
        made_by: torch's name for the operation that made them.
        first_labels: (B,) of the first batch of a validation, and of the one before.
        predicted: (K,) how many processes have predicted the class in a validation.
        train_loss: mean over an epoch, in this process.
        loading: share of an epoch that it has waited for batches.
    """

    trainer: Trainer
    classifier: Classifier
    data: ImageDataModule
    logits: Tensor | None = None
    made_by: str = ""
    first_labels: tuple[Tensor, Tensor] | None = None
    predicted: Tensor | None = None
    train_loss: float | None = None
    loading: float | None = None


Rule = Callable[[Seen], Iterator[str]]

"""What a run has shown of itself so far, which the rules look at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from kindling.images.datamodule import ImageDataModule
from kindling.training.task import Task


@dataclass
class Seen:
    """A rule is asked at the moment that fills the fields which it reads.

    Args:
        trainer: of the run.
        task: its LightningModule.
        data: set up.
        logits: (B, K) of the first batch of training.
        made_by: torch's name for the operation that made them.
        without_gradient: parameters that none has reached, or zeros alone, in any of the first optimizer steps.
        first_labels: (B,) of the first batch of a validation, and of the one before.
        predicted: (K,) how many processes have predicted the class in a validation.
        train_loss: mean over an epoch, in this process.
        loading: share of an epoch that it has waited for batches.
    """

    trainer: Trainer
    task: Task
    data: ImageDataModule
    logits: Tensor | None = None
    made_by: str = ""
    without_gradient: set[str] | None = None
    first_labels: tuple[Tensor, Tensor] | None = None
    predicted: Tensor | None = None
    train_loss: float | None = None
    loading: float | None = None

    def note_gradients(self) -> None:
        """Strike out the parameters that the gradient of this step reaches; waits once for the device."""
        named = [(name, each) for name, each in self.task.net.named_parameters() if each.requires_grad]
        reached = [(name, each.grad) for name, each in named if each.grad is not None]
        # A batch that was left out has no gradient.
        if reached:
            any_number = torch.stack([grad.any() for _, grad in reached]).tolist()
            names = {name for (name, _), found in zip(reached, any_number, strict=True) if found}
            left = {name for name, _ in named} if self.without_gradient is None else self.without_gradient
            self.without_gradient = left - names


Rule = Callable[[Seen], Iterator[str]]

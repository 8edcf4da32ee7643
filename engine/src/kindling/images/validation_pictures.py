"""Pictures of a validation: its worst mistakes, its confusion matrix, its precision and recall."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from kindling.callbacks.drawing import TensorBoardCallback, boards, current_step, show, show_table, writers
from kindling.data.class_report import per_class, worst_first
from kindling.data.confusion import plot_confusion_matrix
from kindling.images.datamodule import Splits
from kindling.images.keep_logits import KeepLogits, has_logits
from kindling.images.plots import plot_mistakes
from kindling.images.training_images import leave_out_without_images
from kindling.lightning_internals.results import gather
from kindling.ranges import NotNegativeInt, PositiveInt


class ValidationPictures(TensorBoardCallback):
    """Draws the newest validation at the end of each n-th epoch, and the last one of the run.

    Args:
        every_n_epochs: epochs between two; None for the last validation alone.
        num_mistakes: the wrongly classified images of highest loss; 0 for none.
        confusion_matrix: with the number of images of each true and predicted class; and each class in a table.
        pr_curves: precision over recall of each class against all others.
    """

    def __init__(
        self, every_n_epochs: PositiveInt | None, num_mistakes: NotNegativeInt, confusion_matrix: bool, pr_curves: bool
    ):
        super().__init__(every_n_epochs)
        self.num_mistakes = num_mistakes
        self.confusion_matrix = confusion_matrix
        self.pr_curves = pr_curves
        # The validation that is not drawn yet.
        self._kept: KeepLogits | None = None
        # The step at which it took place.
        self._step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        leave_out_without_images(self, trainer)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and boards(trainer):
            self._kept, self._step = KeepLogits(), current_step(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *places: int
    ) -> None:
        if self._kept and not has_logits(outputs, batch):
            self._kept = None
            given = f"given {type(pl_module).__name__}, whose validation gives no logits (B, K) of labels (B,)"
            self.leave_out(trainer, f"{given}; it draws mistakes of a classification alone")
        elif self._kept:
            self.attempt(self._kept.on_validation_batch_end, trainer, pl_module, outputs, batch, *places)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.ends_period(trainer):
            self.attempt(self._draw, trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.attempt(self._draw, trainer)

    def _draw(self, trainer: Trainer) -> None:
        kept, self._kept = self._kept, None
        if kept is None:
            return
        logits, labels = in_order(trainer, kept.logits), in_order(trainer, kept.labels)
        splits: Splits = trainer.datamodule.splits  # pyright: ignore[reportAttributeAccessIssue]
        # Gathering takes all processes, drawing one.
        if not trainer.is_global_zero:
            return
        classes = list(splits.classes)
        if self.num_mistakes:
            figure = plot_mistakes(splits.val, logits, labels, classes, self.num_mistakes)
            show(trainer, "val/mistakes", figure, self._step)
        if self.confusion_matrix:
            show(trainer, "val/confusion_matrix", plot_confusion_matrix(logits, labels, classes), self._step)
            columns, rows = worst_first(logits, labels, per_class(logits, labels, classes))
            show_table(trainer, "val/classes", columns, rows, self._step)
        for writer in writers(trainer) if self.pr_curves else ():
            for name, positive, probability in zip(classes, range(len(classes)), logits.softmax(1).T, strict=True):
                writer.add_pr_curve(f"val/{name}", labels == positive, probability, self._step)


def in_order(trainer: Trainer, values: Tensor) -> Tensor:
    """What all processes have kept of their shares, in the order of the images."""
    if trainer.world_size == 1:
        return values
    shares: list[Tensor] = gather(trainer, values)
    found = values.new_empty((sum(map(len, shares)), *values.shape[1:]))
    for rank, share in enumerate(shares):
        found[rank :: trainer.world_size] = share
    return found

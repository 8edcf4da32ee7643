"""The largest batch that fits into memory."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from annotated_types import Ge
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder

from kindling.data.examples import num_examples
from kindling.errors import ConfigError, KindlingError
from kindling.images.datamodule import ImageDataModule
from kindling.lightning_internals.batches import end_fit, forget_metrics, make_loaders_anew
from kindling.ranges import PositiveInt
from kindling.training.observer import Observer

log = logging.getLogger(__name__)
# Lightning's BatchSizeFinder tries no larger batch.
HIGHEST = 8192


class FindBatchSize(BatchSizeFinder, Observer):
    """Doubles the batch until memory ends, logs the largest that has fitted, and ends the run.

    Lightning's own search takes its first step with another size and may return one that it has not tried; so it is
    asked for one size at a time.

    Args:
        start: the first size; if it does not fit, its half, its quarter, ...
        limit: no larger one is tried, nor one beyond the training split.
        steps: that a size has to last.

    Raises:
        KindlingError: memory runs out with two images.
    """

    def __init__(self, *, start: Annotated[int, Ge(2)], limit: Annotated[int, Ge(2)], steps: PositiveInt):
        super().__init__(steps_per_trial=steps, max_trials=1)
        self.start, self.limit = start, limit

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        if trainer.world_size > 1:
            raise ConfigError(f"trainer.devices: given {trainer.world_size} with debug=find_batch_size; allowed: 1")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        noun = "images" if isinstance(data, ImageDataModule) else "examples"
        refuse_fixed_batches(data)
        num = num_trained(data)
        most = min(self.limit, HIGHEST, num or HIGHEST)
        size = largest(partial(self._fits, trainer, pl_module, data), self.start, most)
        if not size:
            smaller = "a smaller model or image_size" if noun == "images" else "a smaller model"
            raise KindlingError(f"data.batch_size: memory runs out with 2 {noun}; take {smaller}")

        end = ""
        if size == most:
            reason = f"all training {noun}" if most == num else "the limit of this search"
            end = f"; nothing ran out of memory up to {most}, {reason}"
        log.info("the largest batch that has fitted: data.batch_size=%d%s", size, end)
        end_fit()

    def _fits(self, trainer: Trainer, pl_module: LightningModule, data: Any, size: int) -> bool:
        data.batch_size = size
        # Else Lightning would try the loader already made.
        make_loaders_anew(trainer)
        self._init_val, self._max_val = size, size + 1
        self.scale_batch_size(trainer, pl_module)
        # These metrics are of steps that were undone.
        forget_metrics(trainer)
        return self.optimal_batch_size == size


def refuse_fixed_batches(data: Any) -> None:
    """
    Raises:
        ConfigError: loaders of training do not have the batch size that the data is given.
    """
    allowed = "allowed: a data module whose train_dataloader takes self.batch_size"
    name = type(data).__name__
    if not isinstance(getattr(data, "batch_size", None), int):
        raise ConfigError(f"data: given {name} with debug=find_batch_size, which has no batch_size; {allowed}")
    before, data.batch_size = data.batch_size, data.batch_size + 1
    found = getattr(data.train_dataloader(), "batch_size", None)
    data.batch_size = before
    if found != before + 1:
        raise ConfigError(f"data: given {name} with debug=find_batch_size, whose loader sets its own size; {allowed}")


def num_trained(data: Any) -> int | None:
    """The number of training examples; None of a stream."""
    loader = data.train_dataloader()
    examples = getattr(loader, "dataset", None)
    if examples is None and getattr(data, "splits", None) is not None:
        return num_examples(data.splits.train)
    return len(examples) if hasattr(examples, "__len__") else None  # pyright: ignore[reportArgumentType]


def largest(fits: Callable[[int], bool], start: int, most: int) -> int:
    """The largest of start, its doubles and its halves, and `most`, that fits; 0 if none of two or more does."""
    size = first = min(start, most)
    while size > 1 and not fits(size):
        size //= 2
    if size < first:
        return size if size > 1 else 0
    while size < most and fits(min(2 * size, most)):
        size = min(2 * size, most)
    return size

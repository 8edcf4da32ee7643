"""The largest batch that fits into memory."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Annotated

from annotated_types import Ge
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder
from lightning.pytorch.utilities.exceptions import _TunerExitException

from kindling.errors import ConfigError, KindlingError
from kindling.images.datamodule import ImageDataModule
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
        data: ImageDataModule = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        num_images = len(data.splits.train)
        most = min(self.limit, HIGHEST, num_images)
        size = largest(partial(self._fits, trainer, pl_module, data), self.start, most)
        if not size:
            raise KindlingError("data.batch_size: memory runs out with 2 images; take a smaller model or image_size")

        end = ""
        if size == most:
            reason = "all training images" if most == num_images else "the limit of this search"
            end = f"; nothing ran out of memory up to {most}, {reason}"
        log.info("the largest batch that has fitted: data.batch_size=%d%s", size, end)
        # By this error Lightning ends a fit without training.
        raise _TunerExitException

    def _fits(self, trainer: Trainer, pl_module: LightningModule, data: ImageDataModule, size: int) -> bool:
        data.batch_size = size
        # Else Lightning would try the loader already made.
        trainer.fit_loop._combined_loader = None
        self._init_val, self._max_val = size, size + 1
        self.scale_batch_size(trainer, pl_module)
        # These metrics are of steps that were undone.
        trainer._logger_connector._callback_metrics.clear()
        return self.optimal_batch_size == size


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

"""Progress on a terminal as a bar, elsewhere as one line for each epoch."""

import logging
import sys
import time
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar, RichProgressBar

from kindling.console import stage_of
from kindling.ranges import NotNegativeInt

log = logging.getLogger(__name__)


class EpochLines(ProgressBar):
    """Logs each epoch's metrics as one line, where a bar would fill a file."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        # None while no epoch waits for its line.
        self._started: float | None = None

    def disable(self) -> None:
        """Lightning calls this on all ranks but the first."""
        self._enabled = False

    def on_validation_end(self, trainer: Trainer, *arguments: Any) -> None:
        super().on_validation_end(trainer, *arguments)
        self._validated_in = trainer.current_epoch

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        self._validated_in = -1
        self._first_epoch = trainer.current_epoch
        # A resumed epoch calls no on_train_epoch_start.
        self._started = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        # At on_train_epoch_end the module has not logged yet.
        if trainer.current_epoch > self._first_epoch:
            self._finish_line(trainer, trainer.current_epoch)
        self._started = time.perf_counter()

    def on_train_end(self, trainer: Trainer, *_: Any) -> None:
        self._finish_line(trainer, trainer.current_epoch)

    def _finish_line(self, trainer: Trainer, num_epochs: int) -> None:
        if self._started is None or not self._enabled:
            return

        values = trainer.callback_metrics
        of_epochs = [name for name in values if not name.endswith("_step") and not name.startswith("lr-")]
        # Of an epoch without a validation the last one's numbers are another epoch's.
        stages = ("train", "val", "") if self._validated_in == num_epochs - 1 else ("train", "")
        names = [name for stage in stages for name in of_epochs if stage_of(name)[0] == stage]
        seconds = time.perf_counter() - self._started
        last = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        metrics = "  ".join(f"{name} {values[name]:.4f}" for name in names)
        log.info("epoch %d%s  %s  %.1f s", num_epochs, last, metrics, seconds)


def progress(refresh_rate: NotNegativeInt) -> Callback:
    """A bar redrawn every `refresh_rate` steps on a terminal, `EpochLines` elsewhere."""
    return RichProgressBar(refresh_rate) if sys.stdout.isatty() else EpochLines()

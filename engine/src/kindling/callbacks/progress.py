"""Progress: a row for each epoch, and on a terminal a bar below the rows."""

import logging
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar
from tqdm import tqdm

from kindling.console import report, stage_of, width
from kindling.lightning_internals import loops
from kindling.process import terminal
from kindling.ranges import NotNegativeInt
from kindling.training.bookkeeping import is_summed
from kindling.training.machine import in_words
from kindling.training.results import best_callback

log = logging.getLogger(__name__)
# Columns of a number, and of the seconds of an epoch.
NUMBER, SECONDS = 8, 10
# What an epoch is marked with that is better than those before.
BEST = "  best"
# Of the epoch so far: what a line of 80 columns has room for.
MOST_METRICS = 3
# Between two drawings of the bar, each of which waits for the device.
REDRAWN_S = 0.2
BAR = "{desc}  {bar} {n_fmt}/{total_fmt}  {remaining} left  {rate_noinv_fmt}{postfix}"


class EpochLines(ProgressBar):
    """Logs each epoch's metrics as one row, below a header that is repeated when there are further metrics."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        # None while no epoch waits for its row.
        self._started: float | None = None
        self._names: list[str] = []

    def disable(self) -> None:
        """Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self._validated_in = trainer.current_epoch

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        self._validated_in = -1
        self._first_epoch = trainer.current_epoch
        self._best = best_score_of(trainer)
        # A resumed epoch calls no on_train_epoch_start.
        self._started = time.perf_counter()
        report("%s", in_words(trainer))

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        # At on_train_epoch_end the module has not logged yet.
        if trainer.current_epoch > self._first_epoch:
            self._finish_row(trainer, trainer.current_epoch - 1)
        self._started = time.perf_counter()

    def on_train_end(self, trainer: Trainer, *_: Any) -> None:
        self._finish_row(trainer, trainer.current_epoch - 1)

    def _finish_row(self, trainer: Trainer, epoch: int) -> None:
        if self._started is None or not self._enabled:
            return
        before, self._best = self._best, best_score_of(trainer)
        mark = BEST if self._best != before else ""
        seconds = f"{time.perf_counter() - self._started:.1f} s"
        values = {name: trainer.callback_metrics[name].item() for name in self._names_of(trainer, epoch)}
        title = title_of(epoch, trainer)
        names = in_order([*self._names, *(name for name in values if name not in self._names)])
        if len(header(title, names)) > width() - SECONDS - len(BEST):
            numbers = "  ".join(f"{name} {number(value)}" for name, value in values.items())
            log.info("%s  %s  %s%s", title, numbers, seconds, mark)
            return
        if names != self._names:
            log.info("%s", header(title, names))
        self._names = names
        log.info("%s%s%s", row(title, {name: values.get(name) for name in names}), seconds.rjust(SECONDS), mark)

    def _names_of(self, trainer: Trainer, epoch: int) -> list[str]:
        of_epochs = [each for each in trainer.callback_metrics if not each.endswith("_step") and each[:3] != "lr-"]
        # Of an epoch without a validation the last one's numbers are another epoch's.
        is_validated = self._validated_in == epoch
        return [name for name in in_order(of_epochs) if stage_of(name)[0] != "val" or is_validated]


class EpochBar(EpochLines):
    """The same, with a bar below the rows.

    Args:
        refresh_rate: steps after which it may be drawn anew, five times a second at most; 0 for never.
    """

    def __init__(self, refresh_rate: int):
        super().__init__()
        self.refresh_rate = refresh_rate
        self._began, self._first, self._drawn = 0.0, 0, 0.0

    def on_train_start(self, trainer: Trainer, *arguments: Any) -> None:
        super().on_train_start(trainer, *arguments)
        self._begin(loops.batches_done(trainer))

    def on_train_epoch_start(self, trainer: Trainer, *arguments: Any) -> None:
        super().on_train_epoch_start(trainer, *arguments)
        self._begin(0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_due(batch_idx):
            title, metrics = title_of(trainer.current_epoch, trainer), so_far(trainer, pl_module)
            total = self.total_train_batches
            self._draw(title, batch_idx + 1, total, self._began, first=self._first, metrics=metrics)

    def on_validation_start(self, *_: Any) -> None:
        self._evaluated, self._evaluation_began = 0, time.perf_counter()

    def on_test_start(self, *_: Any) -> None:
        self.on_validation_start()

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.sanity_checking:
            self._evaluate("sanity check", trainer.num_sanity_val_batches)
        else:
            self._evaluate(f"{title_of(trainer.current_epoch, trainer)}  val", trainer.num_val_batches)

    def on_test_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._evaluate("test", trainer.num_test_batches)

    def _evaluate(self, title: str, totals: list[int | float]) -> None:
        self._evaluated += 1
        if self._is_due(self._evaluated):
            self._draw(title, self._evaluated, sum(totals), self._evaluation_began)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        terminal.clear_foot()

    def on_exception(self, *_: Any) -> None:
        terminal.clear_foot()

    def _begin(self, first: int) -> None:
        self._began, self._first = time.perf_counter(), first

    def _is_due(self, done: int) -> bool:
        """Whether the bar may be drawn, of which most steps are told no."""
        if not self.refresh_rate or done % self.refresh_rate or not self._enabled:
            return False
        return time.perf_counter() - self._drawn >= REDRAWN_S

    def _draw(self, title: str, done: int, total: float, began: float, *, first: int = 0, metrics: str = "") -> None:
        self._drawn = time.perf_counter()
        line = bar(title, done, total, self._drawn - began, first=first, metrics=metrics, columns=terminal.columns())
        terminal.draw_foot(line)


def progress(refresh_rate: NotNegativeInt) -> Callback:
    """`EpochBar` on a terminal, `EpochLines` elsewhere."""
    return EpochBar(refresh_rate) if terminal.is_watched() else EpochLines()


def bar(title: str, done: int, total: float, seconds: float, *, first: int, metrics: str, columns: int) -> str:
    """One line that leaves room for the ^C of a terminal.

    Args:
        title: what goes on.
        done: batches of this epoch, with those of before.
        total: of its batches; infinity if nobody knows.
        seconds: since it was begun, or gone on with.
        first: batches that were done before.
        metrics: further words.
        columns: of the terminal.
    """
    return tqdm.format_meter(
        done,
        total if math.isfinite(total) else None,  # pyright: ignore[reportArgumentType]
        seconds,
        ncols=columns - 3,
        prefix=title,
        unit=" it",
        ascii="─╸━",  # pyright: ignore[reportArgumentType]
        bar_format=BAR,
        postfix=metrics,
        initial=first,
    )


def so_far(trainer: Trainer, module: Any) -> str:
    """The metrics of the epoch's batches so far, in this process."""
    values: dict[str, Any] = {}
    if is_summed(module):
        sums = module.kindling_sums["train"].state() or {}
        # A task may need all batches for what it computes of an epoch.
        with suppress(Exception):
            values = dict(module.epoch_metrics({name: torch.as_tensor(value) for name, value in sums.items()}))
    else:
        named = {stage_of(name): value for name, value in trainer.progress_bar_metrics.items()}
        values = {name.removesuffix("_step"): value for (stage, name), value in named.items() if stage != "val"}
    return ", ".join(f"{name} {float(value):.3g}" for name, value in list(values.items())[:MOST_METRICS])


def title_of(epoch: int, trainer: Trainer) -> str:
    """An epoch by its number, from 0 on as everywhere, as wide as the last one's."""
    last = trainer.max_epochs - 1 if trainer.max_epochs and trainer.max_epochs > 0 else 0
    return f"epoch {epoch:>{len(str(last))}}"


def in_order(names: Iterable[str]) -> list[str]:
    """Those of training, of validation and of neither."""
    return [name for stage in ("train", "val", "") for name in names if stage_of(name)[0] == stage]


def header(title: str, names: list[str]) -> str:
    return " " * len(title) + "".join(f"  {name:>{NUMBER}}" for name in names)


def row(title: str, values: Mapping[str, float | None]) -> str:
    """A number below each name of the header; blank where there is none."""
    cells = {name: "" if value is None else number(value) for name, value in values.items()}
    return title + "".join(f"  {cell:>{max(NUMBER, len(name))}}" for name, cell in cells.items())


def number(value: float) -> str:
    usual = value == 0 or 1e-3 <= abs(value) < 1e5
    return f"{value:.4f}" if usual else f"{value:.2e}"


def best_score_of(trainer: Trainer) -> float | None:
    """Of the best checkpoint so far."""
    best = best_callback(trainer)
    return None if best is None or best.best_model_score is None else best.best_model_score.item()

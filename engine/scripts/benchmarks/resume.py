"""What it costs that a run may be killed at any time: seeds and checks in each step, checkpoints, draws."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.fitting import EpochClock, defaults, fit
from benchmarks.loop import cnn_parts
from benchmarks.table import Row
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint
from kindling.images.augment import Normalize
from kindling.images.images import ImageTensors
from kindling.images.loader import EpochLoader
from kindling.training.bookkeeping import Bookkeeping

# Epochs, and steps in each, of experiment=cnn.
NUM_EPOCHS, STEPS = 6, 27
NUM_IMAGES = 50_000


def resume() -> list[Row]:
    """In experiment=cnn with all defaults: the seeds of each step, the question whether to save or to stop, a save."""
    make, data = cnn_parts()
    epochs = EpochClock()
    with (
        timed(Bookkeeping, "on_train_batch_start") as seeds,
        timed(ResumeCheckpoint, "on_train_batch_start") as questions,
        timed(ResumeCheckpoint, "_save") as saves,
    ):
        fit(make(), *data(), defaults, max_epochs=NUM_EPOCHS, further=epochs)
    step = (epochs.instants[NUM_EPOCHS] - epochs.instants[1]) / (NUM_EPOCHS - 1) / STEPS
    each = min(seeds) + min(questions)
    draws = [_seconds_of_draw() for _ in range(5)]
    return [
        Row("a step of experiment=cnn, its share of validation and logs included", 1e3 * step, "ms"),
        Row("seeds and questions in each step", 1e6 * each, "µs"),
        Row("the same", 100 * each / step, "% of a step", "<= 3"),
        Row("a checkpoint to resume from", 1e3 * min(saves), "ms"),
        Row("the same, one each half minute", 100 * min(saves) / 30, "% of the time", "<= 3"),
        Row("order and augmentation draws that are functions of the epoch", 1e6 * min(draws), "µs a sample", "<= 100"),
    ]


@contextmanager
def timed(owner: Any, name: str) -> Iterator[list[float]]:
    """The seconds of each call of a method, or of a module's function."""
    method: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    def clocked(*arguments: Any) -> Any:
        started = time.perf_counter()
        result = method(*arguments)
        seconds.append(time.perf_counter() - started)
        return result

    setattr(owner, name, clocked)
    try:
        yield seconds
    finally:
        setattr(owner, name, method)


def _seconds_of_draw() -> float:
    pixels, labels = torch.zeros(NUM_IMAGES, 1, 1, 1, dtype=torch.uint8), torch.zeros(NUM_IMAGES, dtype=torch.int64)
    loader = EpochLoader(ImageTensors(pixels, labels), batch_size=1000, normalize=Normalize([0.5], [0.5]), shuffle=True)
    started = time.perf_counter()
    loader.draw()
    return (time.perf_counter() - started) / NUM_IMAGES

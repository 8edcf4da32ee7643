"""Inputs that are made up, to compare models with where the data is gone."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kindling.data.processor import Column, Processor
from kindling.errors import ConfigError
from kindling.images.processor import ImageProcessor

# Enough for a difference to show.
NUM_BATCHES, BATCH_SIZE = 4, 16


def batches(processor: Processor, *, preprocessing: bool) -> Iterator[np.ndarray]:
    """What the exported model takes, the same at each call.

    Args:
        processor: that reads pixels, characters or the values of its inputs.
        preprocessing: whether the model takes pixels.
    """
    generator = np.random.default_rng(0)
    for _ in range(NUM_BATCHES):
        raw = [made_up(processor, generator) for _ in range(BATCH_SIZE)]
        yield np.stack(raw if preprocessing else [processor.read(each) for each in raw])  # pyright: ignore[reportArgumentType, reportCallIssue]


def made_up(processor: Any, generator: np.random.Generator) -> Any:
    """One input as people hand it in: pixels, a text as long as can be, or a row.

    Raises:
        ConfigError: its images have no size that is known.
    """
    if processor.kind == "image":
        if not isinstance(processor, ImageProcessor):
            raise ConfigError(
                f"data: is gone, and {type(processor).__name__} is no subclass of ImageProcessor, whose size is known; "
                "give data.root, so that the export can be compared with PyTorch"
            )
        size = processor.image_size
        return generator.integers(0, 256, (size, size, processor.channels), dtype=np.uint8)
    if processor.kind == "text":
        return "".join(generator.choice(list(processor.vocabulary), processor.block))
    unknown = [None] * len(processor.inputs)
    means, spreads = (getattr(processor, name, None) or unknown for name in ("mean", "std"))
    known = zip(processor.inputs, means, spreads, strict=True)
    return {column.name: cell(column, mean, spread, generator) for column, mean, spread in known}


def cell(column: Column, mean: float | None, spread: float | None, generator: np.random.Generator) -> Any:
    """A value within the column's limits, about its mean if that is known."""
    if column.choices:
        return str(generator.choice(column.choices))
    low, high = (-np.inf if column.low is None else column.low), (np.inf if column.high is None else column.high)
    if mean is None and np.isfinite(high - low):
        value = generator.uniform(low, high)
    else:
        value = generator.normal(mean or 0.0, spread or 1.0)
    value = float(np.clip(value, low, high))
    return round(value) if column.type == "integer" else value

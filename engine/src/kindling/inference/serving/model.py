"""A model in memory, and how it is warmed before it answers."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kindling.data.processor import Kind, Processor
from kindling.data.text_processor import TextProcessor
from kindling.errors import CheckpointError, DataError, one_line
from kindling.images.processor import ImageProcessor, classifies
from kindling.inference.model_folder import MOST_VALUES, ModelFolder
from kindling.inference.runtimes import Runtime, within
from kindling.inference.serving.described import plausible

# What the sum of probabilities may be off.
TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Served:
    """A model in memory.

    Args:
        id: the first digits of its file's checksum.
        format: one of model_folder.FILES, or "checkpoint".
        processor: how an input is read and an output written.
        run: what is read -> what is written; of classes of images, pixels (N, H, W, C) uint8 -> probabilities (N, K).
        described: what else decides on an answer.
        name: for people; "" if it is not known.
        metrics: what it is worth, such as test/accuracy.
    """

    id: str
    format: str
    processor: Processor
    run: Runtime
    described: ModelFolder | None = None
    name: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return self.processor.kind


def warm(model: Served, max_batch: int, timeout_s: float = 10.0) -> None:
    """Compute the smallest and the largest batch, which the first client then need not wait for.

    Raises:
        CheckpointError: what the model gives is nothing that its processor writes, or takes too long.
    """
    for size in sorted({1, max_batch}):
        try:
            reason = _tried(model, size, size * timeout_s)
        except Exception as error:
            # Each runtime has errors of its own.
            raise CheckpointError(
                f"model: given {model.id}, which fails ({one_line(error)}); export it anew"
            ) from error
        if reason:
            raise CheckpointError(f"model: given {model.id}, whose output is {reason}; export it anew")


def _tried(model: Served, size: int, seconds: float) -> str:
    """What the output of a batch of zeros is, if the processor cannot write it."""
    inputs = _example(model.processor, size)
    if inputs is None:
        return ""
    started = time.monotonic()
    try:
        with within(seconds) if model.described else nullcontext():
            found = model.run(inputs)
    except Exception:
        if time.monotonic() - started < seconds:
            raise
        raise TimeoutError(f"it computes {size} of them for more than {seconds:g} s; raise timeout_s") from None
    return _misfit(model.processor, np.asarray(found), inputs)


def _example(processor: Processor, size: int) -> np.ndarray | None:
    """A batch of what the model takes; None if its processor is of an own kind that tells no such thing."""
    if isinstance(processor, ImageProcessor):
        size = max(1, min(size, MOST_VALUES // (processor.image_size**2 * processor.channels)))
        pixels = np.zeros((size, processor.image_size, processor.image_size, processor.channels), dtype=np.uint8)
        return pixels if classifies(processor) else np.stack([np.asarray(processor.read(each)) for each in pixels])
    if isinstance(processor, TextProcessor):
        # Texts are computed one by one; the longest is the slowest.
        return np.zeros((1, processor.block if size > 1 else 1), dtype=np.int64)
    try:
        read: Any = processor.read({column.name: plausible(column) for column in processor.inputs})
    except DataError:
        return None
    return np.stack([read] * size)


def _misfit(processor: Processor, found: np.ndarray, inputs: np.ndarray) -> str:
    """What an output is, if the processor cannot write it."""
    if classifies(processor):
        num = len(processor.classes)
        sums = found.sum(1) if found.shape == (len(inputs), num) else np.array(np.nan)
        return "" if np.all(np.abs(sums - 1) < TOLERANCE) else f"no probabilities of its {num} classes"
    if isinstance(processor, TextProcessor):
        expected = (*inputs.shape, len(processor.vocabulary))
        return "" if found.shape == expected else f"{found.shape}, not the logits {expected} of its characters"
    try:
        written = processor.write(found[0]) if len(found) == len(inputs) else None
    except (ValueError, IndexError, TypeError):
        written = None
    names = ", ".join(column.name for column in processor.outputs)
    noun = "images" if processor.kind == "image" else "rows"
    return f"{found.shape}, not {names} of {len(inputs)} {noun}" if written is None else ""

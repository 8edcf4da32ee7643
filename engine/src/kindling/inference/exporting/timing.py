"""How long an exported model takes, and PyTorch for the same."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.table import Table

from kindling.console import plain_table
from kindling.errors import counted

BATCHES = (1, 64)
ROUNDS = 15
# Seconds of calls in a row, as a model that serves is alone.
BLOCK_S = 0.02
Compute = Callable[[np.ndarray], Any]


def latencies(variants: dict[str, Compute], inputs: np.ndarray) -> dict[str, dict[int, float]]:
    """Seconds of a call of each variant by batch size: the median of rounds in which each has its turn."""
    found: dict[str, dict[int, float]] = {name: {} for name in variants}
    for size in BATCHES:
        batch = np.ascontiguousarray(np.resize(inputs, (size, *inputs.shape[1:])))
        calls = {name: _calls(variant, batch) for name, variant in variants.items()}
        blocks: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(ROUNDS):
            for name, variant in variants.items():
                blocks[name].append(_clocked(variant, batch, calls[name]))
        for name, seconds in blocks.items():
            found[name][size] = statistics.median(seconds)
    return found


def _calls(variant: Compute, batch: np.ndarray) -> int:
    """As many as fill a block; the first ones also warm it up."""
    seconds = min(_clocked(variant, batch, 1) for _ in range(3))
    return max(1, round(BLOCK_S / seconds))


def _clocked(variant: Compute, batch: np.ndarray, calls: int) -> float:
    variant(batch)
    started = time.perf_counter()
    for _ in range(calls):
        variant(batch)
    return (time.perf_counter() - started) / calls


def table(seconds: dict[str, dict[int, float]], sizes: dict[str, int], threads: int) -> Table:
    """A row a variant; the first is what the others are compared with."""
    shown = plain_table("", *(f"batch {size}" for size in BATCHES), "file", title=counted(threads, "thread"))
    first = next(iter(seconds.values()))
    for name, times in seconds.items():
        cells = [f"{1e3 * times[size]:.2f} ms ({first[size] / times[size]:.1f} times)" for size in BATCHES]
        shown.add_row(name, *cells, f"{sizes[name] / 1e6:.2f} MB")
    return shown

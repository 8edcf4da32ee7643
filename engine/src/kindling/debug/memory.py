"""What a training step's memory goes to, and the batch size that would fit."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from rich.table import Table
from torch import Tensor

from kindling.console import as_text, plain_table
from kindling.data.batches import batch_size_of, tensors_in
from kindling.debug.bytes_held import (
    Estimate,
    available_bytes,
    gradients,
    kept_for_backward,
    num_bytes,
    optimizer_state,
    resident_bytes,
)
from kindling.images.datamodule import ImageDataModule
from kindling.training.observer import Observer

log = logging.getLogger(__name__)
FIXED = ("parameters", "buffers", "gradients", "optimizer state")


class Memory(Observer):
    """Counts the memory of each step and shows that of the last one.

    Peaks are measured on a GPU; elsewhere they are the sum of what is counted to be held in that phase.
    """

    def __init__(self) -> None:
        # Bytes that each part of the last step holds.
        self.parts: dict[str, int] = {}
        # Most bytes held in each phase of that step.
        self.peaks: dict[str, int] = {}
        self.batch_size = 0
        self._recording = ExitStack()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.batch_size = batch_size_of(batch)
        tensors = list(tensors_in(batch))
        self.parts = {
            "parameters": num_bytes(pl_module.parameters()),
            "buffers": num_bytes(pl_module.buffers()),
            "batch": sum(each.numel() * each.element_size() for each in tensors),
        }
        self._end_phase(pl_module.device, "loader")
        held = (*pl_module.parameters(), *pl_module.buffers(), *tensors)
        self._kept = self._recording.enter_context(kept_for_backward(held))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if pl_module.automatic_optimization:
            self._recording.close()
        # Of several losses, the one whose pass keeps most.
        self.parts["activations"] = max(self.parts.get("activations", 0), self._kept.num_bytes)
        self._kept.storages.clear()
        self._end_phase(pl_module.device, "forward")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.parts["gradients"] = num_bytes(gradients(pl_module))
        self._end_phase(pl_module.device, "backward")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # A batch that is left out has no backward.
        self._recording.close()
        self.parts["optimizer state"] = num_bytes(t for each in trainer.optimizers for t in optimizer_state(each))
        self._end_phase(pl_module.device, "optimizer")

    def _end_phase(self, device: torch.device, phase: str) -> None:
        if device.type == "cuda":
            self.peaks[phase] = torch.cuda.max_memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and "activations" in self.parts:
            measured = bool(self.peaks)
            peaks = self.peaks or counted_peaks(self.parts)
            tables = as_text(table("a step holds", self.parts)), as_text(table("at most, by phase", peaks))
            estimate = estimated(self.parts, max(peaks.values()), self.batch_size)
            data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            noun = "images" if isinstance(data, ImageDataModule) else "examples"
            size = "data.batch_size=" if hasattr(data, "batch_size") else "a batch of "
            found = notes(estimate, available_bytes(pl_module.device), measured=measured, noun=noun, size=size)
            lines = [*tables, *found]
            log.info("%s", "\n".join(lines))


def fixed_bytes(parts: dict[str, int]) -> int:
    """What the batch size does not change."""
    return sum(parts.get(name, 0) for name in FIXED)


def counted_peaks(parts: dict[str, int]) -> dict[str, int]:
    """Of each phase, from the second step on: the last gradients are held until backward makes new ones."""
    at_rest = fixed_bytes(parts) + parts["batch"]
    busy = at_rest + parts["activations"]
    return {"loader": at_rest, "forward": busy, "backward": busy, "optimizer": at_rest}


def estimated(parts: dict[str, int], peak: int, batch_size: int) -> Estimate:
    return Estimate(fixed_bytes(parts), (peak - fixed_bytes(parts)) / batch_size)


def table(title: str, parts: dict[str, int]) -> Table:
    found = plain_table("", title=title)
    found.add_column("MiB", justify="right")
    for name, size in parts.items():
        found.add_row(name, mebi(size))
    return found


def notes(estimate: Estimate, available: int | None, *, measured: bool, noun: str, size: str) -> Iterator[str]:
    """What a batch size would need, and the largest one for which there is memory."""
    yield f"a batch of B {noun} needs {mebi(estimate.fixed)} + {mebi(estimate.per_example)} * B MiB"
    if available is not None:
        # The fixed part is held already, so not free.
        largest = estimate.largest_batch(available + estimate.fixed)
        yield f"for {mebi(available)} MiB that are free, {size}{largest:,} would be the largest"
    if not measured:
        yield "without a GPU peaks are counted, not measured: passing copies are left out"
        resident = resident_bytes()
        if resident is not None:
            yield f"the whole process holds {mebi(resident)} MiB, libraries and data included"


def mebi(size: float) -> str:
    return f"{size / 2**20:,.2f}" if size >= 2**20 else f"{size / 2**20:.4f}"

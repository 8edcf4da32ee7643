"""timings.csv and TensorBoard: what the clock decides, apart from metrics.csv, which config and seed decide."""

import csv
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from kindling.callbacks.drawing import current_step, writers
from kindling.files.whole_file import write_whole
from kindling.training.observer import Observer

COLUMNS = ("epoch", "train_s", "steps_per_s", "examples_per_s", "peak_memory_mib")


class Timings(Observer):
    """One row an epoch: seconds, steps and examples a second of training, peak memory in MiB."""

    def __init__(self, folder: str):
        self.file = Path(folder) / "timings.csv"
        self._started = 0.0
        self._num_steps = 0

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the rows of epochs that are trained again; a resumed one begins here."""
        self._started, self._num_steps = time.perf_counter(), 0
        if self.file.exists():
            with self.file.open(newline="") as stream:
                rows = list(csv.reader(stream))[1:]
            with write_whole(self.file) as stream:
                kept = [row for row in rows if int(row[0]) < trainer.current_epoch]
                csv.writer(stream).writerows([COLUMNS, *kept])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started, self._num_steps = time.perf_counter(), 0

    def on_train_batch_end(self, *_: Any) -> None:
        self._num_steps += 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wait_for_device(pl_module)
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started += time.perf_counter() - self._validation_started

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wait_for_device(pl_module)
        seconds = time.perf_counter() - self._started
        examples = self._num_steps * batch_size_of(trainer.train_dataloader) * trainer.world_size
        row = (
            trainer.current_epoch,
            f"{seconds:.3f}",
            f"{self._num_steps / seconds:.2f}",
            f"{examples / seconds:.0f}",
            f"{peak_memory_mib(pl_module.device):.0f}",
        )

        new = not self.file.exists()
        with self.file.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(COLUMNS)
            writer.writerow(row)

        for tensorboard in writers(trainer):
            for name, value in zip(COLUMNS[1:], row[1:], strict=True):
                tensorboard.add_scalar(f"timings/{name}", float(value), current_step(trainer) - 1)


def wait_for_device(module: LightningModule) -> None:
    """Until a GPU has done the steps that it was given; else their time would count for what comes after them."""
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)


def batch_size_of(loader: Any) -> int:
    """Examples a batch; 0 if the loader does not say, or if there are several."""
    # One with a sampler of batches has none of its own.
    owners = (loader, getattr(loader, "batch_sampler", None))
    sizes = [getattr(owner, "batch_size", None) for owner in owners]
    return next((size for size in sizes if isinstance(size, int)), 0)


def peak_memory_mib(device: torch.device) -> float:
    """Of a GPU, or else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10

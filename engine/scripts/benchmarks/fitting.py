"""A fit by Kindling: without loggers and callbacks, with all defaults, or on a terminal. No Hydra here."""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from torch import nn
from torch.optim import AdamW

from benchmarks import bare
from benchmarks.measured import DEVICE, wait_for_device
from kindling.callbacks.best import BestCheckpoint
from kindling.callbacks.deciding import EarlyStopping
from kindling.callbacks.progress import EpochBar, EpochLines
from kindling.callbacks.summary import Summary
from kindling.callbacks.timings import Timings
from kindling.checkpoints.checkpoint import WholeCheckpointIO
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint
from kindling.config.extras import has_room
from kindling.lightning_internals.overhead import reduce_overhead
from kindling.loggers.csv import MetricsCSV
from kindling.loggers.tensorboard_run import TensorBoardRun
from kindling.stages import Stage
from kindling.training.optimization import cosine
from kindling.training.task import StepOutput, Task


class EpochClock(Callback):
    """The instant at which each epoch starts and the last one is over, with all that the others do then."""

    def __init__(self) -> None:
        self.instants: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        wait_for_device()
        self.instants.append(time.perf_counter())

    def on_train_end(self, *_: Any) -> None:
        wait_for_device()
        self.instants.append(time.perf_counter())


class ImageTask(Task):
    """What `step` of a project's classification does, without mixing and views."""

    def step(self, batch: bare.Batch, stage: Stage) -> StepOutput:
        images, labels = batch
        logits = self.net(images)
        return StepOutput(
            F.cross_entropy(logits, labels), len(labels), {"accuracy": (logits.argmax(1) == labels).sum()}
        )


def fit(
    net: nn.Module,
    train: Any,
    val: Any,
    settings: Callable[[Path], dict[str, Any]],
    max_epochs: int,
    further: Callback | None = None,
) -> None:
    """Train with Kindling's LightningModule and Lightning's Trainer."""
    scheduler = {"scheduler": partial(cosine, warmup=0.05, final=0.0), "interval": "step"}
    optimizer = partial(AdamW, lr=0.001, fused=True)
    task = ImageTask(net, optimizer=optimizer, scheduler=scheduler)
    # The bar is drawn, and seen by nobody.
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        chosen = settings(Path(folder))
        if further:
            chosen["callbacks"] = [*chosen.get("callbacks", []), further]
        trainer = Trainer(accelerator=DEVICE.type, devices=1, max_epochs=max_epochs, log_every_n_steps=20, **chosen)
        reduce_overhead(trainer).fit(task, train, val)


def quiet(folder: Path) -> dict[str, Any]:
    """No logger, no callback."""
    return {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }


def defaults(folder: Path) -> dict[str, Any]:
    """What configs/callbacks/default.yaml and configs/logger/default.yaml ask for."""
    best = BestCheckpoint(
        dirpath=str(folder / "checkpoints"),
        filename="best",
        monitor="val/loss",
        mode="min",
        save_top_k=1,
        save_weights_only=True,
    )
    return {
        "callbacks": [
            best,
            resume_checkpoint(folder),
            EarlyStopping("val/loss", mode="min", patience=10, min_delta=0.0, strict=False),
            LearningRateMonitor("epoch"),
            Summary(max_depth=2),
            EpochLines(),
            Timings(str(folder)),
            *doctor(),
        ],
        "logger": [
            MetricsCSV(str(folder)),
            TensorBoardRun(folder, "", "tensorboard", default_hp_metric=False),
        ],
        "plugins": [WholeCheckpointIO()],
    }


def doctor() -> list[Callback]:
    """Nothing in a project that has left it out."""
    if not has_room("images.doctor"):
        return []
    from kindling.images.doctor.callback import Doctor

    return [Doctor()]


def resume_checkpoint(folder: Path) -> ResumeCheckpoint:
    return ResumeCheckpoint(
        folder=str(folder), every_n_steps=None, every_minutes=0.5, keep=3, max_time=None, strict=False
    )


def on_a_terminal(folder: Path) -> dict[str, Any]:
    """All defaults, where there is a terminal to draw a progress bar on."""
    chosen = defaults(folder)
    callbacks = [EpochBar(1) if isinstance(callback, EpochLines) else callback for callback in chosen["callbacks"]]
    return chosen | {"callbacks": callbacks}

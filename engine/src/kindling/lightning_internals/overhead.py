"""What Lightning does in each step and for each Trainer beyond the model, and can do without."""

import os
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from lightning.fabric.loggers import tensorboard
from lightning.fabric.utilities import registry
from lightning.pytorch import Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from torchmetrics import MeanMetric, Metric

from kindling.lightning_internals import hooks, signal_handlers

# The group of entry points in which packages name callbacks.
CALLBACKS = "lightning.pytorch.callbacks_factory"
# What a metric that is logged holds.
VALUES = (torch.empty(0), torch.float32, torch.device("cpu"), {}, OrderedDict(), set(), None, True, 0, 0.0, "")
NOTHING: AbstractContextManager[None] = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, as Lightning's own does by opening a generator for each of 60 hooks a step."""

    def setup(self, *arguments: Any, **named: Any) -> None:
        super().setup(*arguments, **named)
        # A process that ddp_spawn starts has Lightning's own function again.
        hooks.call_busy_callbacks_only()

    def profile(self, action_name: str) -> AbstractContextManager[None]:
        return NOTHING


def reduce_overhead(trainer: Trainer) -> Trainer:
    """The same trainer, so that each of its steps costs less."""
    if type(trainer.profiler) is PassThroughProfiler:  # pyright: ignore[reportAttributeAccessIssue]
        trainer.profiler = NoProfiler()  # pyright: ignore[reportAttributeAccessIssue]
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        hooks.skip_idle_hooks(callback)
    signal_handlers.keep_own_handlers(trainer)
    if not torch.cuda.is_available():
        # With it, each optimizer step loads NVIDIA's library anew.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    return trainer


def find_out_once() -> None:
    """Let Lightning and torchmetrics find out what they remember, before processes are forked that each would.

    Which callbacks other packages add, for which they read a file of each package (the callbacks are made anew for each
    Trainer); which packages are there; and that a value is no metric, for which they ask each class of metrics.
    """
    registry.entry_points = cache(registry.entry_points)  # pyright: ignore[reportPrivateImportUsage]
    registry.entry_points(group=CALLBACKS)  # pyright: ignore[reportPrivateImportUsage]
    bool(tensorboard._TENSORBOARD_AVAILABLE)
    MeanMetric()
    for each in VALUES:
        isinstance(each, Metric)

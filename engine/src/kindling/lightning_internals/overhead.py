"""What Lightning does in each step and for each Trainer beyond the model, and can do without."""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from lightning.fabric.utilities import registry
from lightning.pytorch import Trainer
from lightning.pytorch.profilers import PassThroughProfiler

from kindling.lightning_internals import hooks, signal_handlers

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


def keep_entry_points() -> None:
    """Look only once, and not for each Trainer, for callbacks that other packages add: each package has a file of it.

    The callbacks themselves are made anew.
    """
    registry.entry_points = cache(registry.entry_points)

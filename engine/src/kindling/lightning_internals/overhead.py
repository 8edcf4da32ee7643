"""What Lightning does in a step, or at a signal, beyond the model, and can do without."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.profilers import PassThroughProfiler

NOTHING: AbstractContextManager[None] = nullcontext()
STEP_HOOKS = [name for name in vars(Callback) if "_batch_" in name or name.startswith(("on_before", "on_after"))]


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, as Lightning's own does by opening a generator for each of 60 hooks a step."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:
        return NOTHING


def lean(trainer: Trainer) -> Trainer:
    """The same trainer, so that each of its steps costs less."""
    if type(trainer.profiler) is PassThroughProfiler:  # pyright: ignore[reportAttributeAccessIssue]
        trainer.profiler = NoProfiler()  # pyright: ignore[reportAttributeAccessIssue]
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        skip_empty_hooks(callback)
    # Its handlers would answer SIGTERM in the middle of an accumulation, and with a collective in one process alone.
    trainer._signal_connector.register_signal_handlers = lambda: None
    if not torch.cuda.is_available():
        # Lightning has torch ask NVIDIA's library for GPUs each time that an optimiser steps; it loads it anew.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    return trainer


def skip_empty_hooks(callback: Callback) -> None:
    """Hide the hooks in which a callback does nothing: Lightning names and calls each of them in each step.

    They are None from then on, so whoever calls another callback's hook by hand first asks whether it is callable.
    """
    for name in STEP_HOOKS:
        if _does_nothing(callback, name):
            setattr(callback, name, None)  # Lightning calls what is callable


def _does_nothing(callback: Any, name: str) -> bool:
    function = getattr(getattr(callback, name), "__func__", None)
    if type(callback) is ModelCheckpoint and name == "on_train_batch_end":
        return callback._every_n_train_steps < 1 and callback._train_time_interval is None
    if type(callback) is LearningRateMonitor and name == "on_train_batch_start":
        return callback.logging_interval == "epoch"
    return function is vars(Callback)[name]

"""What a step of Lightning costs beyond the model, and can do without."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning.pytorch.profilers import PassThroughProfiler

NOTHING: AbstractContextManager[None] = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, as Lightning's own does by opening a generator for each of 60 hooks a step."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:
        return NOTHING


def lean(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What to give a Trainer besides its settings, so that each step costs less."""
    if not torch.cuda.is_available():
        # Lightning has torch ask NVIDIA's library for GPUs each time that an optimiser steps; it loads it anew.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    profiles = settings.get("profiler") or settings.get("barebones")
    return {} if profiles else {"profiler": NoProfiler()}

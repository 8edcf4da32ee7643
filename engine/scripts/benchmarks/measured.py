"""What is measured: the project that this engine lies in, unless a test uses another, and on which device."""

from importlib import import_module
from pathlib import Path

import torch

from kindling.config import project

_now = project._current or project.use(Path(__file__).resolve().parents[3])
PROJECT = _now.root
CNN = import_module(f"{_now.package}.models.cnn").CNN
MLP = import_module(f"{_now.package}.models.mlp").MLP
# The GPU, if there is one.
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait_for_device() -> None:
    """Until the GPU has done what it was given; a clock that is read before that sees the queue alone."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()

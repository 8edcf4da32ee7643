"""The project that is measured: the one that this engine lies in, unless a test uses another."""

from importlib import import_module
from pathlib import Path

from kindling.config import project

_now = project._current or project.use(Path(__file__).resolve().parents[3])
PROJECT = _now.root
CNN = import_module(f"{_now.package}.models.cnn").CNN
MLP = import_module(f"{_now.package}.models.mlp").MLP

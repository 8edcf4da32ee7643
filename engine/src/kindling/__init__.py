"""Kindling: fork it, train, never lose a run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kindling.cli.entry import compose
    from kindling.inference.predictor import load

__all__ = ["compose", "load"]
# `load` imports torch, which takes seconds.
HOMES = {
    "compose": "kindling.cli.entry",
    "load": "kindling.inference.predictor",
}


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Kindling: fork it, train, never lose a run."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kindling.predictor import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # with torch, which commands import when their config has been accepted
        from kindling.predictor import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""What a checkpoint describes is built without a download: only the command itself may ask for one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from kindling.errors import CheckpointError

_remedy: ContextVar[str | None] = ContextVar("remedy", default=None)


@contextmanager
def no_downloads(remedy: str) -> Iterator[None]:
    """Refuse to ask any address, whoever does it.

    Raises:
        CheckpointError: something did; it ends with the remedy.
    """
    _listen()
    token = _remedy.set(remedy)
    try:
        yield
    finally:
        _remedy.reset(token)


@cache
def _listen() -> None:
    """Python has no way to stop listening."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "urllib.Request" and _remedy.get() is not None:
        raise CheckpointError(f"given {arguments[0]} by the checkpoint, which may not download; {_remedy.get()}")

"""The group that the processes of a run form: torch waits for the others in C++, where Python hears no signal."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed

from kindling.errors import KindlingError
from kindling.process import signals, silence

# Seconds between two looks at what has come.
LOOK_S = 0.2


@contextmanager
def made_within_hearing(watch: Callable[[], None]) -> Iterator[None]:
    """Let a signal end a process that waits for others to join the group, and the silence of one of them.

    Args:
        watch: begins to watch over the others.
    """
    original = torch.distributed.init_process_group

    def make(*arguments: Any, **named: Any) -> None:
        watch()
        _heard(lambda: original(*arguments, **named))

    torch.distributed.init_process_group = make
    try:
        yield
    finally:
        torch.distributed.init_process_group = original


def _heard(wait: Any) -> None:
    """Wait in another thread, so that handlers of signals run in this one.

    Raises:
        Interrupted: a signal came.
        KindlingError: one of the others has left, or shows no sign of life.
    """
    failed: list[BaseException] = []

    def waiting() -> None:
        try:
            wait()
        except BaseException as error:
            failed.append(error)

    # It may wait for ever, which is not to delay the end.
    thread = threading.Thread(target=waiting, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_S)
        signals.end_if_requested()
        if silent := silence.found(joins=True):
            raise KindlingError(silent)
    if failed:
        raise failed[0]

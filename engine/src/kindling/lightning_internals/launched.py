"""The processes that Lightning launches, for ddp by the same command again."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Trainer

# Until a process whose launched ones are gone has to end by itself, and between two looks.
GRACE_S, LOOK_S = 3.0, 0.1


@contextmanager
def ended_on_failure(trainer: Trainer) -> Iterator[None]:
    """If this process fails, end those that Lightning has launched; they would wait for ever."""
    try:
        yield
    except BaseException:
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGKILL)
            # Else Lightning's observer would kill this process too.
            getattr(launcher, "procs", []).clear()
        raise


@contextmanager
def observed(give_up: Callable[[], None]) -> Iterator[None]:
    """If a launched process is gone, let this one end by itself, for a while; Lightning would kill it within 5 s.

    Args:
        give_up: ends it, and says why.
    """
    original = _ChildProcessObserver._terminate_all

    def end(self: _ChildProcessObserver) -> None:
        deadline = time.monotonic() + GRACE_S
        # As long as none has been told to end.
        while self._child_processes and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        if self._child_processes:
            give_up()

    _ChildProcessObserver._terminate_all = end
    try:
        yield
    finally:
        _ChildProcessObserver._terminate_all = original

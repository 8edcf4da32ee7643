"""A process does not outlive the one that started it, and reports its signals to it."""

import ctypes
import os
import signal
import sys

from kindling.process import said, signals
from kindling.process.ranks import FIRST_PID, is_first_process, is_launched

# For prctl(2): which signal comes when the parent ends.
PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """Tie this process to what started it: Lightning's first process, or torchrun."""
    if is_launched():
        _follow(int(os.environ[FIRST_PID]))
        return

    # SIGTERM leaves it the time for a checkpoint.
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with(os.getppid(), signal.SIGTERM)
    if is_first_process():
        os.environ[FIRST_PID] = str(os.getpid())
        said.offer_notes()


def _follow(first_pid: int) -> None:
    die_with(first_pid)

    # A terminal sends these to the first process too.
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    signals.pass_on_to(first_pid)


def die_with(parent: int, signum: int = signal.SIGKILL) -> None:
    """Have the system send this process a signal when its parent has ended, however that came about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)

    # The parent may have ended before.
    if os.getppid() != parent:
        os._exit(1)

"""A forked process and all that it starts (its process group): asked to end, and killed if it does not."""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress

# A run that hangs ends itself after a minute at most; the checkpoint of a large model may take as long.
GRACE_S = 120.0
# What a process has started and left running.
GRACE_OF_REST_S = 10.0
LOOK_S = 0.02
# For prctl(2): who is left behind by its parent becomes a child of this process, which sees it end.
PR_SET_CHILD_SUBREAPER = 36


def lead() -> None:
    """Make this process the first of a group of its own, to which a terminal sends no signals."""
    with suppress(OSError):
        os.setpgid(0, 0)


def adopt(*, yes: bool = True) -> None:
    """Let this process see the end of all that belongs to its groups, where the system can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(yes))


def send(group: int, signum: int) -> bool:
    """Send a signal to a group, 0 for none; whether it is there."""
    try:
        os.killpg(group, signum)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS says so of those that have ended and were not waited for.
        return sys.platform == "linux"
    return True


def ask_to_end(first: int) -> None:
    """Send SIGTERM to the first process of a group, which tells the others; it is woken if it was stopped."""
    with suppress(ProcessLookupError):
        os.kill(first, signal.SIGTERM)
    send(first, signal.SIGCONT)


class Group:
    """A process that leads a group, and was forked from this one.

    Attributes:
        pid: of the first process.
        was_killed: it did not end in time.
    """

    def __init__(self, pid: int):
        self.pid, self.was_killed = pid, False
        self._asked_at: float | None = None
        self._ended_at = 0.0
        self._status: int | None = None
        # It does so too; whoever comes first.
        with suppress(OSError):
            os.setpgid(pid, pid)

    def ask_to_end(self) -> None:
        self._asked_at = time.monotonic()
        if self._status is None:
            ask_to_end(self.pid)

    def exit_code(self) -> int | None:
        """Of the first process; None while it runs, or what it has started is ending."""
        if self._status is None and not self._has_ended():
            return None
        assert self._status is not None
        with suppress(ChildProcessError):
            while os.waitpid(-self.pid, os.WNOHANG)[0]:
                pass
        if send(self.pid, 0):
            if time.monotonic() - self._ended_at < GRACE_OF_REST_S:
                return None
            send(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(self._status)

    def _has_ended(self) -> bool:
        if self._asked_at is not None and time.monotonic() - self._asked_at > GRACE_S and not self.was_killed:
            self.was_killed = True
            send(self.pid, signal.SIGKILL)
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if ended:
            self._status, self._ended_at = status, time.monotonic()
            # Nobody else will end what it leaves.
            send(self.pid, signal.SIGTERM)
            send(self.pid, signal.SIGCONT)
        return bool(ended)

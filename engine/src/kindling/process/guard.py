"""A small process that ends the groups of another one if that is killed."""

import mmap
import os
import signal
import time
from contextlib import suppress

from kindling.process import group
from kindling.process.signals import ENDING


class Guard:
    """Ends what it was told of once this process has ended, however that came about.

    A trial would get the signal of `parent.die_with` alone: one that is stopped or stuck would stay for ever.

    Args:
        num: of groups at a time.

    Attributes:
        groups: by place the first process of each; 0 of none. Both processes see what is written here.
        pid: of the small process.
    """

    def __init__(self, num: int):
        self.groups = memoryview(mmap.mmap(-1, 4 * num)).cast("i")
        self._start()

    def _start(self) -> None:
        watched = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _stay_apart()
                while os.getppid() == watched:
                    time.sleep(group.LOOK_S)
                _end({each for each in self.groups if each})
            finally:
                os._exit(0)

    def renew(self) -> None:
        """Start another small process if somebody has killed it."""
        if os.waitpid(self.pid, os.WNOHANG)[0]:
            self._start()


def _stay_apart() -> None:
    os.setsid()
    for signum in ENDING:
        signal.signal(signum, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    # Who reads the output would wait for this process too.
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _end(groups: set[int]) -> None:
    for each in groups:
        group.ask_to_end(each)
    asked_at = time.monotonic()
    while groups and time.monotonic() - asked_at < group.GRACE_S:
        time.sleep(group.LOOK_S)
        groups = {each for each in groups if group.send(each, 0)}
        for each in groups:
            # The first has ended, and left others behind.
            if not _lives(each):
                group.send(each, signal.SIGTERM)
    for each in groups:
        group.send(each, signal.SIGKILL)


def _lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False

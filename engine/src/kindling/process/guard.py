"""A small process that ends the groups of another one if that is killed."""

import os
import signal
import time
from contextlib import suppress

from kindling.process import group
from kindling.process.signals import ENDING


class Guard:
    """Ends what it was told of once this process has ended, however that came about.

    A trial would get the signal of `parent.die_with` alone: one that is stopped or stuck would stay for ever.

    Attributes:
        pid: of the small process.
    """

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._start()

    def _start(self) -> None:
        ear, self._mouth = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._mouth)
                _stay_apart()
                _end(_heard(ear))
            finally:
                os._exit(0)
        os.close(ear)
        for each in self._groups:
            self._say(each)

    def watch(self, pid: int) -> None:
        self._groups.add(pid)
        self._say(pid)

    def forget(self, pid: int) -> None:
        self._groups.discard(pid)
        self._say(-pid)

    def renew(self) -> None:
        """Start another small process if somebody has killed it."""
        if os.waitpid(self.pid, os.WNOHANG)[0]:
            self.close()
            self._start()

    def close(self) -> None:
        """In a process that was forked from the one that is watched."""
        os.close(self._mouth)

    def _say(self, number: int) -> None:
        # The next one, of `renew`, is told again.
        with suppress(BrokenPipeError):
            os.write(self._mouth, f"{number}\n".encode())


def _stay_apart() -> None:
    os.setsid()
    for signum in ENDING:
        signal.signal(signum, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    # Who reads the output would wait for this process too.
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _heard(ear: int) -> set[int]:
    """The groups that were left when the other process ended."""
    left: set[int] = set()
    with os.fdopen(ear) as lines:
        for line in lines:
            number = int(line)
            left.add(number) if number > 0 else left.discard(-number)
    return left


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

"""A process of several that shows no sign of life, as one that is stopped: the others name it, and the run ends.

Torch would wait half an hour for it. Each process shows signs in the store in which they have found each other; the
first one looks at all others, and they at the first.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from kindling.process import ranks, terminal
from kindling.process.identity import Identity, beside

# How often a process looks until it calls another one silent.
LOOKS = 20
# Until a process that waits for a killed one has to end by itself.
GRACE_S = 5.0
# For the last sign of a process that ends.
FAREWELL_S = 1.0
ENDED = "ended"
# What a process says whose connection to another one has closed.
GONE = (
    "trainer.devices: another process of this run has ended without a word to this one; often memory has run out, else "
    "it said above what was wrong; go on with resume="
)


class Watch:
    """Shows that this process lives, and looks at others, in two threads, of which the first may hang in the store.

    Args:
        rank: of this process.
        size: how many there are.
        timeout_s: how long another one may be silent.
        give_up: ends this process, with words on why, if nothing else does.

    Attributes:
        found: which process is silent, in words; None as long as all show signs.
        signs: by rank, the last one since this process watches.
        earlier: by rank, what was there as it began: of a process that began sooner, or of one before a restart.
    """

    def __init__(self, rank: int, size: int, timeout_s: float, give_up: Callable[[str], None]):
        self.rank, self.timeout_s, self.give_up = rank, timeout_s, give_up
        self.others = range(1, size) if rank == 0 else range(1)
        self.found: str | None = None
        self.signs: dict[int, str] = {}
        self.earlier: dict[int, str] = {}
        self._ended = threading.Event()
        self._shows, self._looks = (threading.Thread(target=each, daemon=True) for each in (self._show, self._look))

    def start(self) -> None:
        for each in (self._shows, self._looks):
            each.start()

    def end(self) -> None:
        self._ended.set()
        # It says so to the others.
        self._shows.join(FAREWELL_S)

    def _show(self) -> None:
        number = 0
        # The store is gone with the first process: whoever waits for that one is told by its connection.
        with suppress(RuntimeError):
            store = self._store()
            # Torchrun keeps its store when it starts all again.
            own = Identity.of(os.getpid())
            self.earlier = dict(_signs(store, self.others))
            while not self._ended.is_set():
                store.set(str(self.rank), f"{number} {own}")
                number += 1
                found = _signs(store, self.others)
                self.signs |= {each: sign for each, sign in found if sign != self.earlier.get(each)}
                self._ended.wait(self.timeout_s / LOOKS)
            store.set(str(self.rank), f"{ENDED} {os.getpid()}")
            return
        self._ended.set()

    def _store(self) -> Any:
        """A connection of its own, since the one of torch may be in use."""
        from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # Longer than this looks, so that a first process that does not come is named.
        patience = timedelta(seconds=2 * self.timeout_s)
        store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=patience)
        # Machines of a torchrun count its restarts differently.
        return PrefixStore("silence", store)

    def _look(self) -> None:
        """Count looks instead of seconds: this process may have been stopped too."""
        before: dict[int, str | None] = {}
        silent_for = dict.fromkeys(self.others, 0)
        while not self._ended.wait(self.timeout_s / LOOKS):
            for each in self.others:
                sign = self.signs.get(each)
                is_alive = has_ended(sign) or sign != before.get(each)
                silent_for[each] = 0 if is_alive else silent_for[each] + 1
                before[each] = sign
            if silent := [each for each in self.others if silent_for[each] >= LOOKS]:
                self._end(silent)
                return

    def _end(self, silent: list[int]) -> None:
        """Name the silent ones, and kill those that can be, which ends the wait for them."""
        known = {each: who for each in silent if (who := self._who(each))}
        named = [
            f"{each} (process {known[each].pid} on {known[each].host})" if each in known else str(each)
            for each in silent
        ]
        what = "has shown" if len(silent) == 1 else "have shown"
        seen = f"rank {', '.join(named)} {what} no sign of life for {self.timeout_s:g} s"
        # Who is told to end meanwhile says nothing of it.
        terminal.say(seen)
        self.found = (
            f"trainer.devices: {seen}; stopped, or its machine cannot be reached; go on with resume=, or wait longer: "
            "callbacks.resume_checkpoint.silence_s="
        )
        here = {who.pid for who in known.values() if who.is_here()}
        if 0 in silent and ranks.is_launched():
            here.add(int(os.environ[ranks.FIRST_PID]))
        for pid in here:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        # The connection that it waits at may have closed with them.
        if not self._ended.wait(GRACE_S):
            self.give_up(self.found)

    def _who(self, rank: int) -> Identity | None:
        """The process of a rank, as far as it is known."""
        if sign := self.signs.get(rank):
            return _shown_in(sign)
        earlier = self.earlier.get(rank)
        found = None if earlier is None or has_ended(earlier) else _shown_in(earlier)
        return found if found and found.is_here() else beside(rank)


def _signs(store: Any, of: Iterable[int]) -> Iterator[tuple[int, str]]:
    """What each of the processes has shown last."""
    for each in of:
        if store.check([str(each)]):
            yield each, store.get(str(each)).decode()


def _shown_in(sign: str) -> Identity:
    return Identity.read(sign.partition(" ")[2])


def has_ended(sign: str | None) -> bool:
    return sign is not None and sign.startswith(ENDED)


class _Current:
    """A process belongs to one group."""

    watch: Watch | None = None


def begin(rank: int, size: int, timeout_s: float | None, give_up: Callable[[str], None]) -> None:
    """Watch the processes of a group from now on, unless that is done already; for ever without an end if None."""
    if timeout_s is not None and _Current.watch is None and "MASTER_PORT" in os.environ:
        _Current.watch = Watch(rank, size, timeout_s, give_up)
        _Current.watch.start()


@contextmanager
def ended() -> Iterator[None]:
    """After this, the process needs the others no longer, nor they it."""
    try:
        yield
    finally:
        watch, _Current.watch = _Current.watch, None
        if watch:
            watch.end()


def found(*, joins: bool = False) -> str | None:
    """Which process has fallen silent, in words; while this one still joins the group, also which has left it."""
    watch = _Current.watch
    left = [each for each in watch.others if has_ended(watch.signs.get(each))] if watch and joins else []
    if left:
        return f"trainer.devices: rank {left[0]} has ended before the group came together; it said why"
    return watch and watch.found

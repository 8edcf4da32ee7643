"""Signals that end a run: at once, or while it trains at the next batch boundary, after a checkpoint."""

import math
import os
import re
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from kindling.errors import Interrupted
from kindling.process import ranks, terminal

# SIGHUP: a terminal closed; SIGUSR1: Slurm's time is nearly over.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

# A terminal and a launcher may both pass on one Ctrl-C.
SAME_SIGNAL_S = 1.0

# A run that computes nothing for so long after a signal hangs; alone, or where others may still compute.
STALL_S = 10.0
STALL_TOGETHER_S = 60.0
# Waiting costs a hundredth of this, a single batch more.
IDLE_CPU_S = 0.02


class _State:
    """The signals received so far; a process has one set of handlers, so it has one state.

    Attributes:
        is_deferring: `deferred` is open.
        request: the interruption to raise at the next batch boundary.
        pid: the process that defers, which its workers are copies of.
        ended_by: the interruption that was raised.
        received_at: when the last signal came, by the monotonic clock.
        first_pid: the process that is to end this one.
        terminals: the standard streams that are terminals.
        cpu_s: what the main thread had computed when it was last looked at.
        may_idle: it waits for what is worth it, such as the disk that a checkpoint goes to.
        trained_by: the processes that train for this one, and end because of its signals; by rank.
        is_spawned: this is one of those, and the other one says what it does.
    """

    is_deferring = False
    pid = 0
    request: Interrupted | None = None
    ended_by: Interrupted | None = None
    received_at = -math.inf
    first_pid: int | None = None
    terminals: ClassVar[list[int]] = []
    cpu_s = 0.0
    may_idle = False
    trained_by: Any = list
    is_spawned = False


def install(*, spawned: bool = False) -> None:
    """Let these signals raise `Interrupted`, except those that are ignored, as after `nohup`.

    Args:
        spawned: whether this process trains for one that has its own.
    """
    _State.is_spawned = spawned
    _State.terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]
    for signum in ENDING:
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _handle)


def pass_on_to(first_pid: int) -> None:
    """Send signals to another process, which ends because of them, and this one with it."""
    _State.first_pid = first_pid


def _handle(signum: int, frame: Any) -> None:
    now = time.monotonic()
    if now - _State.received_at < SAME_SIGNAL_S:
        return
    _State.received_at = now
    if signum == signal.SIGHUP:
        leave_terminal()

    if _State.is_deferring and _State.request is None:
        name = signal.Signals(signum).name
        _State.request = Interrupted(name)
        # The disk that takes stderr may be full.
        with suppress(OSError):
            said = f"{name}: a checkpoint at the next step, then the end; again: the end at once\n"
            os.write(2, b"" if _State.is_spawned else terminal.take_beginning() + said.encode())
        if trained_by := _State.trained_by():
            # A process that is still importing ends by this one without a word.
            with suppress(ProcessLookupError):
                os.kill(trained_by[0], signal.SIGTERM)
        else:
            _look_again_later()
    elif _State.ended_by:
        # The second signal ends it without cleaning up.
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    else:
        _end(signal.Signals(signum))


def _look_again_later() -> None:
    _State.cpu_s = time.thread_time()
    # Somebody else may use the alarm; a worker that was forked waits for its parent.
    if signal.getsignal(signal.SIGALRM) == _end_if_stalled and os.getpid() == _State.pid:
        signal.setitimer(signal.ITIMER_REAL, STALL_TOGETHER_S if ranks.are_several() else STALL_S)


def _end_if_stalled(signum: int, frame: Any) -> None:
    """End a run that hangs, in a worker or before its first batch, so that no step will come."""
    if not _State.is_deferring or _State.request is None:
        return
    if _State.may_idle or time.thread_time() - _State.cpu_s > IDLE_CPU_S:
        _look_again_later()
        return
    with suppress(OSError):
        said = f"{_State.request}: no step comes, so this is the end, with what is saved\n"
        os.write(2, terminal.take_beginning() + said.encode())
    _end(signal.Signals[str(_State.request)])


@contextmanager
def worth_waiting_for() -> Iterator[None]:
    """No hang, however long it takes."""
    _State.may_idle = True
    try:
        yield
    finally:
        _State.may_idle = False


def terminal_is_gone() -> bool:
    """Whether SIGHUP came as the terminal of this process was closed."""
    for descriptor in _State.terminals:
        try:
            termios.tcgetattr(descriptor)
        except (termios.error, OSError):
            return True
    return False


def leave_terminal() -> None:
    """Send all further output to /dev/null, as each write to a closed terminal is an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in _State.terminals:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _end(signum: signal.Signals) -> None:
    if _State.first_pid is not None:
        os.kill(_State.first_pid, signum)
        return
    _State.ended_by = Interrupted(signum.name)
    raise _State.ended_by


@contextmanager
def not_swallowed() -> Iterator[None]:
    """Raise what a signal raised during imports, whose Python or C code may swallow it or turn it into an error.

    Raises:
        Interrupted: a signal came within.
    """
    _State.ended_by = None
    try:
        yield
    except Exception:
        if _State.ended_by:
            raise _State.ended_by from None
        raise
    if _State.ended_by:
        raise _State.ended_by


def requested() -> Interrupted | None:
    """The interruption to raise at the next batch boundary."""
    return _State.request


def end_if_requested() -> None:
    """End before the first batch boundary, where there is nothing to save yet.

    Raises:
        Interrupted: a signal has come; a process that was launched leaves the end to the first one.
    """
    request, _State.request = _State.request, None
    if request:
        _end(signal.Signals[str(request)])


@contextmanager
def deferred(by: object, trained_by: Callable[[], list[int]] = list) -> Iterator[None]:
    """Hold signals back until the next batch boundary, where `requested` is asked.

    Args:
        by: who asks; None if there is none, and signals raise at once.
        trained_by: the processes that do so in place of this one; the first one gets its signals.

    Raises:
        Interrupted: a signal came after the last batch boundary.
    """
    if by is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    before = {signum: signal.getsignal(signum) for signum in (*ENDING, signal.SIGALRM)}
    if before[signal.SIGALRM] == signal.SIG_DFL:
        signal.signal(signal.SIGALRM, _end_if_stalled)
    for signum in ENDING:
        # A launched process ignores Ctrl-C, which the first one handles.
        if before[signum] != signal.SIG_IGN:
            signal.signal(signum, _handle)

    _State.is_deferring, _State.ended_by, _State.request, _State.pid = True, None, None, os.getpid()
    _State.trained_by = trained_by
    try:
        yield
        if _State.request:
            _State.is_deferring = False
            _end(signal.Signals[str(_State.request)])
    except Interrupted as error:
        _State.ended_by = error
        raise
    finally:
        _State.is_deferring, _State.request, _State.trained_by = False, None, list
        if signal.getsignal(signal.SIGALRM) == _end_if_stalled:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def requeue() -> None:
    """Put this job into Slurm's queue again, as Lightning does after Slurm's USR1."""
    env = os.environ
    if env.get("SLURM_PROCID", "0") != "0":
        return

    job = env.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in env:
        job = f"{env['SLURM_ARRAY_JOB_ID']}_{env.get('SLURM_ARRAY_TASK_ID', '')}"
    if re.fullmatch(r"[0-9_]+", job):
        try:
            subprocess.run(["scontrol", "requeue", job], check=False)
        except OSError as error:
            # A container may lack the command.
            terminal.say(f"warning: scontrol requeue {job}: {error}; start the job again with resume=auto")

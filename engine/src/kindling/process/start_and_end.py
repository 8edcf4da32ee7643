"""A quick start and a quick end: a million imported objects are neither searched nor freed one by one."""

import atexit
import ctypes
import gc
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from kindling.process.signals import ENDING, not_swallowed

PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def importing() -> Iterator[None]:
    """Import heavy packages without garbage collection, and keep it from ever searching what they leave.

    A third of the seconds that torch and Lightning take to import goes into searches that find nothing.
    """
    if "lightning" in sys.modules or not gc.isenabled():  # the next job of a sweep, or the user's own choice
        yield
        return
    gc.disable()
    atexit.register(gc.unfreeze)  # or triton tells at exit of everything that was kept
    try:
        with not_swallowed():
            _import_torchmetrics()
            yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def uncollected() -> Iterator[None]:
    """Import and build without garbage collection, which takes a third of MLflow's two to three seconds."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:  # not while all is imported
            gc.enable()


def occupy_closed_streams() -> None:
    """Under some daemons they are closed: no file that is opened later is to be written to as one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


class _Deferred(ModuleType):
    """scipy.signal, loaded when something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        sys.modules.pop(self.__name__, None)
        return getattr(importlib.import_module(self.__name__), name)

    hamming = None


def _import_torchmetrics() -> None:
    """Lightning imports it; it imports scipy.signal, a second's work, to patch its `hamming` for gammatone."""
    name = "scipy.signal"
    if name not in sys.modules and find_spec("gammatone") is None:
        sys.modules[name] = _Deferred(name)
    try:
        import torchmetrics  # noqa: F401
    finally:
        if isinstance(sys.modules.get(name), _Deferred):
            del sys.modules[name]


def die_with(parent: int, signum: int = signal.SIGKILL) -> None:
    """Have the system send this process a signal when its parent has ended, however that came about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def end(code: int) -> None:
    """Exit as Python does, but leave the memory to the system, as multiprocessing ends its processes.

    Under a debugger, a profiler or another caller that still has something to do, it is a plain `sys.exit`.
    """
    module = sys._getframe(2)
    if module.f_back is not None or sys.flags.interactive:
        sys.exit(code)
    for signum in ENDING:
        signal.signal(signum, signal.SIG_DFL)  # a signal now ends it at once
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    if not _flush_all():
        code = code or 120
    os._exit(code)


def _flush_all() -> bool:
    """Write out what open files hold back; whether the standard streams could be."""
    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    for file in [each for each in gc.get_objects() if type(each) in kinds]:
        with suppress(OSError, ValueError):
            file.flush()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream and not stream.closed:  # None if the shell has closed it
                stream.flush()
    except OSError:  # a full disk, or a reader that has gone
        return False
    return True

"""A quick start and a quick end: each function here saves seconds of each command, and changes nothing else.

The figures are CPU seconds of `python train.py data=fake model=mlp trainer.max_epochs=1 logger=csv` with everything
on, against the same without the one: medians of seven alternating runs, one thread.
"""

import atexit
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

# Python's own exit code for a failed flush.
COULD_NOT_FLUSH = 120


@contextmanager
def importing() -> Iterator[None]:
    """Import torch, Lightning and what else is heavy, quickly; a signal that comes meanwhile is not lost.

    Raises:
        Interrupted: a signal came within.
    """
    # The next job of a sweep finds them loaded.
    if "lightning" in sys.modules:
        yield
        return
    take_large_pages()
    with kept_from_collection(), not_swallowed():
        import_torchmetrics()
        yield


def take_large_pages() -> None:
    """Let torch ask Linux for pages of 2 MB for its large tensors on the CPU, unless the environment says otherwise.

    A batch of photographs is made float and normalised in 0.14 instead of 0.47 ms an image: with pages of 4 KB, most of
    the time goes to getting them.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@contextmanager
def kept_from_collection() -> Iterator[None]:
    """Import without garbage collection, and keep what was imported out of every later one.

    3.8 s instead of 4.6 s: the collector searches a million new objects again and again, and finds nothing.
    It stays off if it was off: `gc.disable()` before switches this function off.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()

    # Without it triton warns of all kept objects.
    atexit.register(gc.unfreeze)
    try:
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
        # It is off while everything is imported.
        if enabled:
            gc.enable()


def import_torchmetrics() -> None:
    """Import torchmetrics, which Lightning needs, without scipy.signal, which it does not need.

    3.8 s instead of 4.6 s: torchmetrics imports scipy.signal to patch its `hamming` for the package gammatone.
    An `import scipy.signal` before switches this off.
    """
    name = "scipy.signal"
    if name not in sys.modules and find_spec("gammatone") is None:
        sys.modules[name] = _DeferredModule(name)
    try:
        import torchmetrics  # noqa: F401
    finally:
        if isinstance(sys.modules.get(name), _DeferredModule):
            del sys.modules[name]


class _DeferredModule(ModuleType):
    """A module that is loaded when something in it is asked for."""

    # torchmetrics asks for this one, so it must not load the module.
    hamming = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        sys.modules.pop(self.__name__, None)
        return getattr(importlib.import_module(self.__name__), name)


def end(code: int) -> None:
    """Exit as Python does, but leave the memory to the system, as multiprocessing ends its processes.

    3.8 s instead of 5.3 s: Python would free a million objects one by one.
    Under a debugger, a profiler or another caller that still has something to do, it is a plain `sys.exit`;
    `python -i` switches it off.
    """
    if _caller_goes_on():
        sys.exit(code)

    # A signal now ends the process at once.
    for signum in ENDING:
        signal.signal(signum, signal.SIG_DFL)
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()

    could_flush = _flush_all()
    os._exit(code if could_flush else code or COULD_NOT_FLUSH)


def _caller_goes_on() -> bool:
    """Whether the script that called the entry which called `end` was itself called by other Python code."""
    script = sys._getframe(3)
    return script.f_back is not None or bool(sys.flags.interactive)


def _flush_all() -> bool:
    """Write out what open files hold back; whether the standard streams could be."""
    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    for file in [each for each in gc.get_objects() if type(each) in kinds]:
        with suppress(OSError, ValueError):
            file.flush()

    # A stream is None if the shell has closed it.
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream and not stream.closed:
                stream.flush()
    except OSError:
        # The disk is full, or the reader has gone.
        return False
    return True

"""What the processes say that ddp_spawn and its kind have started, as this one ends because of them."""

import builtins
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, ProcessRaisedException

from kindling import errors
from kindling.errors import Interrupted
from kindling.process import signals, silence

# How long the others have to say what they know, once one is gone; and to end, once they are told to.
GRACE_S = 3.0
# The end of a traceback, which is all that comes of an error of a spawned process.
TRACEBACK = "Traceback (most recent call last):"
RAISED = re.compile(r"^([\w.]+\.)?(\w+)(?:: (.+))?\Z", re.MULTILINE | re.DOTALL)


class EndedError(Exception):
    """A spawned process was `Interrupted`; torch hands on what is an `Exception` alone."""


@contextmanager
def ending_together() -> Iterator[None]:
    """Once a spawned process is gone, give the others a moment to say what they know; torch ends them after that."""
    original = ProcessContext.join

    def join(self: Any, timeout: float | None = None, grace_period: float | None = GRACE_S) -> bool:
        try:
            return original(self, timeout, grace_period)
        except (ProcessExitedException, ProcessRaisedException) as error:
            for number, (process, file) in enumerate(zip(self.processes, map(Path, self.error_files), strict=True)):
                if file.exists():
                    # Of a process of this run.
                    error.add_note(pickle.loads(file.read_bytes()))
                    file.unlink()
                elif process.exitcode:
                    error.add_note(f"process {number} terminated with exit code {process.exitcode}")
            raise

    ProcessContext.join = join
    try:
        yield
    finally:
        ProcessContext.join = original


@contextmanager
def errors_of_spawned() -> Iterator[None]:
    """Raise an error of a process that was spawned as what it was there, so that it is said as in this one.

    Raises:
        Interrupted: a signal or a deadline ended them.
        KindlingError: such a process is gone without an error.
    """
    try:
        yield
    except (ProcessExitedException, ProcessRaisedException) as error:
        # Who says that another one has gone does not know why.
        said = [text for text in (str(error), *getattr(error, "__notes__", ())) if silence.GONE not in text]
        found = [_raised(text) for text in said]
        # Of several, what was asked for, and then what can be mended, comes first.
        if stop := signals.requested():
            raise stop from error
        for kind in (Interrupted, errors.KindlingError, Exception):
            for each in found:
                if isinstance(each, kind):
                    raise each from error
        if not said:
            raise errors.KindlingError(silence.GONE) from error
        raise errors.KindlingError(
            f"trainer.devices: of those that ddp_spawn has started, {said[0]}; after SIGKILL, memory has often run "
            "out, else it said above what was wrong; go on with resume="
        ) from error


def _raised(text: str) -> BaseException | None:
    """The error that a traceback ends with; a RuntimeError with its name if it is none of Kindling or of Python."""
    # Those before it are its causes.
    found = RAISED.search(text.rpartition(TRACEBACK)[2].rstrip()) if TRACEBACK in text else None
    if found is None:
        return None
    module, name, words = found.groups(default="")
    if name == EndedError.__name__:
        return Interrupted(words)
    kind = getattr({f"{errors.__name__}.": errors, "": builtins}.get(module), name, None)
    with suppress(TypeError):
        if isinstance(kind, type) and issubclass(kind, Exception):
            return kind(*[words] * bool(words))
    return RuntimeError(found[0])

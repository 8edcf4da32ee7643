"""The processes that Lightning launches: for ddp by the same command again, for ddp_spawn from this process."""

import builtins
import logging
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from kindling import errors
from kindling.config import project
from kindling.console import set_up_logging
from kindling.lightning_internals.warnings import RARE_LOGS

# Lightning's file of weights alone, for the process that spawned.
HANDED_OVER = ".temp.ckpt"
# Until a process whose launched ones are gone has to end by itself, and between two looks.
GRACE_S, LOOK_S = 3.0, 0.1
# The end of a traceback, which is all that comes of an error of such a process.
TRACEBACK = "Traceback (most recent call last):"
RAISED = re.compile(r"^(kindling\.errors\.)?(\w+): (.+)\Z", re.MULTILINE | re.DOTALL)


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


def are_spawned(trainer: Trainer) -> bool:
    """Whether training happens in processes of which this one only gets what they hand over."""
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)


def is_handed_over(path: Path) -> bool:
    """Whether a file holds the weights that a spawned process hands to the one that spawned it."""
    return path.name == HANDED_OVER


def recover(trainer: Trainer, saved: dict[str, Any]) -> None:
    """Give a Trainer whose processes were spawned the counters and best checkpoints of the last checkpoint."""
    trainer.fit_loop.load_state_dict(saved["loops"]["fit_loop"])
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        state = saved["callbacks"].get(callback.state_key)
        if state:
            callback.load_state_dict(state)


def carried() -> dict[str, Any]:
    """What a process that is spawned needs of this one, beside what it computes with."""
    files = [each.baseFilename for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]
    return {"root": project.current().root, "files": files, "dated": _format_of_files()}


def take_up(state: dict[str, Any]) -> None:
    """Work in the project of the process that spawned this one, and say what it would say where it would."""
    project.use(state["root"])
    root = logging.getLogger()
    if root.handlers:
        return
    set_up_logging()
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", RARE_LOGS)
    for name in state["files"]:
        handler = logging.FileHandler(name, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter(state["dated"]))
        root.addHandler(handler)


def _format_of_files() -> str | None:
    formatters = [each.formatter for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]
    return next((each._fmt for each in formatters if each), None)


@contextmanager
def errors_of_spawned() -> Iterator[None]:
    """Raise an error of a process that was spawned as what it was there, so that it is said as in this one.

    Raises:
        KindlingError: such a process is gone without an error.
    """
    try:
        yield
    except ProcessExitedException as error:
        raise errors.KindlingError(
            f"trainer.devices: of those that ddp_spawn has started, {error}; after SIGKILL, memory has often run out, "
            "else it said above what was wrong; go on with resume="
        ) from error
    except ProcessRaisedException as error:
        # Those before it are its causes.
        found = RAISED.search(str(error).rpartition(TRACEBACK)[2].rstrip())
        kind = getattr(errors if found[1] else builtins, found[2], None) if found else None
        if not (found and isinstance(kind, type) and issubclass(kind, Exception)):
            raise
        raise kind(found[3]) from error

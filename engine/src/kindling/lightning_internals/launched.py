"""The processes that Lightning launches: for ddp by the same command again, for ddp_spawn from this process."""

import builtins
import logging
import os
import pickle
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.trainer.call import _call_callbacks_state_dict, _call_teardown_hook, _interrupt
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus
from lightning.pytorch.utilities.exceptions import _TunerExitException
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, ProcessRaisedException

from kindling import errors
from kindling.config import project
from kindling.console import set_up_logging
from kindling.errors import Interrupted
from kindling.lightning_internals.loggers import logger_states, restore_loggers
from kindling.lightning_internals.warnings import RARE_LOGS
from kindling.process import parent, ranks, signals, silence

# Lightning's file of weights alone, for the process that spawned.
HANDED_OVER = ".temp.ckpt"
# What it is given beside them.
END = "end_bytes"
# Until a process whose launched ones are gone has to end by itself, and between two looks.
GRACE_S, LOOK_S = 3.0, 0.1
# The end of a traceback, which is all that comes of an error of a spawned process.
TRACEBACK = "Traceback (most recent call last):"
RAISED = re.compile(r"^([\w.]+\.)?(\w+)(?:: (.+))?\Z", re.MULTILINE | re.DOTALL)


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


def end_of(trainer: Trainer) -> dict[str, Any]:
    """What the process that has spawned this one needs of its Trainer, beside weights and metrics."""
    return {
        "fit_loop": trainer.fit_loop.state_dict(),
        "should_stop": trainer.should_stop,
        "callbacks": _call_callbacks_state_dict(trainer),
        "loggers": logger_states(trainer.loggers),
    }


def recover(trainer: Trainer, end: dict[str, Any]) -> None:
    """Give a Trainer whose processes were spawned the counters and best checkpoints of theirs."""
    trainer.fit_loop.load_state_dict(end["fit_loop"])
    trainer.should_stop = end["should_stop"]
    for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
        state = end["callbacks"].get(callback.state_key)
        if state:
            callback.load_state_dict(state)
    restore_loggers(trainer.loggers, end["loggers"])


class Spawning(_MultiProcessingLauncher):
    """Lightning's launcher for ddp_spawn, whose processes can be told to end and are missed when they are silent.

    Attributes:
        within: what a spawned process works in, given its Trainer.
    """

    def __init__(self, trainer: Trainer, within: Callable[[Trainer], AbstractContextManager[None]]):
        launcher: Any = trainer.strategy.launcher
        super().__init__(launcher._strategy, launcher._start_method)
        self.within = within
        self._carried: dict[str, Any] = {}

    def launch(self, *arguments: Any, **named: Any) -> Any:
        self._carried = _carried()
        with errors_of_spawned(), _ending_together():
            return super().launch(*arguments, **named)

    def _wrapping_function(self, process_idx: int, trainer: Any, *arguments: Any) -> None:
        # Torch looks at that too late: the other one may have ended while this one imported it.
        parent.die_with(self._carried["pid"], signal.SIGTERM)
        _take_up(self._carried)
        # This one may be the first of them, and the one that spawned it is none.
        os.environ.pop(ranks.FIRST_PID, None)
        os.environ |= {"LOCAL_RANK": str(process_idx), "WORLD_SIZE": str(self._strategy.num_processes)}
        signals.install(ignored=[signal.SIGINT] * (process_idx > 0))
        try:
            with silence.ended(), self.within(trainer):
                function, *rest = arguments
                super()._wrapping_function(process_idx, trainer, partial(_until_end, trainer, function), *rest)
        except BaseException as error:
            _interrupt(trainer, error)
            if isinstance(error, Interrupted):
                raise EndedError(str(error)) from error
            raise

    def get_extra_results(self, trainer: Trainer) -> dict[str, Any]:
        extra = super().get_extra_results(trainer)
        if trainer.state.fn == TrainerFn.FITTING:
            # As bytes, since memory that tensors share is gone with this process.
            extra[END] = pickle.dumps(move_data_to_device(end_of(trainer), "cpu"))
        return extra

    def update_main_process_results(self, trainer: Trainer, extra: dict[str, Any]) -> None:
        super().update_main_process_results(trainer, extra)
        if END in extra:
            recover(trainer, pickle.loads(extra[END]))

    @contextmanager
    def working_within(self, within: Callable[[Trainer], AbstractContextManager[None]], by: object) -> Iterator[None]:
        """Meanwhile, let spawned processes work in something else, and give the first of them the signals of this one.

        Args:
            within: as the attribute.
            by: as `signals.deferred` takes it.
        """
        before, self.within = self.within, within
        try:
            with signals.deferred(by, lambda: [each.pid for each in self.procs if each.is_alive() and each.pid]):
                yield
        finally:
            self.within = before


def _until_end(trainer: Trainer, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call what a callback may end with success, of which Lightning knows in the process that spawns alone."""
    try:
        return function(*arguments, **named)
    except _TunerExitException:
        _call_teardown_hook(trainer)
        trainer._teardown()
        trainer.state.status, trainer.state.stage = TrainerStatus.FINISHED, None
        return None


class EndedError(Exception):
    """A spawned process was `Interrupted`; torch hands on what is an `Exception` alone."""


@contextmanager
def _ending_together() -> Iterator[None]:
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


def _carried() -> dict[str, Any]:
    """What a process that is spawned needs of this one, beside what it computes with."""
    files = [each.baseFilename for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]
    return {"pid": os.getpid(), "root": project.current().root, "files": files, "dated": _format_of_files()}


def _take_up(state: dict[str, Any]) -> None:
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
        for kind in (Interrupted, errors.KindlingError, Exception):
            for each in found:
                if isinstance(each, kind):
                    raise each from error
        if stop := signals.requested():
            raise stop from error
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

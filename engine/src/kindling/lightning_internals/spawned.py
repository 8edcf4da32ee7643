"""The processes that ddp_spawn, ddp_fork and ddp_notebook start from this one, which train in its place."""

import logging
import os
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import torch.multiprocessing
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.trainer.call import _call_callbacks_state_dict, _call_teardown_hook, _interrupt
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus
from lightning.pytorch.utilities.exceptions import _TunerExitException

from kindling.config import project
from kindling.console import set_up_logging
from kindling.errors import Interrupted
from kindling.lightning_internals.loggers import logger_states, restore_loggers
from kindling.lightning_internals.spawned_errors import EndedError, ending_together, errors_of_spawned
from kindling.lightning_internals.warnings import RARE_LOGS
from kindling.process import parent, ranks, signals, silence

# Lightning's file of weights alone, for the process that spawned.
HANDED_OVER = ".temp.ckpt"
# What it is given beside them.
END = "end_bytes"
# What a terminal sends to all: the process that spawned the others passes it on.
OF_A_TERMINAL = {signal.SIGINT, signal.SIGHUP}


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
        with errors_of_spawned(), ending_together(), _starting_unheard():
            return super().launch(*arguments, **named)

    def _wrapping_function(self, process_idx: int, trainer: Any, *arguments: Any) -> None:
        # Torch looks at that too late: the other one may have ended while this one imported it.
        parent.die_with(self._carried["pid"], signal.SIGTERM)
        _take_up(self._carried)
        # This one may be the first of them, and the one that spawned it is none.
        os.environ.pop(ranks.FIRST_PID, None)
        os.environ |= {"LOCAL_RANK": str(process_idx), "WORLD_SIZE": str(self._strategy.num_processes)}
        signals.install(spawned=True)
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


@contextmanager
def _starting_unheard() -> Iterator[None]:
    """Keep signals of a terminal from processes that are started meanwhile, which would end in tracebacks."""
    starter: Any = torch.multiprocessing
    original = starter.start_processes

    def start(*arguments: Any, **named: Any) -> Any:
        signal.pthread_sigmask(signal.SIG_BLOCK, OF_A_TERMINAL)
        try:
            if named.get("start_method") == "spawn":
                # As it starts, it lets them through again.
                resource_tracker.ensure_running()
                signal.pthread_sigmask(signal.SIG_BLOCK, OF_A_TERMINAL)
            return original(*arguments, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_A_TERMINAL)

    starter.start_processes = start
    try:
        yield
    finally:
        starter.start_processes = original


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

"""The processes that Lightning launches: for ddp by the same command again, for ddp_spawn from this process."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

# Lightning's file of weights alone, for the process that spawned.
HANDED_OVER = ".temp.ckpt"


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

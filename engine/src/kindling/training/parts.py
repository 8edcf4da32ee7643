"""What a run is made of."""

from typing import Any, NamedTuple, Protocol

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.model_helpers import is_overridden

from kindling.checkpoints.checkpoint import Saved
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint

# [epoch, batch] of each batch that gave NaN.
Rollbacks = list[list[int]]


class Parts(NamedTuple):
    """Data, task, loggers and trainer, all new."""

    data: LightningDataModule | None
    task: LightningModule
    loggers: list[Logger]
    trainer: Trainer


def untested_because(task: LightningModule, data: LightningDataModule | None) -> str | None:
    """What a test would need and does not have."""
    if not is_overridden("test_step", task):
        return f"{type(task).__name__} has no test_step"
    owner, base = (task, LightningModule) if data is None else (data, LightningDataModule)
    return None if is_overridden("test_dataloader", owner, base) else f"{type(owner).__name__} has no test_dataloader"


class Build(Protocol):
    """Builds the parts anew."""

    def __call__(self, start: Saved | None, rollbacks: Rollbacks, *, replay: Any = None) -> Parts: ...


def callbacks_of(trainer: Any) -> list[Any]:
    """The callbacks of a trainer, which Lightning sets where a type checker does not look."""
    return trainer.callbacks


def resume_callback(trainer: Trainer) -> ResumeCheckpoint | None:
    """The callback that saves the checkpoints to resume from, if the run has it."""
    return next((each for each in callbacks_of(trainer) if isinstance(each, ResumeCheckpoint)), None)

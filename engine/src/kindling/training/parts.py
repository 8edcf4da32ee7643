"""What a run is made of."""

from typing import Any, NamedTuple, Protocol

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from kindling.checkpoints.checkpoint import Saved
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint

# [epoch, batch] of each batch that gave NaN.
Rollbacks = list[list[int]]


class Parts(NamedTuple):
    """Data, task, loggers and trainer, all new."""

    data: LightningDataModule
    task: LightningModule
    loggers: list[Logger]
    trainer: Trainer


class Build(Protocol):
    """Builds the parts anew."""

    def __call__(self, start: Saved | None, rollbacks: Rollbacks, *, replay: Any = None) -> Parts: ...


def callbacks_of(trainer: Any) -> list[Any]:
    """The callbacks of a trainer, which Lightning sets where a type checker does not look."""
    return trainer.callbacks


def resume_callback(trainer: Trainer) -> ResumeCheckpoint | None:
    """The callback that saves the checkpoints to resume from, if the run has it."""
    return next((each for each in callbacks_of(trainer) if isinstance(each, ResumeCheckpoint)), None)

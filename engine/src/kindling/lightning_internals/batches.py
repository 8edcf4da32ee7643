"""A batch as a step gets it, before there are any steps; and a fit that ends in the middle."""

from typing import Any, NoReturn

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.exceptions import _TunerExitException


def first_training_batch(trainer: Trainer, pl_module: LightningModule) -> Any:
    """The first batch of the loaders of training, made for this alone, as a step gets it on the device."""
    loaders: Any = trainer.fit_loop._data_source.dataloader()
    combined = loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, "max_size_cycle")
    batch, *_ = next(iter(combined))
    batch = pl_module._on_before_batch_transfer(batch)
    return trainer.strategy.batch_to_device(batch)


def make_loaders_anew(trainer: Trainer) -> None:
    """Let the next fit ask the data for its loaders, as when the batch size has changed."""
    trainer.fit_loop._combined_loader = None


def forget_metrics(trainer: Trainer) -> None:
    """Drop what has been logged, by steps that count for nothing."""
    trainer._logger_connector._callback_metrics.clear()


def end_fit() -> NoReturn:
    """End a fit here, without what follows in its epoch, as if it had finished."""
    # Lightning's own way, by which its finders end it.
    raise _TunerExitException

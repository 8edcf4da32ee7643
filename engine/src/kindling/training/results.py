"""What a trained run is worth: its best checkpoint, its metrics, and the settings beside them."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from kindling.loggers import tracking
from kindling.run_folders.resumption import flatten

# What TensorBoard's HPARAMS shows.
COMPARED = ("seed", "task", "data", "model", "init", "optimizer", "scheduler", "mix", "trainer")


def best_callback(trainer: Trainer) -> ModelCheckpoint | None:
    kept = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    return kept[0] if kept else None


def best_checkpoint(trainer: Trainer) -> str | None:
    """The best checkpoint of this run; None if none is kept and the weights in memory are to be tested."""
    best = best_callback(trainer)
    return best.best_model_path or None if best else None


def best_score(trainer: Trainer) -> dict[str, Any] | None:
    best = best_callback(trainer)
    if best is None or best.best_model_score is None:
        return None
    return {"monitor": best.monitor, "score": best.best_model_score.item()}


def final_metrics(trainer: Trainer) -> dict[str, float]:
    """The last value of each metric of an epoch, such as val/loss."""
    of_epochs = (name for name in trainer.callback_metrics if not name.endswith("_step"))
    return {name: trainer.callback_metrics[name].item() for name in of_epochs if not name.startswith("lr-")}


def log_settings(loggers: list[Logger], config: dict[str, Any], metrics: dict[str, float], step: int) -> None:
    """Give the loggers the settings; TensorBoard's HPARAMS tab shows them beside the final metrics."""
    settings = {}
    for key, value in flatten({section: config[section] for section in COMPARED}).items():
        if key.endswith("._target_"):
            # As model: CNN.
            settings[key.removesuffix("._target_")] = value.rpartition(".")[2]
        elif value is not None and not key.endswith("._partial_"):
            settings[key] = value
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            # Its table hides all but five, so tests come first.
            shown = dict(reversed(metrics.items()))
            logger.log_hyperparams(settings, shown, step)
        elif not isinstance(logger, tracking.Tracker):
            # A tracker has had them all.
            logger.log_hyperparams(settings)
        logger.finalize("success")

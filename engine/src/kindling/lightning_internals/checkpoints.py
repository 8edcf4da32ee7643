"""What Lightning and its callbacks write into checkpoints, and how they restore it."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

# Functions that hand out the states of a checkpoint: Lightning's and torch's, and our own.
LOADS_STATES = (
    *("resume_start", "_restore_modules_and_callbacks", "restore_training_state", "load_state_dict"),
    *("on_load_checkpoint", "restore_callback_metrics", "restore_torchmetrics", "restore_loggers", "_begin_loaders"),
    *("_finish_restoring", "add_logged_sums", "log_again"),
)
# What a ModelCheckpoint's state says before it has saved anything.
NO_BEST = {"best_model_path": "", "best_model_score": None, "best_k_models": {}, "kth_best_model_path": ""}


def best_files(trainer: Trainer, folder: Path) -> set[Path]:
    """What the run's ModelCheckpoints keep as their best in a folder."""
    kept = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    files = {Path(path) for each in kept for path in (each.best_model_path, *each.best_k_models) if path}
    return {file for file in files if file.parent == folder and file.is_file()}


def keep_configured_patience(state: dict[str, Any], callback: Any) -> None:
    """Let EarlyStopping wait as long as it is configured to now, not as when it was saved."""
    if "patience" in state:
        state["patience"] = callback.patience


def restore_current_score(state: dict[str, Any], callback: Any) -> None:
    """Restore what a ModelCheckpoint saves, but does not load."""
    if "current_score" in state:
        callback.current_score = state["current_score"]


def missing_best(state: dict[str, Any]) -> list[str]:
    """The files that a ModelCheckpoint's state names and that are gone."""
    named = (state["best_model_path"], *state["best_k_models"]) if "current_score" in state else ()
    return [file for file in named if file and not Path(file).is_file()]


def forget_best(state: dict[str, Any], callback: ModelCheckpoint) -> None:
    """Let a ModelCheckpoint look for the best ones anew."""
    state.update(NO_BEST, kth_value=callback.kth_value)

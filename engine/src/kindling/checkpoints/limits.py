"""Limits of training that a run may be resumed with, though they were others before."""

from typing import Any

from lightning.pytorch import Trainer

from kindling.checkpoints.checkpoint import DESCRIPTION, PROGRESS, Saved, config_of
from kindling.errors import ConfigError
from kindling.lightning_internals.loops import total_steps
from kindling.run_folders.resumption import LIMITS, changed_settings


def changed_limits(saved: dict[str, Any], trainer: Trainer) -> list[str]:
    """The limits, such as max_epochs, that a checkpoint was taken under and that differ now."""
    changed = changed_settings(saved[DESCRIPTION]["config"], config_of(trainer))
    return [key for key in changed if key in LIMITS]


def refuse_longer_schedule(trainer: Trainer) -> None:
    """
    Raises:
        ConfigError: a schedule that ends for good is to go on for longer.
    """
    steps = total_steps(trainer)
    for config in trainer.lr_scheduler_configs:
        end = getattr(config.scheduler, "total_steps", None)
        if end is not None and steps > end:
            raise ConfigError(
                f"resume: given {steps:.0f} steps; allowed: {end}, at which {type(config.scheduler).__name__} ends; "
                "start a new run, perhaps from its weights: weights="
            )


def refuse_passed_limits(saved: Saved, config: dict[str, Any]) -> None:
    """
    Raises:
        ConfigError: a limit was changed to one that the run has passed already.
    """
    progress = saved.content[PROGRESS]
    reached = {"max_steps": saved.content["global_step"], "max_epochs": progress["epoch"] + (progress["batch"] > 0)}
    for key, least in reached.items():
        given, before = config["trainer"].get(key), saved.config["trainer"].get(key)
        if given != before and isinstance(given, int) and 0 <= given < least:
            raise ConfigError(f"trainer.{key}: given {given}; allowed: {least} or more, which the run has come to")

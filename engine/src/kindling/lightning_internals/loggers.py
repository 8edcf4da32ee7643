"""Lightning's loggers."""

from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger


def hide_later_events(loggers: list[Logger], step: int) -> None:
    """Let TensorBoard hide what a killed process wrote after a step; takes effect when it opens its file."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger._kwargs["purge_step"] = step


def logger_states(loggers: list[Logger]) -> dict[str, Any]:
    """How far each logger is, by its class."""
    return {type(logger).__name__: logger.state_dict() for logger in stateful(loggers)}


def restore_loggers(loggers: list[Logger], states: dict[str, Any]) -> None:
    """Let each logger go on from its state; without one, it starts anew."""
    for logger in stateful(loggers):
        logger.load_state_dict(states.get(type(logger).__name__))


def stateful(loggers: list[Logger]) -> list[Any]:
    """Those whose state a checkpoint can hold."""
    return [logger for logger in loggers if hasattr(logger, "load_state_dict")]

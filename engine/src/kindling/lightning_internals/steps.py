"""What goes on around a training step: fetching its batch, and logging."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Trainer


def is_logged_step(trainer: Trainer) -> bool:
    """Whether what this step logs reaches a logger."""
    return bool(trainer.loggers) and trainer._logger_connector.should_update_logs


def logger_connector(trainer: Trainer) -> Any:
    """What hands on what is logged, by methods that can be timed."""
    return trainer._logger_connector


def watch_fetching(trainer: Trainer, start: Callable[[], None], stop: Callable[[], None]) -> None:
    """Call `start` before each batch of training is fetched, and `stop` after it."""
    loop = trainer.fit_loop.epoch_loop
    before, after = loop._on_before_fetch, loop._on_after_fetch

    def begin() -> None:
        before()
        start()

    def end() -> None:
        stop()
        after()

    loop._on_before_fetch, loop._on_after_fetch = begin, end


def waits_for_every_gradient(trainer: Trainer) -> bool:
    """Whether processes wait for each other's gradient of every parameter, also of one that a step does not use."""
    settings = getattr(trainer.strategy, "_ddp_kwargs", None)
    return trainer.world_size > 1 and settings is not None and not settings.get("find_unused_parameters")

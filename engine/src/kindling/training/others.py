"""The other processes of a run, which may be gone or silent while this one waits for them."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from lightning.pytorch import Trainer

from kindling.lightning_internals import group, launched
from kindling.lightning_internals.spawned import Spawning
from kindling.process import silence, terminal
from kindling.run_folders.record import RunRecord
from kindling.training.parts import resume_callback


@contextmanager
def in_each_process(
    trainer: Trainer, run: RunRecord, guard: Callable[..., AbstractContextManager[None]], by: object = None
) -> Iterator[None]:
    """Let each process work in something, and end those that this one has launched if it fails.

    Args:
        trainer: of this process.
        run: that this process keeps.
        guard: what they work in, given a Trainer, and the run unless the process that has spawned them keeps it.
        by: whom a process that has spawned others leaves its signals to, as `signals.deferred` takes it.
    """
    launcher = trainer.strategy.launcher
    if isinstance(launcher, Spawning):
        around = launcher.working_within(partial(guard, run=None), by)
    else:
        around = guard(trainer, run=run)
    with launched.ended_on_failure(trainer), around:
        yield


@contextmanager
def ended_with_others(trainer: Trainer, run: RunRecord | None = None) -> Iterator[None]:
    """End this process, and say why, if another one is gone or shows no sign of life while this one waits for it.

    Args:
        trainer: of this process.
        run: None if the process that has spawned this one keeps it.
    """

    def give_up(words: str) -> None:
        # The main thread waits in C++ for an answer that may never come.
        terminal.say(f"error: {words}")
        if run and trainer.is_global_zero:
            run.end("failed", f"KindlingError: {words}")
        os._exit(1)

    def watch() -> None:
        saver = resume_callback(trainer)
        # Which rank this is, is known only as it joins the group.
        silence.begin(trainer.global_rank, trainer.world_size, saver and saver.silence_s, give_up)

    with launched.observed(lambda: give_up(silence.found() or silence.GONE)), group.made_within_hearing(watch):
        yield

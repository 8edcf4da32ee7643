"""Where training starts: anew, from weights, or where this run or another one was."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.loggers import Logger

from kindling.checkpoints import resume_files
from kindling.checkpoints.checkpoint import PROGRESS, Saved
from kindling.checkpoints.limits import refuse_passed_limits
from kindling.console import report, shown
from kindling.errors import CheckpointError, ConfigError
from kindling.lightning_internals.loggers import hide_later_events
from kindling.process.ranks import is_first_process
from kindling.run_folders.record import RunRecord
from kindling.run_folders.resumption import changed_launch
from kindling.training.fork import fork


def starting_point(run: RunRecord) -> Saved | None:
    """The checkpoint that training goes on from; None if it starts anew.

    Raises:
        CheckpointError: there are checkpoints, but none that is whole and can be resumed from.
        ConfigError: a fork would change what its state is made for, or there is nothing to fork from; or the run
            has passed a limit.
    """
    saved = resume_files.newest_whole(run.folder)
    if saved is None and run.config["fork"]:
        with as_config_error("fork"):
            saved = fork(Path(run.config["fork"]).expanduser(), run)
    if saved is None:
        if run.saved_config is not None:
            report("resume: %s has no checkpoint yet; it starts over", shown(run.folder))
        return None
    if PROGRESS not in saved.content:
        raise CheckpointError(
            f"resume: given {saved.path}, which an older version wrote without what it takes to go on; "
            "allowed: a run of this version; weights= starts a new run from its weights"
        )
    refuse_passed_limits(saved, run.config)
    if is_first_process():
        resume_files.set_damaged_aside(run.folder, saved.path)
        resume_files.bring_back(saved.path)
    progress, step = saved.content[PROGRESS], saved.content["global_step"]
    report(
        "goes on at epoch %d, batch %d (step %d) in %s", progress["epoch"], progress["batch"], step, shown(run.folder)
    )
    if run.saved_config and (changed := changed_launch(run.saved_config, run.config)):
        report("resume: with %s", ", ".join(changed))
    return saved


@contextmanager
def as_config_error(key: str) -> Iterator[None]:
    """Name the setting that named a checkpoint which cannot be used.

    Raises:
        ConfigError: instead of a CheckpointError.
    """
    try:
        yield
    except CheckpointError as error:
        raise ConfigError(f"{key}: {str(error).removeprefix('ckpt: ')}") from error


def hide_void_events(loggers: list[Logger], start: Saved | None) -> None:
    """Let TensorBoard hide what a killed process wrote after the checkpoint; set before it opens its file."""
    hide_later_events(loggers, start.content[PROGRESS]["logged_steps"] if start else 0)

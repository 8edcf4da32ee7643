"""A run that goes on from where another one was, in a folder of its own."""

import math
import shutil
from pathlib import Path
from typing import Any

from kindling.checkpoints import checkpoint, resume_files, trained_on
from kindling.checkpoints.checkpoint import PROGRESS, Saved
from kindling.checkpoints.limits import refuse_passed_limits
from kindling.console import report, shown
from kindling.errors import CheckpointError, ConfigError
from kindling.files.whole_file import write_whole
from kindling.process.ranks import is_first_process
from kindling.run_folders.record import RunRecord
from kindling.run_folders.resumption import RATES, flatten, refuse_changes


def fork(given: Path, run: RunRecord) -> Saved:
    """Copy the state of another run into the folder of this one.

    Raises:
        CheckpointError: there is no whole checkpoint to go on from.
        ConfigError: this run has settings that the other's state does not fit.
    """
    source = find_source(given)
    refuse_changes(source.config, run.config, fork=True)
    refuse_lost_average(given, source, run.config)
    refuse_passed_limits(source, run.config)
    lr_factor(source.config, run.config)
    target = run.folder / "checkpoints" / f"step_{source.content['global_step']:09}.ckpt"
    if is_first_process():
        copy_state(source.path, target, run.folder)
    report("fork: of %s", shown(source.path))
    return Saved(target, source.content)


def find_source(given: Path) -> Saved:
    """The newest resume checkpoint of a run folder, or a file that is one.

    Raises:
        CheckpointError: there is none.
    """
    if not given.exists():
        raise CheckpointError(f"given {given}, which does not exist; allowed: a run folder or a checkpoint file")
    source = resume_files.newest_whole(given) if given.is_dir() else checkpoint.load_file(given)
    if source is None or PROGRESS not in source.content:
        raise CheckpointError(
            f"given {given}, which holds nothing to go on from; allowed: a run folder or one of its "
            "checkpoints/step_*.ckpt; weights= starts from the weights of any checkpoint"
        )
    return source


def refuse_lost_average(given: Path, source: Saved, config: dict[str, Any]) -> None:
    """
    Raises:
        ConfigError: the weights are an average, and this run would train on with them as if they were not.
    """
    averages = any(".averages." in str(each) for each in flatten(config["callbacks"]).values())
    if "current_model_state" in source.content and not averages:
        raise ConfigError(
            f"fork: given {given}, whose weights are an average; allowed: a fork with that average too, such as "
            "callbacks=ema; weights= starts from the average itself"
        )


def copy_state(source: Path, target: Path, folder: Path) -> None:
    """Copy a resume checkpoint, what was best then, what it was trained on, and the rows logged before it."""
    best = resume_files.best_then(target)
    best.mkdir(parents=True, exist_ok=True)
    copies = {
        source.parent.parent / "metrics.csv": folder / "metrics.csv",
        **{file: best / file.name for file in resume_files.best_then(source).glob("*.ckpt")},
        **{file: target.with_name(file.name) for file in source.parent.glob(trained_on.file_of(source, "*").name)},
        # Comes last: the run resumes from it once there.
        source: target,
    }
    for file, copy in copies.items():
        if file.is_file():
            with write_whole(copy, "wb", durable=True) as stream, file.open("rb") as content:
                shutil.copyfileobj(content, stream)


def lr_factor(saved: dict[str, Any], given: dict[str, Any]) -> float:
    """By which factor the learning rates of a fork differ from those of its origin.

    Raises:
        ConfigError: not all by the same factor.
    """
    before, now = flatten(saved), flatten(given)
    rates = {key: (now[key], before[key]) for key in RATES if key in before and key in now}
    for key, (new, old) in rates.items():
        if new != old and not isinstance(old, int | float | None):
            raise ConfigError(f"fork: given {str(old)[:50]!r} as {key} by the checkpoint's config; allowed: a number")
    changed = {key: f"{key}={new} (it has {old})" for key, (new, old) in rates.items() if new != old}
    factors = {new / old if old else math.inf for new, old in rates.values()} if changed else {1.0}
    if math.inf in factors or len(factors) > 1:
        raise ConfigError(f"fork: given {', '.join(changed.values())}; allowed: all rates times the same factor")
    return factors.pop()

"""Where training starts: anew, from weights, or where this run or another one had come to."""

import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from kindling.checkpoints import checkpoint, resume_files
from kindling.checkpoints.checkpoint import PROGRESS, Saved
from kindling.checkpoints.pretrained import load_all_but_head
from kindling.errors import CheckpointError, ConfigError
from kindling.files.whole_file import write_whole
from kindling.process.ranks import is_first_process
from kindling.run_folders.record import RunRecord
from kindling.run_folders.resumption import RATES, flatten, refuse_changes
from kindling.training.task import Task

log = logging.getLogger(__name__)


def starting_point(run: RunRecord) -> Saved | None:
    """The checkpoint that training goes on from; None if it starts anew.

    Raises:
        CheckpointError: there are checkpoints, but none that is whole and can be resumed from.
        ConfigError: a fork would change what its state is made for, or there is nothing to fork from; or the run
            has come further than a limit.
    """
    saved = resume_files.newest_whole(run.folder)
    if saved is None and run.config["fork"]:
        with naming("fork"):
            saved = fork(Path(run.config["fork"]).expanduser(), run)
    if saved is None:
        if run.saved_config is not None:
            tell("resume: %s has no checkpoint yet; it starts over", run.folder)
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
    tell("goes on at epoch %d, batch %d (step %d) in %s", progress["epoch"], progress["batch"], step, run.folder)
    return saved


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Tell a checkpoint that cannot be used as a setting that cannot be right.

    Raises:
        ConfigError: instead of a CheckpointError.
    """
    try:
        yield
    except CheckpointError as error:
        raise ConfigError(f"{key}: {str(error).removeprefix('ckpt: ')}") from error


def refuse_passed_limits(saved: Saved, config: dict[str, Any]) -> None:
    """
    Raises:
        ConfigError: training was to end, under a changed limit, before where it has come to.
    """
    progress = saved.content[PROGRESS]
    come_to = {"max_steps": saved.content["global_step"], "max_epochs": progress["epoch"] + (progress["batch"] > 0)}
    for key, least in come_to.items():
        given, before = config["trainer"].get(key), saved.config["trainer"].get(key)
        if given != before and isinstance(given, int) and 0 <= given < least:
            raise ConfigError(f"trainer.{key}: given {given}; allowed: {least} or more, which the run has come to")


def fork(given: Path, run: RunRecord) -> Saved:
    """Copy what another run had come to into the folder of this one.

    Raises:
        CheckpointError: there is no whole checkpoint to go on from.
        ConfigError: this run has settings that the other's state does not fit.
    """
    if not given.exists():
        raise CheckpointError(f"given {given}, which does not exist; allowed: a run folder or a checkpoint file")
    source = resume_files.newest_whole(given) if given.is_dir() else checkpoint.load_file(given)
    if source is None or PROGRESS not in source.content:
        raise CheckpointError(
            f"given {given}, which holds nothing to go on from; allowed: a run folder or one of its "
            "checkpoints/step_*.ckpt; weights= starts from the weights of any checkpoint"
        )
    refuse_changes(source.config, run.config, fork=True)
    averages = any(".averages." in str(each) for each in flatten(run.config["callbacks"]).values())
    if "current_model_state" in source.content and not averages:
        raise ConfigError(
            f"fork: given {given}, whose weights are an average; allowed: a fork with that average too, such as "
            "callbacks=ema; weights= starts from the average itself"
        )
    refuse_passed_limits(source, run.config)
    rate_factor(source.config, run.config)
    target = run.folder / "checkpoints" / f"step_{source.content['global_step']:09}.ckpt"
    if is_first_process():
        best = resume_files.best_then(target)
        best.mkdir(parents=True, exist_ok=True)
        copies = {
            source.path.parent.parent / "metrics.csv": run.folder / "metrics.csv",
            **{file: best / file.name for file in resume_files.best_then(source.path).glob("*.ckpt")},
            source.path: target,  # last, since this run goes on from it as soon as it is there
        }
        for file, copy in copies.items():
            if file.is_file():
                with write_whole(copy, "wb", durable=True) as stream, file.open("rb") as content:
                    shutil.copyfileobj(content, stream)
    tell("fork: of %s", source.path)
    return Saved(target, source.content)


def rate_factor(saved: dict[str, Any], given: dict[str, Any]) -> float:
    """What the rates of a fork are those of its origin times.

    Raises:
        ConfigError: not all by the same factor.
    """
    before, now = flatten(saved), flatten(given)
    rates = {key: (now[key], before[key]) for key in RATES if key in before and key in now}
    changed = {key: f"{key}={new} (it has {old})" for key, (new, old) in rates.items() if new != old}
    factors = {new / old if old else math.inf for new, old in rates.values()} if changed else {1.0}
    if math.inf in factors or len(factors) > 1:
        raise ConfigError(f"fork: given {', '.join(changed.values())}; allowed: all rates times the same factor")
    return factors.pop()


def load_start(classifier: Task, start: Saved | None, rollbacks: list[list[int]]) -> None:
    """Give a classifier what it starts with: weights, and how its rates differ from what the checkpoint says.

    Raises:
        CheckpointError: the weights are damaged or of another model.
    """
    config = classifier.config
    if start:
        checkpoint.load_weights(classifier, start.content["state_dict"], start.path)
        classifier.lr_factor = rate_factor(start.config, config)
    elif config["weights"]:
        with naming("weights"):
            start_with(classifier, checkpoint.load_file(checkpoint.find(config["weights"])), config["train"])
    if rollbacks:
        since_start = len(rollbacks) - len(start.content["rollbacks"] if start else [])
        classifier.lr_factor *= config["rollback"]["lr_factor"] ** since_start
        classifier.rollbacks = rollbacks
    classifier.skips_batches = config["rollback"]["skip_batch"]


def start_with(classifier: Task, given: Saved, trains: bool) -> None:
    """Give a classifier the weights of a checkpoint; the last layer is new if it is trained for other classes.

    Raises:
        CheckpointError: they are of another model.
    """
    weights: dict[str, Any] = given.content["state_dict"]
    if not trains:
        own = {key: value for key, value in classifier.state_dict().items() if key.startswith("criterion.")}
        checkpoint.load_weights(
            classifier, {k: v for k, v in weights.items() if k.startswith("net.")} | own, given.path
        )
        return
    try:
        net = {key.removeprefix("net."): value for key, value in weights.items() if key.startswith("net.")}
        is_new = load_all_but_head(classifier.net, net)
    except CheckpointError as error:
        raise CheckpointError(
            f"{given.path}: a checkpoint of another model; {error}; set the model it was of"
        ) from error
    if is_new:
        tell("weights: the last layer is new, as it has another shape in %s", given.path)


def hide_void_events(loggers: list[Logger], start: Saved | None) -> None:
    """Let TensorBoard hide what a killed process wrote after the checkpoint; set before it opens its file."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger._kwargs["purge_step"] = start.content[PROGRESS]["logged_steps"] if start else 0


def tell(message: str, *values: object) -> None:
    if is_first_process():
        log.info(message, *values)

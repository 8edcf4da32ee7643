"""Evaluate a checkpoint: numbers into metrics.json, and the pictures that its kind of data has."""

import json
import logging
import math
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig

from kindling.checkpoints import checkpoint, trained_on
from kindling.checkpoints.described import blamed_on, build, section
from kindling.checkpoints.downloads import no_downloads
from kindling.config.check.command_line import refuse
from kindling.config.composition import instantiate, to_plain
from kindling.config.rules.run_rules import one_checkpoint_is_named
from kindling.console import print_results, set_up_logging
from kindling.data.datamodule import DataModule
from kindling.data.measured import Measured, measure, place_of, stage_of
from kindling.data.processor import Evaluated
from kindling.errors import ConfigError, DataError, OtherDataError
from kindling.files.whole_file import write_whole
from kindling.inference.computing import compute_by
from kindling.inference.processors import processor_of
from kindling.lightning_internals.overhead import reduce_overhead
from kindling.run_folders.results_folder import hash_of, results_folder
from kindling.run_folders.saved_run import run_of
from kindling.stages import Stage
from kindling.training.keep_outputs import KeepOutputs
from kindling.training.other_names import NAMES
from kindling.training.rebuild import rebuild
from kindling.training.task import bookkeeping_of

log = logging.getLogger(__name__)
# Settings of the data that change no result.
HOW_IT_IS_READ = {"batch_size", "num_workers", "prefetch_factor", "pin_memory", "persistent_workers", "cache_dir"}


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Rebuild model and data from a checkpoint and measure them on a split; returns e.g. test/accuracy.

    Raises:
        KindlingError: the checkpoint or its data cannot be read.
    """
    set_up_logging()
    refuse([*one_checkpoint_is_named(to_plain(cfg))])
    path = checkpoint.find(str(cfg.run or cfg.ckpt))
    with blamed_on(path):
        return evaluated(path, cfg)


def evaluated(path: Path, cfg: DictConfig) -> dict[str, float]:
    """The same of a checkpoint file.

    Raises:
        KindlingError: as `evaluate`.
    """
    saved = checkpoint.load(path)
    description = saved[checkpoint.DESCRIPTION]
    task = rebuild(saved, path)
    set_views(task, cfg)
    processor = processor_of(task, path)
    data = same_data(description, cfg, is_evaluated=True)
    trained = partial(trained_on.read, path)
    is_own = is_as_in_training(data, description, path, cfg)
    measured = measure(data, cfg.split, trained, is_own=is_own, include_train=cfg.include_train)
    kept = KeepOutputs(processor.keep) if processor else None
    trainer = run(task, data, kept, description["config"], cfg)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    name = results_name(path, cfg, measured, None if is_own else other_data(data, cfg))
    folder = results_folder(path, name, Path(cfg.paths.logs).expanduser())
    report: dict[str, Any] = {}
    if processor and kept:
        examples = getattr(getattr(data, "splits", None), measured.stage, None)
        compute = compute_by(task, trainer.strategy.root_device)
        report = processor.report(Evaluated(*kept.joined(), measured.stage, examples, compute), folder)
    else:
        lacks = "gives no outputs in its steps" if processor else "has no processor"
        log.info("%s %s: what it logs is all that is reported", type(task).__name__, lacks)
    further = {name: value for name, value in report.items() if name.startswith(f"{measured.stage}/")}
    entries = {name: value for name, value in report.items() if name not in further}
    # What the task logs itself stays as it is.
    metrics = renamed(further | logged, measured)
    said = {"checkpoint": str(path), "data": asdict(measured), "views": views_of(task, measured.stage)}
    with write_whole(folder / "metrics.json") as stream:
        json.dump(without_nan(said | metrics | entries), stream, indent=2, ensure_ascii=False)
    # The page of a server shows the examples.
    pictures = sorted(file.name for file in folder.glob("*.png") if not file.name.startswith("example_"))
    print_results(metrics, "evaluation", folder, pictures)
    return metrics


def run(task: LightningModule, data: Any, kept: Callback | None, config: dict[str, Any], cfg: DictConfig) -> Trainer:
    """A pass over what is measured; returns its Trainer."""
    bookkeeping = bookkeeping_of(task)(config.get("seed") or 0)
    callbacks = [bookkeeping, *([kept] if kept is not None else [])]
    precision = section(config, "trainer").get("precision")
    trainer = reduce_overhead(instantiate(cfg.trainer, "trainer", callbacks=callbacks, precision=precision))
    if trainer.world_size > 1:
        raise ConfigError(f"trainer.devices: given {cfg.trainer.devices}; allowed: 1, as a report is of all examples")
    measured = trainer.validate if stage_of(cfg.split) == "val" else trainer.test
    with downloads_of(cfg):
        measured(task, datamodule=data, verbose=False)
    return trainer


def set_views(task: Any, cfg: DictConfig) -> None:
    """
    Raises:
        ConfigError: the task averages no views.
    """
    if cfg.views is None:
        return
    if not isinstance(getattr(task, "views", None), dict):
        raise ConfigError(
            f"views: given {cfg.views} for {type(task).__name__}, which averages no views; allowed: null; leave it out"
        )
    task.views[stage_of(cfg.split)] = cfg.views


def views_of(task: Any, stage: Stage) -> str | None:
    """Those that are averaged; None for a task that averages none."""
    views = getattr(task, "views", None)
    return views.get(stage) if isinstance(views, dict) else None


def renamed(metrics: dict[str, float], measured: Measured) -> dict[str, float]:
    """Metrics of the steps of test, named for what they are of, such as all/loss."""
    stage, split = measured.stage, measured.split
    return {re.sub(rf"^{stage}(?=[/_.])", split, name): value for name, value in metrics.items()}


def same_data(description: dict[str, Any], cfg: DictConfig, *, is_evaluated: bool = False) -> Any:
    """The data that the model was trained with, perhaps from another root.

    Args:
        description: of the checkpoint.
        cfg: of the command.
        is_evaluated: whether it may lack what is only trained on, and classes.

    Raises:
        ConfigError: a setting is given that the data does not have.
        DataError: it cannot be read.
        OtherDataError: names of its inputs or outputs are others.
    """
    overrides = overrides_of(cfg)
    saved = section(description["config"], "data")
    for key in overrides.keys() - saved.keys():
        raise ConfigError(
            f"data.{key}: given {overrides[key]!r}; the data that the model was trained with has no {key}"
        )
    # Their arguments may have been others then.
    plain = dict.fromkeys(saved.keys() & {"augment", "transform"})
    # Where files are written, no checkpoint says.
    own = {"cache_dir": str(cfg.paths.cache)} if "cache_dir" in saved else {}
    with downloads_of(cfg), naming_what_has_moved(saved, cfg):
        data = build(saved | plain | own | overrides, "data", LightningDataModule)
        if is_evaluated and isinstance(data, DataModule):
            data.known = description["facts"]
        data.prepare_data()
        found, known = getattr(data, "facts", {}), description["facts"]
    for name in NAMES:
        if name in known and found.get(name) != known[name]:
            raise OtherDataError(f"data: given the {name} {found.get(name)!r}; the model knows {known.get(name)!r}")
    return data


def overrides_of(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the data that the command gives."""
    return {str(key): value for key, value in cfg.data.items() if value is not None}


def is_as_in_training(data: Any, description: dict[str, Any], path: Path, cfg: DictConfig) -> bool:
    """Whether it is the data that the run had, at the same place or moved, with settings that mean the same."""
    saved = section(description["config"], "data")
    other = {key: value for key, value in overrides_of(cfg).items() if key not in HOW_IT_IS_READ}
    # A text may be a place or a name: the data tells.
    if not all(isinstance(saved.get(key), str) or saved.get(key) == value for key, value in other.items()):
        return False
    record = run_of(path.resolve().parent.parent) if path.parent.name == "checkpoints" else None
    known, found = (record or {}).get("data_fingerprint"), getattr(data, "fingerprint", None)
    return known == found if known and found else not other


def other_data(data: Any, cfg: DictConfig) -> str:
    """A name for data that is not the run's, which no other data has."""
    settings = {key: value for key, value in overrides_of(cfg).items() if key not in HOW_IT_IS_READ}
    root = str(Path(place_of(data) or "data").absolute())
    told = json.dumps([root, to_plain(settings), getattr(data, "fingerprint", None)], sort_keys=True, default=str)
    name = re.sub(r"[^\w.-]+", "_", Path(root).name)
    return f"{name}--{hash_of(told)}"


@contextmanager
def naming_what_has_moved(saved: dict[str, Any], cfg: DictConfig) -> Iterator[None]:
    """
    Raises:
        DataError: as before, with the setting that says where the data is now.
    """
    try:
        yield
    except DataError as error:
        key = re.match(r"data\.(\w+): ", str(error))
        if not key or key[1] not in saved or cfg.data.get(key[1]) is not None:
            raise
        plus = "" if key[1] in cfg.data else "+"
        raise DataError(f"{error}; if it has moved, {plus}data.{key[1]}=PATH") from error


def downloads_of(cfg: DictConfig) -> AbstractContextManager[None]:
    """Data is downloaded only to a place that the command itself names."""
    return no_downloads("put the data there, or give data.root=") if cfg.data.root is None else nullcontext()


def without_nan(report: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN and no infinity: null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in report.items()}


def results_name(path: Path, cfg: DictConfig, measured: Measured, other: str | None) -> str:
    """Of the folder of the results: the split, and what is not as usual."""
    is_of_run = path.parent.name == "checkpoints"
    stem = path.stem if is_of_run and path.stem != "best" else None
    parts = [measured.split, stem, cfg.views, "with-train" if cfg.include_train else None, other]
    return "-".join(part for part in parts if part)

"""Evaluate a checkpoint: numbers into metrics.json, and the pictures that its kind of data has."""

import json
import logging
import math
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig

from kindling.checkpoints import checkpoint
from kindling.checkpoints.described import blamed_on, build, section
from kindling.checkpoints.downloads import no_downloads
from kindling.config.check.command_line import refuse
from kindling.config.composition import instantiate, to_plain
from kindling.config.rules.run_rules import one_checkpoint_is_named
from kindling.console import print_results, set_up_logging
from kindling.data.datamodule import DataModule
from kindling.data.processor import Evaluated
from kindling.errors import ConfigError, DataError, OtherDataError
from kindling.files.whole_file import remove_abandoned, write_whole
from kindling.inference.computing import compute_by
from kindling.inference.processors import processor_of
from kindling.lightning_internals.overhead import reduce_overhead
from kindling.run_folders.own_files import make_own_folder
from kindling.training.keep_outputs import KeepOutputs
from kindling.training.rebuild import rebuild
from kindling.training.task import bookkeeping_of

log = logging.getLogger(__name__)
# Facts of the data that inputs and outputs are known by.
NAMES = ("classes", "columns", "vocabulary")


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
    data = same_data(description, cfg)
    kept = KeepOutputs(processor.keep) if processor else None
    trainer = run(task, data, kept, description["config"], cfg)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    folder = output_folder(path, cfg)
    report: dict[str, Any] = {}
    if processor and kept:
        examples = getattr(getattr(data, "splits", None), cfg.split, None)
        compute = compute_by(task, trainer.strategy.root_device)
        report = processor.report(Evaluated(*kept.joined(), cfg.split, examples, compute), folder)
    else:
        lacks = "gives no outputs in its steps" if processor else "has no processor"
        log.info("%s %s: what it logs is all that is reported", type(task).__name__, lacks)
    further = {name: value for name, value in report.items() if name.startswith(f"{cfg.split}/")}
    # What the task logs itself stays as it is.
    metrics = logged | {name: value for name, value in further.items() if name not in logged}
    entries = {name: value for name, value in report.items() if name not in further}
    with write_whole(folder / "metrics.json") as stream:
        json.dump(without_nan({"checkpoint": str(path), **metrics, **entries}), stream, indent=2, ensure_ascii=False)
    print_results(metrics, "evaluation", folder)
    return metrics


def run(task: LightningModule, data: Any, kept: Callback | None, config: dict[str, Any], cfg: DictConfig) -> Trainer:
    """A pass over the split; returns its Trainer.

    Raises:
        DataError: the data does not have the split.
    """
    if isinstance(data, DataModule) and cfg.split not in data.present():
        raise DataError(f"split: given {cfg.split}; the data has {', '.join(data.present())}")
    bookkeeping = bookkeeping_of(task)(config.get("seed") or 0)
    callbacks = [bookkeeping, *([kept] if kept is not None else [])]
    precision = section(config, "trainer").get("precision")
    trainer = reduce_overhead(instantiate(cfg.trainer, "trainer", callbacks=callbacks, precision=precision))
    measure = trainer.validate if cfg.split == "val" else trainer.test
    with downloads_of(cfg):
        measure(task, datamodule=data, verbose=False)
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
    task.views[cfg.split] = cfg.views


def same_data(description: dict[str, Any], cfg: DictConfig) -> Any:
    """The data that the model was trained with, perhaps from another root.

    Raises:
        ConfigError: a setting is given that the data does not have.
        DataError: it cannot be read.
        OtherDataError: names of its inputs or outputs are others.
    """
    overrides = {str(key): value for key, value in cfg.data.items() if value is not None}
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
        data.prepare_data()
        found, known = getattr(data, "facts", {}), description["facts"]
    for name in NAMES:
        if name in known and found.get(name) != known[name]:
            raise OtherDataError(f"data: given the {name} {found.get(name)!r}; the model knows {known.get(name)!r}")
    return data


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


def output_folder(path: Path, cfg: DictConfig) -> Path:
    """evaluation/<split> in the run's folder, or below paths.logs if that cannot be written."""
    elsewhere = Path(cfg.paths.logs).expanduser() / "evaluation"
    if path.parent.name == "checkpoints":
        run = path.resolve().parent.parent
        name = cfg.split if path.stem == "best" else f"{cfg.split}-{path.stem}"
        folder = run / "evaluation" / name
        try:
            make_own_folder(folder, run)
            remove_abandoned(folder)
            return folder
        except OSError as error:
            elsewhere = elsewhere / run.name / name
            log.warning("%s cannot be written (%s); results go to %s", folder, error.strerror, elsewhere)
    else:
        elsewhere = elsewhere / path.stem / cfg.split
    elsewhere.mkdir(parents=True, exist_ok=True)
    remove_abandoned(elsewhere)
    return elsewhere

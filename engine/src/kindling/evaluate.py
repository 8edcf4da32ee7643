"""Evaluate a checkpoint: numbers into metrics.json, a confusion matrix and the worst mistakes as pictures."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from omegaconf import DictConfig
from torch import Tensor
from torchmetrics.functional import classification

from kindling.checkpoints import checkpoint
from kindling.checkpoints.described import build, section
from kindling.config.check.command_line import refuse
from kindling.config.composition import instantiate, to_plain
from kindling.config.rules.run_rules import one_checkpoint_is_named
from kindling.console import print_results, set_up_logging
from kindling.errors import ConfigError, DataError
from kindling.files.whole_file import write_whole
from kindling.images.datamodule import ImageDataModule
from kindling.images.keep_logits import KeepLogits
from kindling.images.plots import plot_confusion_matrix, plot_mistakes, save
from kindling.lightning_internals.overhead import reduce_overhead
from kindling.training.rebuild import rebuild
from kindling.training.task import bookkeeping_of

log = logging.getLogger(__name__)
# Bins of the calibration error.
NUM_BINS = 15
TOP_K = (3, 5)


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Rebuild model and data from a checkpoint and measure them on a split; returns e.g. test/accuracy.

    Raises:
        KindlingError: the checkpoint or its data cannot be read.
    """
    set_up_logging()
    refuse([*one_checkpoint_is_named(to_plain(cfg))])
    path = checkpoint.find(str(cfg.run or cfg.ckpt))
    saved = checkpoint.load(path)
    description = saved[checkpoint.DESCRIPTION]
    classes: list[str] = description["facts"].get("classes")
    data = same_data(description["config"], classes, cfg)
    task: Any = rebuild(saved, path)
    kept = KeepLogits()
    bookkeeping = bookkeeping_of(task)(description["config"].get("seed") or 0)
    callbacks = [bookkeeping, *([kept] if isinstance(data, ImageDataModule) else [])]
    precision = section(description["config"], "trainer").get("precision")
    trainer = reduce_overhead(instantiate(cfg.trainer, "trainer", callbacks=callbacks, precision=precision))
    run = trainer.validate if cfg.split == "val" else trainer.test
    if isinstance(data, ImageDataModule):
        task.views[cfg.split] = cfg.views or task.views.get(cfg.split, "none")
    run(task, datamodule=data, verbose=False)
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    folder = output_folder(path, cfg)
    report: dict[str, Any] = {}
    if isinstance(data, ImageDataModule):
        metrics |= summary(kept.logits, kept.labels, cfg.split)
        report = {"classes": per_class(kept.logits, kept.labels, classes)}
        save(plot_confusion_matrix(kept.logits, kept.labels, classes), folder / "confusion_matrix.png")
        images = getattr(data.splits, cfg.split)
        save(plot_mistakes(images, kept.logits, kept.labels, classes), folder / "mistakes.png")
    with write_whole(folder / "metrics.json") as stream:
        json.dump(without_nan({"checkpoint": str(path), **metrics, **report}), stream, indent=2, ensure_ascii=False)
    print_results(metrics, "evaluation", folder)
    return metrics


def same_data(config: dict[str, Any], classes: list[str] | None, cfg: DictConfig) -> Any:
    """The data that the model was trained with, perhaps from another root.

    Raises:
        DataError: its classes are others.
    """
    overrides = {str(key): value for key, value in cfg.data.items() if value is not None}
    saved = section(config, "data")
    for key in overrides.keys() - saved.keys():
        raise ConfigError(
            f"data.{key}: given {overrides[key]!r}; the data that the model was trained with has no {key}"
        )
    # Their arguments may have been others then.
    plain = dict.fromkeys(saved.keys() & {"augment", "transform"})
    data = build(saved | plain | overrides, "data", LightningDataModule)
    data.prepare_data()
    found = getattr(data, "facts", {}).get("classes")
    if found != classes:
        raise DataError(f"data: given the classes {found}; the model knows {classes}")
    return data


def without_nan(report: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN and no infinity: null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in report.items()}


def summary(logits: Tensor, labels: Tensor, split: str) -> dict[str, float]:
    """Top-k accuracy and the expected calibration error (arXiv 1706.04599), of logits (N, K) and labels (N,)."""
    num_classes = logits.shape[1]
    metrics = {}
    for k in TOP_K:
        if k < num_classes:
            hits = (logits.topk(k).indices == labels[:, None]).any(1)
            metrics[f"{split}/top{k}_accuracy"] = hits.double().mean().item()
    error = classification.multiclass_calibration_error(logits.softmax(1), labels, num_classes, n_bins=NUM_BINS)
    return metrics | {f"{split}/calibration_error": error.item()}


def per_class(logits: Tensor, labels: Tensor, classes: list[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and the number of images of each class."""
    arguments = {"preds": logits, "target": labels, "num_classes": len(classes), "average": None}
    precision = classification.multiclass_precision(**arguments)
    recall = classification.multiclass_recall(**arguments)
    f1 = classification.multiclass_f1_score(**arguments)
    counts = labels.bincount(minlength=len(classes))
    columns = torch.stack([precision, recall, f1]).T.tolist()
    return {
        name: {"precision": p, "recall": r, "f1": f, "images": n}
        for name, (p, r, f), n in zip(classes, columns, counts.tolist(), strict=True)
    }


def output_folder(path: Path, cfg: DictConfig) -> Path:
    """evaluation/<split> in the run's folder, or below paths.logs if that cannot be written."""
    elsewhere = Path(cfg.paths.logs).expanduser() / "evaluation"
    if path.parent.name == "checkpoints":
        run = path.resolve().parent.parent
        name = cfg.split if path.stem == "best" else f"{cfg.split}-{path.stem}"
        folder = run / "evaluation" / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "metrics.json").touch()
            return folder
        except OSError as error:
            elsewhere = elsewhere / run.name / name
            log.warning("%s cannot be written (%s); results go to %s", folder, error.strerror, elsewhere)
    else:
        elsewhere = elsewhere / path.stem / cfg.split
    elsewhere.mkdir(parents=True, exist_ok=True)
    return elsewhere

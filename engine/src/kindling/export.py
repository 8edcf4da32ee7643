"""Export a checkpoint as a model folder, once the exported model has proven to be the same."""

import json
import logging
import math
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from rich.console import Console

from kindling.checkpoints import checkpoint
from kindling.config.check.command_line import refuse
from kindling.config.composition import in_sweep, to_plain
from kindling.config.extras import EXTRAS, optional
from kindling.config.rules.run_rules import one_checkpoint_is_named
from kindling.console import as_text, set_up_logging
from kindling.errors import ConfigError
from kindling.evaluate import same_data
from kindling.files.whole_file import write_whole
from kindling.files.whole_folder import refuse_others, write_whole_folder
from kindling.images.datamodule import ImageDataModule
from kindling.inference import model_folder
from kindling.inference.exporting import formats, int8, parity, timing
from kindling.inference.exporting.exported_graph import exported_graph
from kindling.inference.exporting.readme import readme
from kindling.inference.exporting.trained import Trained
from kindling.inference.model_folder import AOT_FILE, DESCRIPTION, FILES, ModelFolder, sha256_of
from kindling.inference.predicting.tables import encodable
from kindling.inference.runtimes import open_file
from kindling.process.cores import available_cores
from kindling.training.rebuild import net_of, rebuild

log = logging.getLogger(__name__)
PACKAGES = {format: EXTRAS["export"] if file.endswith(".onnx") else () for format, file in FILES.items()}
NAMES = {*FILES.values(), AOT_FILE, DESCRIPTION, "README.md"}


def export(cfg: DictConfig) -> dict[str, float]:
    """Rebuild a model from a checkpoint and write it as a model folder; returns how it compares with PyTorch.

    Raises:
        KindlingError: the checkpoint or its data cannot be read, or the format cannot hold the model.
    """
    set_up_logging()
    refuse([*one_checkpoint_is_named(to_plain(cfg))])
    if in_sweep() and cfg.output is not None:
        raise ConfigError(f"output: given {cfg.output} to each job of --multirun; leave it out: each has a folder then")
    refuse_what_is_missing(cfg)
    path = checkpoint.find(str(cfg.run or cfg.ckpt))
    target = output_folder(path, cfg)
    saved = checkpoint.load(path)
    description = saved[checkpoint.DESCRIPTION]
    data = same_data(description, cfg)
    data.setup("validate")
    net = net_of(rebuild(saved, path), path).float().eval().requires_grad_(False)
    trained = Trained(net, data, cfg.preprocessing)
    with write_whole_folder(target, DESCRIPTION, NAMES) as folder:
        facts = write_model(trained, cfg, folder)
        found = prove(trained, cfg, folder)
        facts |= {"parity": found.as_dict(), **(measure(trained, cfg, folder) if cfg.benchmark else {})}
        described = describe(data, cfg, folder, source(path) | facts)
        described.write(folder)
        with write_whole(folder / "README.md") as stream:
            stream.write(readme(described, str(found)))
        model_folder.read(folder)
    Console().print(f"model folder: {target}", soft_wrap=True, highlight=False, markup=False)
    return {
        "max_logit_difference": found.max_logit_difference,
        "changed_predictions": found.changed_predictions,
        "accuracy_lost": found.lost,
    }


def refuse_what_is_missing(cfg: DictConfig) -> None:
    """
    Raises:
        ConfigError: a package or a compiler that the format takes is not installed.
    """
    for package in PACKAGES[cfg.format]:
        optional(package)
    if cfg.aot and cfg.format != "pt2":
        raise ConfigError(f"aot: given true with format={cfg.format}; allowed: format=pt2, or aot=false")
    if cfg.aot and not compiler():
        raise ConfigError("aot: given true without a C++ compiler; install g++ or clang++, or set aot=false")


def compiler() -> str | None:
    return shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")


def write_model(trained: Trained, cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """The model file of the format; returns what is to be known of it."""
    data = trained.data
    assert data.mean, "checked with the splits"
    assert data.std
    graph = exported_graph(trained.net, data.mean, data.std, preprocessing=cfg.preprocessing)
    batch, _ = next(trained.batches(data.splits.val.take(torch.arange(2) % len(data.splits.val))))
    if cfg.format == "torchscript":
        log.warning("warning: PyTorch has deprecated TorchScript; format=onnx and format=pt2 have a future")
    facts = formats.write(cfg.format, graph, torch.from_numpy(batch), folder, method=cfg.torchscript, aot=cfg.aot)
    if "method" in facts:
        log.info("TorchScript by %s", facts["method"])
    if cfg.format == "int8":
        images = data.splits.train
        # Spread over all classes.
        chosen = torch.linspace(0, len(images) - 1, min(cfg.calibration_images, len(images))).long()
        int8.quantise(folder / FILES["int8"], (each for each, _ in trained.batches(images.take(chosen))))
        facts["calibration_images"] = len(chosen)
    return facts


def model_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if file.name in (*FILES.values(), AOT_FILE)]


def prove(trained: Trained, cfg: DictConfig, folder: Path) -> parity.Parity:
    """
    Raises:
        ExportError: the exported model is another one.
    """
    found = parity.Parity()
    for file in model_files(folder):
        found = parity.measure(trained.compute, open_file(file), trained.batches(trained.data.splits.val))
        found.refuse(cfg.format)
        log.info("%s: %s", file.name, found)
    return found


def measure(trained: Trained, cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Print the times of PyTorch and of the exported model, and return them."""
    files = {file.name: file for file in model_files(folder)}
    weights = sum(each.nbytes for each in trained.net.state_dict().values())
    before, threads = torch.get_num_threads(), cfg.threads or available_cores()
    torch.set_num_threads(threads)
    try:
        variants: dict[str, Callable[[np.ndarray], Any]] = {"PyTorch": trained.in_pytorch()}
        variants |= {name: open_file(file, threads) for name, file in files.items()}
        images, _ = next(trained.batches(trained.data.splits.val))
        seconds = timing.latencies(variants, images)
    finally:
        torch.set_num_threads(before)
    sizes = {"PyTorch": weights} | {name: file.stat().st_size for name, file in files.items()}
    print(as_text(timing.table(seconds, sizes, threads)), end="")
    rows = {
        name: {"bytes": sizes[name], **{f"batch_{size}_s": each for size, each in times.items()}}
        for name, times in seconds.items()
    }
    return {"benchmark": {"threads": threads, **rows}}


def describe(data: ImageDataModule, cfg: DictConfig, folder: Path, about: dict[str, Any]) -> ModelFolder:
    if (folder / AOT_FILE).exists():
        about["aot_sha256"] = sha256_of(folder / AOT_FILE)
    return ModelFolder(
        format=cfg.format,
        classes=[encodable(name) for name in data.splits.classes],
        image_size=data.image_size,
        channels=data.channels,
        mean=each_channel(data.mean, data.channels),
        std=each_channel(data.std, data.channels),
        preprocessing=cfg.preprocessing,
        sha256=sha256_of(folder / FILES[cfg.format]),
        about=about | {"versions": {name: metadata.version(name) for name in ("torch", *PACKAGES[cfg.format])}},
    )


def each_channel(numbers: list[float] | None, channels: int) -> list[float]:
    """One number may stand for all channels."""
    assert numbers, "checked with the splits"
    return [*numbers] * (channels // len(numbers))


def source(path: Path) -> dict[str, Any]:
    """Where a checkpoint comes from, without a path of this machine: the model may be given away."""
    found: dict[str, Any] = {"checkpoint": path.name, "checkpoint_sha256": sha256_of(path)}
    folder = run_folder(path)
    if folder is None:
        return found
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        metrics = metrics_of_the_best(record) if path.stem == "best" else {}
        commit = record["git"] and str(record["git"]["commit"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return found | {"run": folder.name}
    return found | {"run": folder.name, "git_commit": commit, "metrics": metrics}


def metrics_of_the_best(record: dict[str, Any]) -> dict[str, float]:
    """Of run.json, where those of training and validation are of the last epoch."""
    found = {str(name): value for name, value in record["metrics"].items() if str(name).startswith("test/")}
    found[str(record["best"]["monitor"])] = record["best"]["score"]
    return {name: value for name, value in found.items() if isinstance(value, float) and math.isfinite(value)}


def run_folder(path: Path) -> Path | None:
    """That a checkpoint lies in."""
    return path.resolve().parent.parent if path.parent.name == "checkpoints" else None


def output_folder(path: Path, cfg: DictConfig) -> Path:
    """What was given; else export/<format> in the run's folder, or below paths.logs if that cannot be written."""
    if cfg.output is not None:
        target = Path(cfg.output).expanduser().absolute()
        refuse_others(target, DESCRIPTION, NAMES)
        return target
    run = run_folder(path)
    name = cfg.format if path.stem == "best" or run is None else f"{cfg.format}-{path.stem}"
    elsewhere = Path(cfg.paths.logs).expanduser() / "export" / (run.name if run else path.stem) / name
    if run is None:
        return elsewhere
    target = run / "export" / name
    try:
        target.parent.mkdir(exist_ok=True)
        trial = target.parent / ".trial"
        trial.touch()
        trial.unlink()
    except OSError as error:
        log.warning("%s cannot be written (%s); the model goes to %s", target, error.strerror, elsewhere)
        return elsewhere
    refuse_others(target, DESCRIPTION, NAMES)
    return target

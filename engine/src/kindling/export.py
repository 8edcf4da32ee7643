"""Export a checkpoint as a model folder, once the exported model has proven to be the same."""

import copy
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from rich.console import Console

from kindling.checkpoints import checkpoint
from kindling.checkpoints.described import blamed_on
from kindling.config.check.command_line import refuse
from kindling.config.composition import in_sweep, to_plain
from kindling.config.extras import EXTRAS, optional
from kindling.config.rules.run_rules import one_checkpoint_is_named
from kindling.console import as_text, set_up_logging, shown
from kindling.data.datamodule import DataModule
from kindling.data.examples import num_examples, take
from kindling.errors import ConfigError, DataError, OtherDataError, one_line
from kindling.evaluate import same_data
from kindling.files.names import encodable
from kindling.files.whole_file import write_whole
from kindling.files.whole_folder import refuse_others, write_whole_folder
from kindling.images import decoding
from kindling.images.processor import ImageProcessor, classifies
from kindling.inference import model_folder, weights_folder
from kindling.inference.exporting import formats, int8, parity, timing
from kindling.inference.exporting.card import card
from kindling.inference.exporting.exported_graph import signature_of
from kindling.inference.exporting.readme import readme
from kindling.inference.exporting.refusals import preprocessing_of, refuse_unknown_text
from kindling.inference.exporting.trained import Trained
from kindling.inference.model_folder import AOT_FILE, DESCRIPTION, FILES, ModelFolder, sha256_of
from kindling.inference.origin import run_folder, source
from kindling.inference.processors import needed_processor_of
from kindling.inference.runtimes import open_file
from kindling.process.cores import available_cores
from kindling.run_folders.own_files import make_own_folder
from kindling.training.rebuild import rebuild
from kindling.training.task import Task

log = logging.getLogger(__name__)
PACKAGES = {format: EXTRAS["export"] if file.endswith(".onnx") else () for format, file in FILES.items()}
NAMES = {*FILES.values(), AOT_FILE, DESCRIPTION, weights_folder.CONFIG, "README.md", Path(decoding.__file__).name}


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
    with blamed_on(path := checkpoint.find(str(cfg.run or cfg.ckpt))):
        saved = checkpoint.load(path)
        task = rebuild(saved, path)
        processor = needed_processor_of(task, path)
        carried = processor.as_dict()
        refuse_unknown_text(processor)
        assert isinstance(task, Task), "it has a processor"
        preprocessing = preprocessing_of(processor, cfg)
        target = output_folder(path, cfg)
        data = data_if_there(saved[checkpoint.DESCRIPTION], cfg)
        trained = Trained(task, processor, data, preprocessing=preprocessing)
        with write_whole_folder(target, DESCRIPTION, NAMES) as folder:
            facts = write_model(trained, cfg, folder, saved[checkpoint.DESCRIPTION])
            found = prove(trained, cfg, folder)
            facts |= {"parity": found.as_dict(), **(measure(trained, cfg, folder) if cfg.benchmark else {})}
            described = describe(
                carried,
                cfg,
                folder,
                source(path, saved[checkpoint.DESCRIPTION]["config"]) | facts,
                preprocessing=preprocessing,
            )
            described.write(folder)
            with write_whole(folder / "README.md") as stream:
                is_card = cfg.format == "safetensors"
                stream.write(card(trained, described, folder, path) if is_card else readme(described, str(found)))
            if isinstance(processor, ImageProcessor):
                shutil.copy(decoding.__file__, folder)
            model_folder.read(folder)
        Console().print(f"model folder: {shown(target)}", soft_wrap=True, highlight=False, markup=False)
        return found.figures()


def data_if_there(description: dict[str, Any], cfg: DictConfig) -> Any:
    """The data that the model was trained with; None if it is gone, which is told.

    Raises:
        DataError: int8 needs it, the command says where it is, or it is other data.
    """
    try:
        data = same_data(description, cfg)
        data.splits if isinstance(data, DataModule) else data.setup("validate")
    except (DataError, OSError) as error:
        is_given = any(value is not None for value in cfg.data.values())
        if isinstance(error, OtherDataError) or cfg.format == "int8" or is_given:
            raise
        log.warning("warning: %s; the export is compared with PyTorch on made-up inputs", one_line(error))
        return None
    if isinstance(data, DataModule):
        data.setup("validate")
    return data


def refuse_what_is_missing(cfg: DictConfig) -> None:
    """
    Raises:
        ConfigError: a package or a compiler that the format takes is not installed.
    """
    for package in PACKAGES[cfg.format]:
        optional(package)
    if cfg.preprocessing and cfg.format == "safetensors":
        raise ConfigError(
            "preprocessing: given true with format=safetensors, which holds weights alone; allowed: null or false"
        )
    if cfg.aot and cfg.format != "pt2":
        raise ConfigError(f"aot: given true with format={cfg.format}; allowed: format=pt2, or aot=false")
    if cfg.aot and not compiler():
        raise ConfigError("aot: given true without a C++ compiler; install g++ or clang++, or set aot=false")


def compiler() -> str | None:
    return shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")


def write_model(trained: Trained, cfg: DictConfig, folder: Path, description: dict[str, Any]) -> dict[str, Any]:
    """The model file of the format; returns what is to be known of it."""
    signature = signature_of(trained.processor, preprocessing=trained.normalize is not None)
    if cfg.format == "torchscript":
        log.warning("warning: PyTorch has deprecated TorchScript; format=onnx and format=pt2 have a future")
    example = trained.example()
    how = {"method": cfg.torchscript, "aot": cfg.aot, "signature": signature}
    facts: dict[str, Any] = {}
    if cfg.format == "safetensors":
        weights_folder.write(folder, trained.net, description)
    else:
        facts = formats.write(cfg.format, trained.graph, example, folder, **how)
    if not trained.processor.is_ready_made:
        facts["takes"] = {"shape": list(example.shape[1:]), "dtype": str(example.dtype).removeprefix("torch.")}
    if "method" in facts:
        log.info("TorchScript by %s", facts["method"])
    if cfg.format == "int8":
        loader = calibration(trained.data, cfg.calibration_images)
        batches = (inputs for inputs, _ in trained.batches(loader))
        facts["calibration_images"] = int8.quantise(folder / FILES["int8"], batches, cfg.calibration_images)
    return facts


def calibration(data: Any, num: int) -> Any:
    """Batches of training examples as the validation has them, spread over all classes; of foreign data its own."""
    if not isinstance(data, DataModule):
        return data.train_dataloader()
    examples = data.splits.train
    length = num_examples(examples)
    chosen = torch.linspace(0, length - 1, min(num, length)).long()
    calibrating = copy.copy(data)
    calibrating.__dict__["splits"] = replace(data.splits, train=take(examples, chosen))
    return calibrating.loader("train")


def model_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if file.name in (*FILES.values(), AOT_FILE)]


def prove(trained: Trained, cfg: DictConfig, folder: Path) -> parity.Parity:
    """
    Raises:
        ExportError: the exported model is another one.
    """
    kind, has_classes = trained.processor.kind, bool(trained.classes)
    are_logits = kind == "text" or classifies(trained.processor)
    names = {"image": "images", "rows": "rows", "text": "texts"}[kind], "logits" if are_logits else "outputs"
    origin = "validation" if trained.data is not None else "made-up"
    found = parity.Parity(*names, has_classes, origin)
    for file in model_files(folder):
        batches, empty = trained.validation(), parity.Parity(*names, has_classes, origin)
        found = parity.measure(trained.compute, open_file(file), batches, empty, any_length=kind == "text")
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
        inputs, _ = next(trained.validation())
        seconds = timing.latencies(variants, inputs)
    finally:
        torch.set_num_threads(before)
    sizes = {"PyTorch": weights} | {name: file.stat().st_size for name, file in files.items()}
    print(as_text(timing.table(seconds, sizes, threads)), end="")
    rows = {
        name: {"bytes": sizes[name], **{f"batch_{size}_s": each for size, each in times.items()}}
        for name, times in seconds.items()
    }
    return {"benchmark": {"threads": threads, **rows}}


def describe(
    processor: dict[str, Any], cfg: DictConfig, folder: Path, about: dict[str, Any], *, preprocessing: bool
) -> ModelFolder:
    if (folder / AOT_FILE).exists():
        about["aot_sha256"] = sha256_of(folder / AOT_FILE)
    if "classes" in processor:
        processor["classes"] = [encodable(name) for name in processor["classes"]]
    return ModelFolder(
        format=cfg.format,
        processor=processor,
        preprocessing=preprocessing,
        sha256=sha256_of(folder / FILES[cfg.format]),
        about=about | {"versions": {name: metadata.version(name) for name in ("torch", *PACKAGES[cfg.format])}},
    )


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
        make_own_folder(target.parent, run)
    except OSError as error:
        log.warning("%s cannot be written (%s); the model goes to %s", target, error.strerror, elsewhere)
        return elsewhere
    refuse_others(target, DESCRIPTION, NAMES)
    return target

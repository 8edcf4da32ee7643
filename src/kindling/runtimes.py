"""What computes an exported model: ONNX Runtime, or torch. Each takes pixels and gives probabilities."""

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kindling import model_folder
from kindling.errors import ConfigError
from kindling.model_folder import FILES, ModelFolder

EXTRAS = {"onnxruntime": "export", "pyarrow": "parquet"}


Runtime = Callable[[np.ndarray], np.ndarray]  # pixels (N, H, W, C) uint8 -> probabilities (N, K) float32


def open_model(folder: Path, threads: int | None = None) -> tuple[ModelFolder, Runtime]:
    """An exported model, ready to compute.

    Args:
        folder: that export.py wrote.
        threads: of ONNX Runtime; None for one a core. Those of torch are the process's.

    Raises:
        CheckpointError: as `model_folder.read`.
        ConfigError: a package that it needs is not installed.
    """
    described = model_folder.read(folder)
    file = folder / FILES[described.format]
    run = open_onnx(file, threads) if file.suffix == ".onnx" else _open_torch(file)
    return described, run if described.preprocessing else _with_preprocessing(run, described)


def open_onnx(file: Path, threads: int | None = None) -> Runtime:
    """The first output of an ONNX model, computed on the CPU."""
    onnxruntime: Any = optional("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    return lambda images: session.run([output], {name: images})[0]


def _open_torch(file: Path) -> Runtime:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, told at the export
        net: Any = torch.export.load(file).module() if file.suffix == ".pt2" else torch.jit.load(file)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = net(torch.from_numpy(images))
        return (found[0] if isinstance(found, tuple) else found).numpy()

    return run


def _with_preprocessing(run: Runtime, described: ModelFolder) -> Runtime:
    """Of a model that takes normalised images (B, C, H, W) and gives logits."""
    mean, std = (np.array(each, dtype=np.float32) for each in (described.mean, described.std))

    def whole(pixels: np.ndarray) -> np.ndarray:
        images = (pixels.astype(np.float32) / 255 - mean) / std
        logits = run(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    return whole


def optional(package: str) -> ModuleType:
    """A package of one of the extras.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(package, package)
        raise ConfigError(f"{package} is not installed; run: pip install -e '.[{extra}]' -c constraints.txt") from error

"""What computes an exported model: ONNX Runtime, or torch."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kindling.config.extras import optional
from kindling.inference import model_folder
from kindling.inference.model_folder import AOT_FILE, FILES, ModelFolder

DEPRECATED = ".*`torch.jit|.*TorchScript|.*LeafSpec"


# Of images, pixels (N, H, W, C) uint8 -> probabilities (N, K) float32; else what a processor reads -> what it writes.
Runtime = Callable[[np.ndarray], np.ndarray]
# Whatever a model file takes -> all that it gives.
Outputs = Callable[[np.ndarray], list[np.ndarray]]


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
    outputs = open_file(folder / FILES[described.format], threads)
    if described.processor["kind"] == "image" and not described.preprocessing:
        return described, _with_preprocessing(outputs, described)
    return described, lambda inputs: outputs(inputs)[0]


def open_file(file: Path, threads: int | None = None) -> Outputs:
    """All outputs of a model file, computed on the CPU."""
    return _open_onnx(file, threads) if file.suffix == ".onnx" else _open_torch(file)


def _open_onnx(file: Path, threads: int | None) -> Outputs:
    onnxruntime: Any = optional("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Errors alone.
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: session.run(None, {name: inputs})


def _open_torch(file: Path) -> Outputs:
    import torch

    with warnings.catch_warnings():
        # The export has said so.
        warnings.filterwarnings("ignore", message=DEPRECATED)
        if file.name == AOT_FILE:
            net: Any = torch._inductor.aoti_load_package(str(file))
        else:
            net = torch.export.load(file).module() if file.suffix == ".pt2" else torch.jit.load(file)

    def run(inputs: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            found = net(torch.from_numpy(inputs))
        return [each.numpy() for each in (found if isinstance(found, tuple | list) else [found])]

    return run


def _with_preprocessing(outputs: Outputs, described: ModelFolder) -> Runtime:
    """Of a model that takes normalised images (B, C, H, W) and gives logits."""
    mean, std = (_by_channel(described.processor[name]) for name in ("mean", "std"))

    def whole(pixels: np.ndarray) -> np.ndarray:
        images = (pixels.transpose(0, 3, 1, 2).astype(np.float32, order="C") / 255 - mean) / std
        (logits,) = outputs(images)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    return whole


def _by_channel(numbers: list[float]) -> np.ndarray:
    return np.array(numbers, dtype=np.float32).reshape(-1, 1, 1)

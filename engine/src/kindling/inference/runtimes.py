"""What computes an exported model: ONNX Runtime, or torch."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kindling.config.extras import optional
from kindling.errors import CheckpointError, KindlingError, one_line
from kindling.inference import model_folder
from kindling.inference.model_folder import AOT_FILE, DATA, FILES, ModelFolder

# A folder that is not there.
NOWHERE = "/dev/null/nowhere"
_limited = threading.local()
DEPRECATED = ".*`torch.jit|.*TorchScript|.*LeafSpec"


# Of images, pixels (N, H, W, C) uint8 -> probabilities (N, K) float32; else what a processor reads -> what it writes.
Runtime = Callable[[np.ndarray], np.ndarray]
# Whatever a model file takes -> all that it gives.
Outputs = Callable[[np.ndarray], list[np.ndarray]]


def open_model(folder: Path, threads: int | None = None, *, trust: bool = False) -> tuple[ModelFolder, Runtime]:
    """An exported model, ready to compute.

    Args:
        folder: that export.py wrote.
        threads: of ONNX Runtime; None for one a core. Those of torch are the process's.
        trust: whether it may be a program too, which may do anything when it is opened.

    Raises:
        CheckpointError: as `model_folder.read`, or the model file is damaged.
        ConfigError: a package that it needs is not installed.
    """
    described = model_folder.read(folder, FILES if trust else DATA)
    outputs = open_file(folder / FILES[described.format], threads)
    is_own = "_target_" in described.processor
    if described.processor["kind"] == "image" and not described.preprocessing and not is_own:
        return described, _with_preprocessing(outputs, described)
    return described, lambda inputs: outputs(inputs)[0]


def open_file(file: Path, threads: int | None = None) -> Outputs:
    """All outputs of a model file, computed on the CPU; what is not ONNX may do anything when it is opened.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        if file.suffix == ".onnx":
            return _open_onnx(file, threads)
        return _open_weights(file.parent) if file.name == FILES["safetensors"] else _open_torch(file)
    except KindlingError:
        raise
    except Exception as error:
        # Each runtime has errors of its own.
        raise CheckpointError(f"{file}: cannot be opened ({one_line(error)}); export the model anew") from error


def _open_onnx(file: Path, threads: int | None) -> Outputs:
    onnxruntime: Any = optional("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Its errors are raised too.
    options.log_severity_level = 4
    # A model may name files to read its weights from; ours holds them.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
    how = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}
    session = onnxruntime.InferenceSession(file.read_bytes(), options, **how)
    (name,) = [each.name for each in session.get_inputs()]
    return lambda inputs: session.run(None, {name: inputs}, getattr(_limited, "options", None))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """An ONNX model that computes for longer in this thread raises an error: it may be a loop without end."""
    _limited.options = options = optional("onnxruntime").RunOptions()
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        del _limited.options


def _open_torch(file: Path) -> Outputs:
    import torch

    with warnings.catch_warnings():
        # The export has said so.
        warnings.filterwarnings("ignore", message=DEPRECATED)
        # Of torch 2.11 about its own reader of .pt2 files.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        if file.name == AOT_FILE:
            net: Any = torch._inductor.aoti_load_package(str(file))
        else:
            net = torch.export.load(file).module() if file.suffix == ".pt2" else torch.jit.load(file)

    def run(inputs: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            found = net(torch.from_numpy(inputs))
        return [each.numpy() for each in (found if isinstance(found, tuple | list) else [found])]

    return run


def _open_weights(folder: Path) -> Outputs:
    import torch

    from kindling.inference import weights_folder
    from kindling.inference.computing import compute_by

    _, net = weights_folder.read(folder)
    compute = compute_by(net, torch.device("cpu"))
    return lambda inputs: [compute(inputs)]


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

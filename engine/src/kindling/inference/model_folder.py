"""An exported model: the model file, and model.json, which says all that it takes to use it. Needs no torch."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kindling.errors import CheckpointError
from kindling.files.whole_file import write_whole

FORMAT_VERSION = 1
DESCRIPTION = "model.json"
# By format, which is what format= of export.py may be.
FILES = {"onnx": "model.onnx", "pt2": "model.pt2", "torchscript": "model.pt", "int8": "model.onnx"}
# Beside model.pt2, if asked for.
AOT_FILE = "model-aot.pt2"


@dataclass(frozen=True)
class ModelFolder:
    """What model.json says.

    Args:
        format: one of FILES.
        classes: their names, by label.
        image_size: height and width in pixels.
        channels: 1 for grey, 3 for colour.
        mean: of the training pixels, one a channel, in [0, 1].
        std: likewise.
        preprocessing: whether the model takes pixels (B, H, W, C) uint8 and gives probabilities (B, K); else it takes
            normalised images (B, C, H, W) float32 and gives logits (B, K).
        sha256: of the model file.
        about: metrics, source run, versions, parity: what a user may want to know, and no program needs.
    """

    format: str
    classes: list[str]
    image_size: int
    channels: int
    mean: list[float]
    std: list[float]
    preprocessing: bool
    sha256: str
    about: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write model.json beside the model file."""
        with write_whole(folder / DESCRIPTION, durable=True) as stream:
            json.dump({"format_version": FORMAT_VERSION, **asdict(self)}, stream, indent=2, ensure_ascii=False)


def read(folder: Path) -> ModelFolder:
    """The description of an exported model whose file is what it says.

    Raises:
        CheckpointError: there is none, it is damaged, or of another version.
    """
    given = f"model: given {folder}"
    file = folder / DESCRIPTION
    if not file.is_file():
        raise CheckpointError(f"{given}, which lacks {DESCRIPTION}; allowed: a folder that export.py wrote")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("no mapping")
        version = content.pop("format_version")
        if version != FORMAT_VERSION:
            raise CheckpointError(f"{given}, of format version {version!r}; allowed: {FORMAT_VERSION}; export it anew")
        described = ModelFolder(**content)
        model = folder / FILES[described.format]
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        raise CheckpointError(f"{file}: is damaged ({type(error).__name__}: {error}); export the model anew") from error
    _check(described, file)
    if not model.is_file():
        raise CheckpointError(f"{given}, which lacks {model.name}; export the model anew")
    if sha256_of(model) != described.sha256:
        raise CheckpointError(f"{model}: is not the file that was exported, by its checksum; export the model anew")
    return described


def _check(described: ModelFolder, file: Path) -> None:
    sizes, classes = (described.image_size, described.channels), described.classes
    right = (
        all(type(size) is int and size > 0 for size in sizes)
        and isinstance(classes, list)
        and len(classes) > 0
        and all(isinstance(name, str) and _is_text(name) for name in classes)
        and len(set(classes)) == len(classes)
        and all(_are_numbers(each, described.channels) for each in (described.mean, described.std))
        and all(each > 0 for each in described.std)
        and isinstance(described.preprocessing, bool)
        and isinstance(described.about, dict)
    )
    if not right:
        raise CheckpointError(f"{file}: is damaged (sizes, classes, mean and std do not fit); export the model anew")


def _is_text(name: str) -> bool:
    """Whether it can be sent: a file's name may hold bytes that are no text."""
    return name == name.encode("utf-8", "ignore").decode()


def _are_numbers(given: object, number: int) -> bool:
    return (
        isinstance(given, list)
        and len(given) == number
        and all(isinstance(each, int | float) and math.isfinite(each) for each in given)
    )


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

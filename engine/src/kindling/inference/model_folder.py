"""An exported model: the model file, and model.json, which says all that it takes to use it. Needs no torch."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kindling.errors import CheckpointError, one_line
from kindling.files.foreign_file import read_text
from kindling.files.whole_file import write_whole

if TYPE_CHECKING:
    from kindling.data.processor import Processor

VERSIONS = (1, 2, 3)
# Version 2 does not say how images are decoded. Version 1 knew images alone: it had these in place of `processor`.
OF_IMAGES = ("classes", "image_size", "channels", "mean", "std")
DESCRIPTION = "model.json"
# By format, which is what format= of export.py may be.
FILES = {
    "onnx": "model.onnx",
    "pt2": "model.pt2",
    "torchscript": "model.pt",
    "int8": "model.onnx",
    "safetensors": "model.safetensors",
}
# What computes and can do nothing else: torch evaluates texts of a .pt2 as Python, and runs pickles that are in it.
# Weights go into a class that is here, by the rules of a checkpoint.
DATA = ("onnx", "int8", "safetensors")
# No ONNX file can be larger.
MOST_BYTES = 2**31
MOST_DESCRIPTION_BYTES = 2**24
# Pixels, channels or characters.
MOST_SIZE = 2**20
# Of one image: 6,600 pixels a side in colours.
MOST_VALUES = 2**27
# Beside model.pt2, if asked for.
AOT_FILE = "model-aot.pt2"


@dataclass(frozen=True)
class ModelFolder:
    """What model.json says.

    Args:
        format: one of FILES.
        processor: how an input is read and an output written, as `Processor.as_dict` says it.
        preprocessing: of images, whether the model takes pixels (B, H, W, C) uint8 and gives probabilities (B, K);
            else it takes what the processor reads, such as normalised images (B, C, H, W), and gives what it writes.
        sha256: of the model file.
        about: metrics, source run, versions, parity: what a user may want to know, and no program needs.
    """

    format: str
    processor: dict[str, Any]
    preprocessing: bool
    sha256: str
    about: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write model.json beside the model file."""
        with write_whole(folder / DESCRIPTION, durable=True) as stream:
            json.dump({"format_version": VERSIONS[-1], **asdict(self)}, stream, indent=2, ensure_ascii=False)

    def make_processor(self) -> "Processor":
        # A command's check imports this file, but not NumPy.
        from kindling.inference.processors import from_dict

        return from_dict(self.processor)


def read(folder: Path, formats: Collection[str] = tuple(FILES)) -> ModelFolder:
    """The description of an exported model whose file is what it says.

    Raises:
        CheckpointError: there is none, it is damaged, of another version, or of another format.
    """
    described = _described(folder)
    model = folder / FILES[described.format]
    if described.format not in formats:
        raise CheckpointError(
            f"model: given {folder}, whose {model.name} is a program, which may do anything when it is opened; "
            f"allowed: the formats {', '.join(formats)}; if you know who made it, serve.py model=<folder> trust=true"
        )
    if not model.is_file():
        raise CheckpointError(f"model: given {folder}, which lacks {model.name}; export the model anew")
    if model.suffix == ".onnx" and model.stat().st_size > MOST_BYTES:
        raise CheckpointError(f"{model}: has more than {MOST_BYTES} bytes, as no ONNX model has; export the model anew")
    if sha256_of(model) != described.sha256:
        raise CheckpointError(f"{model}: is not the file that was exported, by its checksum; export the model anew")
    return described


def _described(folder: Path) -> ModelFolder:
    given = f"model: given {folder}"
    file = folder / DESCRIPTION
    if not file.is_file():
        raise CheckpointError(f"{given}, which lacks {DESCRIPTION}; allowed: a folder that export.py wrote")
    try:
        content = json.loads(read_text(file, MOST_DESCRIPTION_BYTES))
        if not isinstance(content, dict):
            raise TypeError("no mapping")
        version = content.pop("format_version")
        if version not in VERSIONS:
            raise CheckpointError(
                f"{given}, of format version {version!r}; allowed: {', '.join(map(str, VERSIONS))}; export it anew"
            )
        described = ModelFolder(**(_of_version_1(content) if version == 1 else content))
        if described.format not in FILES:
            raise ValueError(f"format {described.format!r}")
        _check(described, file)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError, RecursionError) as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise CheckpointError(f"{file}: is damaged ({reason}); export the model anew") from error
    return described


def _of_version_1(content: dict[str, Any]) -> dict[str, Any]:
    processor = {"kind": "image", **{name: content.pop(name) for name in OF_IMAGES}}
    return {**content, "processor": processor}


def _check(described: ModelFolder, file: Path) -> None:
    is_right = (
        isinstance(described.processor, dict)
        # What a class of the project is made of, it checks itself.
        and ("_target_" in described.processor or _fits(described.processor))
        and isinstance(described.preprocessing, bool)
        and (not described.preprocessing or described.processor["kind"] == "image")
        and isinstance(described.about, dict)
    )
    if not is_right:
        raise CheckpointError(f"{file}: is damaged (names, sizes and numbers do not fit); export the model anew")
    try:
        described.make_processor()
    except CheckpointError as error:
        raise CheckpointError(f"{file}: is damaged: {error}") from error


def _fits(processor: Mapping[str, Any]) -> bool:
    """Whether names are texts that can be sent, each there once, sizes are above zero and all numbers finite."""
    classes = processor.get("classes", [])
    columns = [each["name"] for name in ("columns", "outputs") for each in processor.get(name, [])]
    sizes = [processor[name] for name in ("image_size", "channels", "block") if name in processor]
    # Pictures are resized before they are cut.
    resize = processor.get("resize") or processor.get("image_size", 1)
    numbers = [processor.get(name) or [] for name in ("mean", "std", "output_mean", "output_std")]
    return (
        isinstance(classes, list)
        and all(_is_text(name) for name in [*classes, *columns, processor.get("vocabulary", "")])
        and len(set(classes)) == len(classes)
        and all(type(size) is int and 0 < size < MOST_SIZE for size in [*sizes, resize])
        and processor.get("image_size", 1) <= resize
        and resize**2 * processor.get("channels", 1) <= MOST_VALUES
        and processor.get("interpolation", "bilinear") in ("bilinear", "bicubic")
        and all(_are_numbers(each) for each in numbers)
        and all(each > 0 for spread in numbers[1::2] for each in spread)
        and all(len(each) == processor["channels"] for each in numbers[:2] if "channels" in processor)
    )


def _is_text(name: Any) -> bool:
    """Whether it can be sent: a file's name may hold bytes that are no text."""
    return isinstance(name, str) and name == name.encode("utf-8", "ignore").decode()


def _are_numbers(given: object) -> bool:
    return isinstance(given, list) and all(isinstance(each, int | float) and math.isfinite(each) for each in given)


def sha256_of(file: Path) -> str:
    # Files of the kernel have no size, and some wait for more to read.
    if not file.stat().st_size:
        return hashlib.sha256().hexdigest()
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

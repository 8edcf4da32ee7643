"""An image of any size into pixels, and the probabilities of classes out. Needs no torch."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeGuard

import numpy as np
from PIL import Image

from kindling.data.processor import Column, Evaluated, Processor, class_columns, probabilities_by_name
from kindling.errors import ConfigError, DataError
from kindling.images.decoding import SETTINGS, VERSIONS, Decoding

ALLOWED = "a path, bytes of an image file, a PIL image, a NumPy array or a tensor, or a list of them"


class ImageProcessor(Processor):
    """Images with one label each.

    An image becomes (C, H, W) float32, resized like those of an evaluation and normalised; logits (K,) become
    probabilities.

    Args:
        classes: their names, by label.
        image_size: height and width in pixels.
        channels: 1 for grey, 3 for colour.
        mean: of the training pixels, one a channel or one for all, in [0, 1].
        std: likewise.
        decoding: the version of how pixels are made.
        settings: further ones of Decoding.
    """

    kind = "image"

    def __init__(
        self,
        classes: Sequence[str],
        image_size: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        decoding: int = VERSIONS[-1],
        **settings: Any,
    ):
        if not classes:
            raise ConfigError("processor.classes: given none; allowed: a name for each label")
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, channels):
                raise ConfigError(f"processor.{name}: given {len(values)} numbers; allowed: {channels}, one a channel")
        self.classes = tuple(map(str, classes))
        self.image_size, self.channels = image_size, channels
        self.decoding = Decoding(image_size, channels, **settings, version=decoding)
        self.mean, self.std = (list(map(float, each)) * (channels // len(each)) for each in (mean, std))

    @property
    def inputs(self) -> tuple[Column, ...]:
        return (Column("image", "image"),)

    @property
    def outputs(self) -> tuple[Column, ...]:
        return class_columns(self.classes)

    def pixels(self, raw: Any, name: str = "image") -> np.ndarray:
        """A path, bytes, a PIL image or an array -> (H, W, C) uint8 of the model's own size.

        Raises:
            DataError: it cannot be read, or is of another kind.
        """
        if isinstance(raw, str | PathLike):
            return self.decoding.file(Path(raw).expanduser())
        if isinstance(raw, bytes | bytearray | memoryview):
            return self.decoding.file(BytesIO(raw), name)
        if isinstance(raw, Image.Image):
            return self.decoding.image(raw, name)
        if isinstance(raw, np.ndarray | list | tuple):
            return self.decoding.array(raw, name)
        raise DataError(f"{name}: given {type(raw).__name__}; allowed: {ALLOWED}")

    def read(self, raw: Any, name: str = "image") -> np.ndarray:
        return self.normalised(self.pixels(raw, name))

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., H, W, C) uint8 -> (..., C, H, W) float32."""
        mean, std = (np.array(each, dtype=np.float32) for each in (self.mean, self.std))
        return np.moveaxis((pixels.astype(np.float32) / 255 - mean) / std, -1, -3)

    def write(self, output: Any) -> dict[str, Any]:
        return probabilities_by_name(self.classes, output)

    def report(self, evaluated: Evaluated, folder: Path) -> dict[str, Any]:
        from kindling.images.report import report

        return report(evaluated, list(self.classes), folder)

    def parameters(self) -> dict[str, Any]:
        return {
            "classes": list(self.classes),
            "mean": self.mean,
            "std": self.std,
            **{name: getattr(self.decoding, name) for name in SETTINGS}
            | {"background": list(self.decoding.background)},
            "decoding": self.decoding.version,
        }

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Self:
        # Older model folders do not say the version; a class of the project may have other parameters.
        return super().from_dict({"decoding": 1, **described} if cls is ImageProcessor else described)


def classifies(processor: object) -> TypeGuard[ImageProcessor]:
    """Whether it gives probabilities of classes of images, as the ready-made kind does; a subclass may do otherwise."""
    return isinstance(processor, ImageProcessor) and processor.is_ready_made


def processor_of(
    config: Mapping[str, Any], facts: Mapping[str, Any], kind: type[Any] = ImageProcessor, **more: Any
) -> Any:
    """What a task of images with labels returns as its processor.

    Args:
        config: of the data.
        facts: of the data, among them the names of the classes.
        kind: the class of the processor, of the engine or the project's own.
        more: that it takes.

    Raises:
        DataError: one of the settings is not known.
    """
    known = {**facts, **{name: value for name, value in config.items() if value}}
    missing = [name for name in ("classes", "image_size", "channels", "mean", "std") if not known.get(name)]
    if missing:
        names = ", ".join(f"data.{name}" for name in missing)
        raise DataError(f"does not say {names}, without which no image can be prepared")
    # Evaluation may see another size than training.
    known["image_size"] = known.get("crop") or known["image_size"]
    taken = ("classes", "mean", "std", "decoding", *SETTINGS)
    processor = kind(**{name: known[name] for name in taken if name in known}, **more)
    # A model folder is used without torch, which rounds otherwise.
    from kindling.images.pictures import by_torch

    processor.decoding = by_torch(processor.decoding)
    return processor

"""Any image, from a file or from memory, as the pixels that a model knows.

Needs NumPy and Pillow alone: a copy of this file lies in each exported model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING or find_spec("kindling"):
    from kindling.errors import DataError
else:

    class DataError(ValueError):
        """An image cannot be read, or is of another kind."""


# Pillow hands PostScript to another program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "HEIF")
# Grey and colour, each without and with transparency.
CHANNELS = (1, 2, 3, 4)
ALLOWED_SHAPES = "(H, W), (H, W, C) or (C, H, W) with 1 to 4 channels; several as (N, H, W, C) or (N, C, H, W)"
# Version 1: grey of more than 8 bits is scaled by what each file holds, transparency is dropped, and large JPEG files
# are decoded smaller, which gives other pixels than the same image from memory. Version 2: a PNG's clear level of 2, 4
# or 16 bits is missed, signed integers are read as unsigned, and colours of 16 bits ignore `white`. Version 3: an image
# is fitted to `image_size` in one step, which rounds otherwise, and `resize` and `interpolation` are not known.
VERSIONS = (1, 2, 3, 4)
OF_WHOLE_PICTURES = 4
# What a description of a model holds of them, beside "decoding", the version.
SETTINGS = ("image_size", "resize", "interpolation", "channels", "white", "background", "max_pixels")
# Of EXIF and TIFF.
ORIENTATION, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 0x0112, 258, 262, 339
SIGNED = 2
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What `note` is told of.
CLIPPED, SEVERAL_FRAMES, DEEP_COLOUR = "clipped", "several frames", "deep colour"
Interpolation = Literal["bilinear", "bicubic"]
# Of longer pictures the middle is taken, as they would need much memory when they are resized.
MOST_TIMES_AS_LONG = 8
# Modes that Pillow converts to grey or colour by way of another.
BY_WAY_OF = {"La": "LA", "LAB": "RGB", "HSV": "RGB"}


@dataclass(frozen=True)
class Decoding:
    """How images become (image_size, image_size, channels) uint8: the shorter side resized, the centre kept.

    Args:
        image_size: height and width in pixels.
        channels: 1 for grey, 3 for colour.
        resize: the shorter side, before the centre is cut; None for image_size.
        interpolation: of the resizing, always with antialias.
        centre: resizes and cuts a picture (H, W, C) in place of Pillow, as torch does it quicker.
        white: the value that is white in images of more than 8 bits; None if their type says it: 65,535 for 16 bits,
            1 for floats. Files of PGM say it themselves.
        background: red, green and blue of what is behind transparent images, 0 to 255.
        max_pixels: of a file, before it is resized.
        version: of how pixels are made, one of VERSIONS.
        clip: values outside of black and white are clipped; else they are refused.
        note: called with CLIPPED, SEVERAL_FRAMES or DEEP_COLOUR and a name.
    """

    image_size: int
    channels: int
    white: float | None = None
    background: Sequence[int] = (255, 255, 255)
    max_pixels: int = 178_956_970
    version: int = VERSIONS[-1]
    clip: bool = False
    note: Callable[[str, str], None] | None = None
    resize: int | None = None
    interpolation: Interpolation = "bilinear"
    centre: Callable[[np.ndarray], np.ndarray] | None = None

    def __post_init__(self) -> None:
        # Equal, whether it came from YAML or from JSON.
        object.__setattr__(self, "background", tuple(self.background))

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Decoding":
        """From the `processor` of a model.json, which lacks the version if that is 1."""
        return cls(
            **{name: settings[name] for name in SETTINGS if name in settings}, version=settings.get("decoding", 1)
        )

    def file(self, source: str | Path | BinaryIO, name: str = "") -> np.ndarray:
        """An image file as (H, W, C) uint8; the first page or frame, if it has several.

        Args:
            source: a path, or an open file.
            name: of an open file, for messages.

        Raises:
            DataError: the file is missing, empty, truncated, too large or no image, or holds values that are not
                allowed.
        """
        name = name or str(source)
        source = Path(source) if isinstance(source, str) else source
        with self.header(source, name) as opened:
            return self.opened(opened, name)

    def whole_file(self, source: Path | BinaryIO, name: str) -> np.ndarray:
        """An image file in its own size: (H, W, C) uint8.

        Raises:
            DataError: as `file`.
        """
        with self.header(source, name) as opened:
            return self._pixels(self.whole(opened, name))

    @contextmanager
    def header(self, source: Path | BinaryIO, name: str) -> Iterator[Image.Image]:
        """An image file that is opened and not yet decoded; what fails meanwhile is a DataError."""
        with _damage_as_data_error(name), self._open(source, name) as opened:
            yield opened

    @contextmanager
    def _open(self, source: Path | BinaryIO, name: str) -> Iterator[Image.Image]:
        # Opening a pipe would wait for its writer.
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise DataError(f"{name}: is a folder, a pipe or a device; allowed: a file")
        if Image.MAX_IMAGE_PIXELS is not None:
            # Pillow warns at this number, and refuses twice as many.
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, self.max_pixels)
        try:
            opened = Image.open(source, formats=readable_formats())
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise self._too_large(name) from error
        with opened:
            if opened.width * opened.height > self.max_pixels:
                raise self._too_large(name)
            yield opened

    def _too_large(self, name: str) -> DataError:
        return DataError(
            f"{name}: given an image of more pixels; allowed: {self.max_pixels}; make it smaller, or raise "
            "data.max_pixels"
        )

    def opened(self, image: Image.Image, name: str) -> np.ndarray:
        """An image file that Pillow has opened and not yet decoded, as `file` gives it."""
        if self.version == 1:
            # A large JPEG is decoded smaller, which costs less.
            image.draft(None, (self.image_size, self.image_size))
        return self.image(image, name)

    def image(self, image: Image.Image, name: str) -> np.ndarray:
        """An image of Pillow as (H, W, C) uint8.

        Raises:
            DataError: it is a damaged file's, or holds values that are not allowed.
        """
        image, size = self.whole(image, name), (self.image_size, self.image_size)
        if self.version >= OF_WHOLE_PICTURES:
            if self.centre:
                return self.centre(self._pixels(image))
            image = self._centre(image)
        elif image.size != size:
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        return self._pixels(image)

    def _pixels(self, image: Image.Image) -> np.ndarray:
        return np.array(image).reshape(image.height, image.width, self.channels)

    def whole(self, image: Image.Image, name: str) -> Image.Image:
        """An image of Pillow in its own size, upright, in 8 bits a channel.

        Raises:
            DataError: as `image`.
        """
        if 0 in image.size:
            raise DataError(f"{name}: given an image without pixels; allowed: 1 x 1 or more")
        with _damage_as_data_error(name):
            if self.note and getattr(image, "is_animated", False):
                self.note(SEVERAL_FRAMES, name)
            self._look_at_bits(image, name)
            turn = TURNS.get(_orientation(image))
            image = self._to_8_bit(image, name)
            image = image.convert(BY_WAY_OF.get(image.mode, image.mode))
            return (image.transpose(turn) if turn is not None else image).convert("L" if self.channels == 1 else "RGB")

    def _centre(self, image: Image.Image) -> Image.Image:
        image = image.crop(middle_box(*image.size))
        size = resized_size(*image.size, self.resize or self.image_size)
        if image.size != size:
            image = image.resize(size, Image.Resampling[self.interpolation.upper()])
        return image.crop(centre_box(*image.size, self.image_size))

    def array(self, array: Any, name: str, *, channels_first: bool = False) -> np.ndarray:
        """One image in an array as (H, W, C) uint8.

        Args:
            array: (H, W), (H, W, C) or (C, H, W); uint8, uint16, other integers up to `white` or 255, or floats up to
                `white` or 1.
            name: for messages.
            channels_first: how a shape is read that could be both.

        Raises:
            DataError: it has another shape or type, or other values.
        """
        try:
            pixels = np.asarray(array)
        except ValueError as error:
            raise DataError(f"{name}: given rows of different lengths; allowed: {ALLOWED_SHAPES}") from error
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        shape = pixels.shape
        is_first, is_last = (pixels.ndim == 3 and shape[axis] in CHANNELS for axis in (0, 2))
        if not (is_first or is_last) or 0 in shape:
            raise DataError(f"{name}: given an array of shape {np.shape(array)}; allowed: {ALLOWED_SHAPES}")
        if is_first and (channels_first or not is_last):
            pixels = pixels.transpose(1, 2, 0)

        pixels = np.ascontiguousarray(self._array_to_uint8(pixels, name))
        if pixels.shape == (self.image_size, self.image_size, self.channels) and self.resize in (None, self.image_size):
            return pixels
        return self.image(Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels), name)

    def _look_at_bits(self, image: Image.Image, name: str) -> None:
        """Of an image that is not loaded, as Pillow forgets them then."""
        if self.version < 3:
            return
        if _tag(image, SAMPLE_FORMAT) == SIGNED and image.mode == "L":
            raise DataError(f"{name}: given signed integers of 8 bits; allowed: unsigned ones; convert the file")
        if is_deep_colour(image):
            if self.white not in (None, 65_535):
                raise DataError(
                    f"{name}: given colours of 16 bits, of which the upper 8 are read, and data.white={self.white:g}; "
                    "allowed for colours: none, as 65535 is white; convert the file to 8 bits"
                )
            if self.note:
                self.note(DEEP_COLOUR, name)
        _mend_clear(image)

    def _to_8_bit(self, image: Image.Image, name: str) -> Image.Image:
        """Grey of more than 8 bits, which Pillow would clip at 255, scaled; what is transparent, on its background."""
        if self.version == 1:
            return _to_8_bit_by_content(image, name)
        if image.mode in ("F", "I") or image.mode.startswith("I;16"):
            values = np.asarray(image)
            grey = self._scaled(values, self.white_of(image, name), name)
            # In this kind of TIFF, 0 is white.
            if _tag(image, PHOTOMETRIC) == 0:
                grey = 255 - grey
            clear = image.info.get("transparency")
            if not isinstance(clear, int):
                return Image.fromarray(grey)
            image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(np.uint8(values != clear) * 255)])
        if image.has_transparency_data:
            image = image.convert(BY_WAY_OF.get(image.mode, image.mode)).convert("RGBA")
            behind = Image.new("RGBA", image.size, (*self.background, 255))
            return Image.alpha_composite(behind, image).convert("RGB")
        return image.convert("RGB") if image.mode == "P" else image

    def white_of(self, image: Image.Image, name: str) -> float:
        """
        Raises:
            DataError: its type does not say it, and no setting does.
        """
        if image.format == "PPM" and image.mode == "I":
            # Pillow has scaled it by the file's own.
            return 65_535
        if self.white is not None:
            return self.white
        if image.mode == "F":
            return 1
        if image.mode.startswith("I;16"):
            return 4_095 if _tag(image, BITS) == 12 else 65_535
        raise DataError(
            f"{name}: given integers of 32 or signed 16 bits, whose type does not say what is white; say it with "
            "data.white, such as data.white=4095 for 12 bits"
        )

    def _array_to_uint8(self, pixels: np.ndarray, name: str) -> np.ndarray:
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype == bool:
            return pixels.astype(np.uint8) * np.uint8(255)
        is_float = np.issubdtype(pixels.dtype, np.floating)
        if not is_float and not np.issubdtype(pixels.dtype, np.integer):
            raise DataError(
                f"{name}: given an array of {pixels.dtype}; allowed: uint8, uint16, other integers up to "
                f"{self.white or 255:g}, or floats from 0 to {self.white or 1:g}"
            )
        by_type = 1 if is_float else 65_535 if pixels.dtype == np.uint16 else 255
        return self._scaled(pixels, self.white or by_type, name)

    def _scaled(self, values: np.ndarray, white: float, name: str) -> np.ndarray:
        low, high = float(values.min()), float(values.max())
        # So written that it refuses NaN too.
        if not 0 <= low <= high <= white:
            if not np.isfinite(values).all():
                raise DataError(f"{name}: given pixels that are NaN or infinite; allowed: finite; mend the file")
            if not self.clip:
                hint = ", neither normalised nor up to 255" if white == 1 else ""
                raise DataError(
                    f"{name}: given values from {low:g} to {high:g}; allowed: 0 to {white:g}{hint}; say what is white "
                    "with data.white, or mend the file"
                )
            if self.note:
                self.note(CLIPPED, name)
        return np.rint(values.astype(np.float64).clip(0, white) * (255 / white)).astype(np.uint8)


def middle_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a picture; of one that is too long, of its middle."""
    most = MOST_TIMES_AS_LONG * min(width, height)
    left, top = max(0, width - most) // 2, max(0, height - most) // 2
    return left, top, width - left if left else width, height - top if top else height


def resized_size(width: int, height: int, shorter: int) -> tuple[int, int]:
    """Width and height whose shorter side has so many pixels, rounded as torchvision's `Resize`."""
    longer = int(shorter * max(width, height) / min(width, height))
    return (shorter, longer) if width <= height else (longer, shorter)


def centre_box(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a square in the middle, rounded as torchvision's `CenterCrop`."""
    left, top = round((width - size) / 2), round((height - size) / 2)
    return left, top, left + size, top + size


@cache
def readable_formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow knows; HEIF needs the package pillow-heif."""
    with suppress(ImportError):
        import pillow_heif  # pyright: ignore[reportMissingImports]

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(each for each in FORMATS if each in Image.OPEN)


@contextmanager
def _damage_as_data_error(name: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        # The error's own text holds a memory address.
        known = f"of no known kind; {', '.join(readable_formats())} of the usual pixels are read"
        raise DataError(f"{name}: cannot be read as an image ({known}); replace or remove the file") from error
    except Exception as error:
        # Each decoder fails in its own way on a damaged file.
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: cannot be read as an image ({text}); replace or remove the file") from error


def is_deep_colour(image: Image.Image) -> bool:
    """Whether Pillow reads the upper 8 of 16 bits of colours; of a PNG, while it is not loaded."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return False
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(BITS, (8,))
        return max(bits) > 8
    return image.format == "PNG" and ";16" in _raw_mode(image)


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", ())
    return str(tiles[0].args) if tiles else ""


def _mend_clear(image: Image.Image) -> None:
    """Pillow compares a PNG's clear level or colour, of 2, 4 or 16 bits, with the 8 bits of its pixels."""
    clear, raw_mode = image.info.get("transparency"), _raw_mode(image)
    if image.format != "PNG" or clear is None:
        return
    if raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = clear * (85 if raw_mode == "L;2" else 17)
    elif raw_mode.startswith("RGB;16"):
        image.info["transparency"] = tuple(each >> 8 for each in clear)


def _orientation(image: Image.Image) -> int:
    # Some kinds are turned when they are loaded, and forget it then.
    image.load()
    # As in any viewer, a block that is damaged turns nothing.
    with suppress(Exception):
        return int(image.getexif()[ORIENTATION])
    return 1


def _tag(image: Image.Image, number: int) -> int | None:
    """The first value of a TIFF's tag."""
    value = getattr(image, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) else value


def _to_8_bit_by_content(image: Image.Image, name: str) -> Image.Image:
    """As version 1 did it."""
    if image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise DataError(f"{name}: given pixels that are NaN or infinite; allowed: finite; mend the file")
        if values.min() < 0 or values.max() > 255:
            raise DataError(f"{name}: given floats up to {values.max():g}; allowed: 0 to 1, or 0 to 255")
        scale = 255 if values.max() <= 1 else 1
        return Image.fromarray((values * scale).round().astype(np.uint8))
    if image.mode == "I" or image.mode.startswith("I;16"):
        integers = np.asarray(image)
        if integers.min() < 0:
            raise DataError(f"{name}: given integers down to {integers.min()}; allowed: 0 to 255, or to 65,535")
        # Mode I up to 255 has 8 bits already.
        if image.mode != "I" or integers.max() > 255:
            integers = integers // 257
        return Image.fromarray(integers.clip(0, 255).astype(np.uint8))
    if image.mode == "P" or "transparency" in image.info:
        return image.convert("RGBA")
    return image

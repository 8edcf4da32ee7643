"""Any image, from a file or from memory, as the pixels that a model knows. Needs no torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kindling.errors import DataError
from kindling.images.folder import FORMATS

# Grey, colour, and colour with transparency.
CHANNELS = (1, 3, 4)
ALLOWED_SHAPES = "(H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels; several as (N, H, W, C) or (N, C, H, W)"


def read_image(source: Path | BinaryIO, image_size: int, channels: int, name: str = "") -> np.ndarray:
    """An image file as (image_size, image_size, channels) uint8: the shorter side resized, the centre kept.

    Args:
        source: a path, or an open file.
        name: of an open file, for messages.

    Raises:
        DataError: the file is missing, empty, truncated or no image, or holds NaN or infinite pixels.
    """
    name = name or str(source)
    # Opening a pipe would wait for its writer.
    if isinstance(source, Path) and source.exists() and not source.is_file():
        raise DataError(f"{name}: is a folder, a pipe or a device; allowed: a file")
    with _damage_as_data_error(name), Image.open(source, formats=FORMATS) as opened:
        # A large JPEG is decoded smaller, which costs less.
        opened.draft(None, (image_size, image_size))
        return fit(opened, image_size, channels, name)


@contextmanager
def _damage_as_data_error(name: str) -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError as error:
        # The error's own text holds a memory address.
        raise DataError(f"{name}: cannot be read as an image (of no known kind); replace or remove the file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be read as an image ({error}); replace or remove the file") from error


def fit(image: Image.Image, image_size: int, channels: int, name: str) -> np.ndarray:
    """An image as (image_size, image_size, channels) uint8.

    Raises:
        DataError: it is a damaged file's, or holds NaN or infinite pixels.
    """
    if 0 in image.size:
        raise DataError(f"{name}: given an image without pixels; allowed: 1 x 1 or more")
    with _damage_as_data_error(name):
        upright = ImageOps.exif_transpose(image)
        image = to_8_bit(upright, name).convert("L" if channels == 1 else "RGB")
    if image.size != (image_size, image_size):
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
    return np.array(image).reshape(image_size, image_size, channels)


def to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """Grey of 16 bits or floats, which PIL would clip at 255, scaled to 8 bits; other images as they are."""
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


def fit_array(array: Any, image_size: int, channels: int, name: str, *, channels_first: bool = False) -> np.ndarray:
    """One image in an array as (image_size, image_size, channels) uint8.

    Args:
        array: (H, W), (H, W, C) or (C, H, W); uint8, or floats from 0 to 1.
        name: for messages.
        channels_first: how a shape is read that could be both.

    Raises:
        DataError: it has another shape or type, or other values.
    """
    pixels = np.asarray(array)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    shape = pixels.shape
    is_first, is_last = (pixels.ndim == 3 and shape[axis] in CHANNELS for axis in (0, 2))
    if not (is_first or is_last) or 0 in shape:
        raise DataError(f"{name}: given an array of shape {np.shape(array)}; allowed: {ALLOWED_SHAPES}")
    if is_first and (channels_first or not is_last):
        pixels = pixels.transpose(1, 2, 0)

    pixels = _to_uint8(pixels, name)
    if pixels.shape == (image_size, image_size, channels):
        return pixels
    return fit(Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels), image_size, channels, name)


def _to_uint8(pixels: np.ndarray, name: str) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise DataError(f"{name}: given an array of {pixels.dtype}; allowed: uint8, or floats from 0 to 1")
    low, high = float(pixels.min()), float(pixels.max())
    # So written that it refuses NaN too.
    if not 0 <= low <= high <= 1:
        given = f"{low:g} to {high:g}" if low <= high else "NaN"
        raise DataError(f"{name}: given floats of {given}; allowed: 0 to 1, neither normalised nor up to 255")
    return np.ascontiguousarray((pixels.astype(np.float32) * 255).round().astype(np.uint8))

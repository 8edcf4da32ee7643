"""Image files of strangers as pixels: nothing is decoded that would not fit, and whatever is wrong is named."""

import base64
import math
import re
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from kindling.data.processor import Processor
from kindling.images.decoding import readable_formats
from kindling.images.processor import classifies
from kindling.inference.serving.limits import Refused

# Tags of a TIFF.
WIDTH, HEIGHT, STRIP_HEIGHT, TILE_WIDTH, TILE_HEIGHT = 256, 257, 278, 322, 323
# A JPEG's marker: nothing else in its compressed data looks like that.
MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
SCAN, END, WITHOUT_LENGTH = 0xDA, 0xD9, (0x01, 0xD8)
# Cameras and browsers make about ten; each costs as much as the whole image.
MOST_SCANS = 100
MOST_MARKERS = 10_000
# Numbers as text, whose comments Pillow reads in the square of their number.
PLAIN = (b"P1", b"P2", b"P3")
MOST_COMMENTS = 100
# A BMP in runs (RLE8, RLE4), which Pillow reads by a loop in Python, at times without a look at the file.
RUNS, MOST_PIXELS_IN_RUNS = (1, 2), 2_000_000
# Pillow keeps an address for each row: a PNG of 25 million rows takes a GB.
MOST_A_SIDE = 65_535
# Seconds of a core for one image.
MOST_DECODING_S = 2.0


def image_of(file: bytes, processor: Processor, max_pixels: int, name: str) -> np.ndarray:
    """An image file as the model takes it: (H, W, C) uint8 of one of classes, else what the processor reads.

    Raises:
        Refused: as `pixels_of`.
    """
    if classifies(processor):
        return pixels_of(file, processor.decoding.opened, max_pixels, name)
    # A processor of images reads what Pillow has opened, too; limits hold while it is decoded.
    return pixels_of(file, lambda opened, name: np.asarray(processor.read(opened, name)), max_pixels, name)


def pixels_of(file: bytes, read: Callable[[Any, str], np.ndarray], max_pixels: int, name: str) -> np.ndarray:
    """What is read of an image file, to the bit as in the validation.

    Raises:
        Refused: 413 it has too many pixels, 422 it cannot be read as an image.
    """
    try:
        with Image.open(TimedFile(file), formats=readable_formats()) as opened:
            if _num_pixels(opened) > max_pixels or max(opened.size) > MOST_A_SIDE:
                raise _too_large(name, max_pixels)
            if _is_made_slow(opened, file):
                raise _too_slow(name)
            return read(opened, name)
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(name, max_pixels) from None
    except Exception as error:
        # Each decoder fails in its own way, on what anybody may send.
        if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
            raise _too_slow(name) from None
        allowed = f"an image file ({', '.join(readable_formats())}), whole and undamaged"
        message = f"{name}: given what cannot be read; allowed: {allowed}"
        raise Refused(422, "bad_image", message) from error


def pictures_of(pixels: np.ndarray) -> list[str]:
    """What a net is given, (N, H, W, C) uint8, as PNG in base64: of other than three channels the first."""
    shown = pixels if pixels.shape[-1] == 3 else pixels[..., 0]
    files = [BytesIO() for _ in shown]
    for image, file in zip(shown, files, strict=True):
        Image.fromarray(image).save(file, "png", compress_level=1)
    return [base64.b64encode(file.getvalue()).decode() for file in files]


class TimedFile(BytesIO):
    """A file in memory that nobody may read from for long: some headers are loops without end."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self._end = time.thread_time() + MOST_DECODING_S

    def read(self, size: int | None = -1, /) -> bytes:
        """
        Raises:
            TimeoutError: this thread has worked for too long.
        """
        if time.thread_time() > self._end:
            raise TimeoutError
        return super().read(size)


def _too_large(name: str, max_pixels: int) -> Refused:
    allowed = f"{max_pixels}, of them {MOST_A_SIDE} a side"
    return Refused(413, "image_too_large", f"{name}: given more pixels; allowed: {allowed}")


def _too_slow(name: str) -> Refused:
    allowed = f"one that is decoded in {MOST_DECODING_S:g} s; save it as PNG or as an ordinary JPEG"
    return Refused(
        413, "image_too_slow", f"{name}: given an image that takes too long to be decoded; allowed: {allowed}"
    )


def _is_made_slow(image: Image.Image, file: bytes) -> bool:
    """What is decoded for long between two looks at the file, which are when its time is looked at."""
    if image.format in ("JPEG", "MPO"):
        return _num_scans(file) > MOST_SCANS
    # A JPEG for each strip or tile.
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return "jpeg" in str(image.info.get("compression")) and file.count(b"\xff\xda") > MOST_SCANS * _num_parts(image)
    if image.format == "BMP":
        return image.info.get("compression") in RUNS and image.width * image.height > MOST_PIXELS_IN_RUNS
    return file.startswith(PLAIN) and file.count(b"#") > MOST_COMMENTS


def _num_scans(jpeg: bytes) -> float:
    """Up to the end of the image, behind which phones put films (ITU-T T.81, annex B)."""
    found = position = 0
    for _ in range(MOST_MARKERS):
        marker = MARKER.search(jpeg, position)
        if marker is None or marker[1][0] == END:
            return found
        kind, position = marker[1][0], marker.end()
        found += kind == SCAN
        if kind not in WITHOUT_LENGTH:
            position += int.from_bytes(jpeg[position : position + 2])
    return math.inf


def _num_parts(tiff: TiffImagePlugin.TiffImageFile) -> int:
    width, height, tile_width, tile_height = (_tag(tiff, tag) for tag in (WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT))
    if tile_width and tile_height:
        return math.ceil(width / tile_width) * math.ceil(height / tile_height)
    return math.ceil(height / (_tag(tiff, STRIP_HEIGHT) or height))


def _num_pixels(image: Image.Image) -> int:
    """The most that has to be in memory at a time."""
    found = image.width * image.height
    # Tiles may be larger than the image.
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        found = max(found, _tag(image, TILE_WIDTH) * _tag(image, TILE_HEIGHT))
    return found


def _tag(tiff: TiffImagePlugin.TiffImageFile, number: int) -> int:
    return int(tiff.tag_v2.get(number) or 0)

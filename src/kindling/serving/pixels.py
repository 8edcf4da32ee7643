"""Image files of strangers as pixels: nothing is decoded that would not fit, and whatever is wrong is told."""

import time
from io import BytesIO

import numpy as np
from PIL import Image, TiffImagePlugin

from kindling.data.decoding import fit
from kindling.data.folder import FORMATS
from kindling.serving.limits import Refused

TILE_SIZE = (322, 323)  # tags of a TIFF, whose tiles may be larger than the image
START_OF_SCAN = b"\xff\xda"  # of a JPEG; nothing else in its compressed data looks like that
MOST_SCANS = 100  # cameras and browsers make about ten; each costs as much as the whole image
PLAIN = (b"P1", b"P2", b"P3")  # numbers as text, which Pillow reads slowly
MOST_DECODING_S = 2.0  # of a core, for one image
ALLOWED = f"an image file ({', '.join(FORMATS)})"


def pixels_of(file: bytes, image_size: int, channels: int, max_pixels: int, name: str) -> np.ndarray:
    """An image file as (image_size, image_size, channels) uint8, to the bit as in the validation.

    Raises:
        Refused: 413 it has too many pixels, 422 it cannot be read as an image.
    """
    try:
        with Image.open(TimedFile(file), formats=FORMATS) as opened:
            if _num_pixels(opened) > max_pixels:
                raise Refused(413, "image_too_large", f"{name}: given more pixels; allowed: {max_pixels}")
            if file.startswith(PLAIN) or (_is_jpeg(opened) and file.count(START_OF_SCAN) > MOST_SCANS):
                raise _too_slow(name)
            opened.draft(None, (image_size, image_size))
            return fit(opened, image_size, channels, name)
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused(413, "image_too_large", f"{name}: given more pixels; allowed: {max_pixels}") from None
    except Exception as error:  # each decoder fails in its own way, on what anybody may send
        if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
            raise _too_slow(name) from None
        message = f"{name}: given what cannot be read; allowed: {ALLOWED}, whole and undamaged"
        raise Refused(422, "bad_image", message) from error


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


def _too_slow(name: str) -> Refused:
    allowed = f"one that is decoded in {MOST_DECODING_S:g} s; save it as PNG or as an ordinary JPEG"
    return Refused(
        413, "image_too_slow", f"{name}: given an image that is made to be decoded slowly; allowed: {allowed}"
    )


def _is_jpeg(image: Image.Image) -> bool:
    """A JPEG, or a TIFF that holds one."""
    return image.format in ("JPEG", "MPO") or "jpeg" in str(image.info.get("compression"))


def _num_pixels(image: Image.Image) -> int:
    """The most that has to be in memory at a time."""
    found = image.width * image.height
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, length = (int(image.tag_v2.get(tag) or 0) for tag in TILE_SIZE)
        found = max(found, width * length)
    return found

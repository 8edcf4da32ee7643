"""Image files of strangers as pixels: nothing is decoded that would not fit, and whatever is wrong is told."""

from io import BytesIO

import numpy as np
from PIL import Image, TiffImagePlugin

from kindling.data.decoding import fit
from kindling.data.folder import FORMATS
from kindling.serving.limits import Refused

TILE_SIZE = (322, 323)  # tags of a TIFF, whose tiles may be larger than the image
ALLOWED = f"an image file ({', '.join(FORMATS)})"


def pixels_of(file: bytes, image_size: int, channels: int, max_pixels: int, name: str) -> np.ndarray:
    """An image file as (image_size, image_size, channels) uint8, to the bit as in the validation.

    Raises:
        Refused: 413 it has too many pixels, 422 it cannot be read as an image.
    """
    try:
        with Image.open(BytesIO(file), formats=FORMATS) as opened:
            if _num_pixels(opened) > max_pixels:
                raise Refused(413, "image_too_large", f"{name}: given more pixels; allowed: {max_pixels}")
            opened.draft(None, (image_size, image_size))
            return fit(opened, image_size, channels, name)
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused(413, "image_too_large", f"{name}: given more pixels; allowed: {max_pixels}") from None
    except Exception as error:  # each decoder fails in its own way, on what anybody may send
        message = f"{name}: given what cannot be read; allowed: {ALLOWED}, whole and undamaged"
        raise Refused(422, "bad_image", message) from error


def _num_pixels(image: Image.Image) -> int:
    """The most that has to be in memory at a time."""
    found = image.width * image.height
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, length = (int(image.tag_v2.get(tag) or 0) for tag in TILE_SIZE)
        found = max(found, width * length)
    return found

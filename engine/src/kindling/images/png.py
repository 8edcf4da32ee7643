"""A picture that a model gives, as a PNG file. Needs no torch."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from kindling.errors import DataError, one_line


def png_of(picture: Any, name: str) -> bytes:
    """The bytes of a file, of an image of Pillow or an array: (H, W) of uint8 or bool, (H, W, C) of uint8, C 1, 3 or 4.

    Args:
        picture: what is written.
        name: of it, for messages.

    Raises:
        DataError: it is something else, or of a mode that no PNG has.
    """
    if not isinstance(picture, Image.Image):
        array = np.asarray(picture)
        array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
        kinds = (np.uint8, np.bool_) if array.ndim == 2 else (np.uint8,)
        if array.dtype not in kinds or array.ndim < 2 or array.shape[2:] not in ((), (3,), (4,)):
            raise DataError(
                f"{name}: given {type(picture).__name__} {array.shape} of {array.dtype}; allowed of an image: "
                "(H, W) or (H, W, C) of uint8, C 1, 3 or 4, or an image of Pillow"
            )
        picture = Image.fromarray(array)
    file = BytesIO()
    try:
        picture.save(file, "png")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: given {picture.size} of mode {picture.mode} ({one_line(error)}); allowed: L, RGB or RGBA"
        ) from error
    return file.getvalue()

"""A picture that a model gives, as a PNG file. Needs no torch."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from kindling.errors import DataError


def png_of(picture: Any, name: str) -> bytes:
    """The bytes of a file, of an image of Pillow or an array (H, W) or (H, W, C) of uint8 or bool, C 1, 3 or 4.

    Args:
        picture: what is written.
        name: of it, for messages.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(picture, Image.Image):
        array = np.asarray(picture)
        array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
        if array.dtype not in (np.uint8, np.bool_) or not (array.ndim == 2 or array.shape[2:] in ((3,), (4,))):
            raise DataError(
                f"{name}: given {type(picture).__name__} {array.shape} of {array.dtype}; allowed of an image: "
                "(H, W) or (H, W, C) of uint8, C 1, 3 or 4, or an image of Pillow"
            )
        picture = Image.fromarray(array)
    file = BytesIO()
    picture.save(file, "png")
    return file.getvalue()

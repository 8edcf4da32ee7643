"""JPEG files as the bits that Pillow gives, in less time: by simplejpeg, the extra `jpeg`, if it is there."""

import stat
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kindling.images.decoding import ORIENTATION

# Markers (ITU-T T.81, annex B): of frames that are decoded alike, of any frame, of a scan and of what programs add.
FRAMES = (0xC0, 0xC1, 0xC2)
ANY_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
SCAN, EXIF, SEVERAL = 0xDA, 0xE1, 0xE2
# What turns and mirrors an image (H, W, C), by the EXIF orientation.
TURNS = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
    7: lambda pixels: pixels.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}


@cache
def decoder() -> Any:
    """The package, None if it is not installed."""
    with suppress(ImportError):
        import simplejpeg  # pyright: ignore[reportMissingImports]

        return simplejpeg
    return None


def decoded(path: Path, channels: int, max_pixels: int) -> np.ndarray | None:
    """(H, W, C) uint8; None of whatever is not plain and whole, for which Pillow finds the pixels or the words."""
    if not decoder():
        return None
    try:
        with path.open("rb") as file:
            # Reading a pipe would wait for its writer.
            if not stat.S_ISREG(path.stat().st_mode) or file.read(2) != b"\xff\xd8":
                return None
            content = b"\xff\xd8" + file.read()
        orientation = _orientation(content, channels, max_pixels)
        if orientation is None:
            return None
        pixels = decoder().decode_jpeg(content, colorspace="GRAY" if channels == 1 else "RGB", strict=True)
    except (OSError, ValueError, IndexError, SyntaxError):
        return None
    turn = TURNS.get(orientation)
    return np.ascontiguousarray(turn(pixels)) if turn else pixels


def _orientation(content: bytes, channels: int, max_pixels: int) -> int | None:
    """1 of an upright image; None if it is not one alone, of 8 bits in as many channels."""
    position, exif = 2, b""
    while content[position] == 0xFF:
        marker, length = content[position + 1], int.from_bytes(content[position + 2 : position + 4], "big")
        body = content[position + 4 : position + 2 + length]
        if marker in ANY_FRAME:
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            is_plain = marker in FRAMES and body[0] == 8 and body[5] == channels and 0 < height * width <= max_pixels
            return (_read(exif) if exif else 1) if is_plain else None
        if marker == EXIF and body.startswith(b"Exif\0\0"):
            if exif:
                return None
            exif = body
        if marker == SCAN or (marker == SEVERAL and body.startswith(b"MPF\0")):
            return None
        position += 2 + length
    return None


def _read(exif: bytes) -> int:
    # As in any viewer, a block that is damaged turns nothing.
    with suppress(Exception):
        found = Image.Exif()
        found.load(exif)
        return int(found[ORIENTATION])
    return 1

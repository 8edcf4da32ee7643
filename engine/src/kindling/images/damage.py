"""Image files that cannot be read, found before the first epoch: most by their ends alone."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kindling.errors import DataError

# Reading waits for the disk, so threads are worth more than cores.
NUM_THREADS = 16
CHUNK = 1024
# Bytes of a file's beginning and end; cameras add some behind the end of a JPEG.
PIECE = 64
JPEG, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
PNG, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def is_whole(path: Path) -> bool:
    """Whether a file begins and ends as a JPEG, PNG or WebP does; of others nothing is known.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as stream:
        begin = stream.read(PIECE)
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - PIECE))
        end = stream.read(PIECE)
    if begin.startswith(b"RIFF") and begin[8:12] == b"WEBP":
        return size >= 8 + int.from_bytes(begin[4:8], "little")
    return (begin.startswith(JPEG) and JPEG_END in end) or (begin.startswith(PNG) and end.endswith(PNG_END))


def damage_of(path: Path, decode: Callable[[Path], Any]) -> str:
    """Why a file cannot be read; "" if it can. What its ends do not tell is decoded."""
    try:
        if not is_whole(path):
            decode(path)
    except (DataError, OSError) as error:
        return str(error)
    return ""


def damaged(paths: Sequence[Path], decode: Callable[[Path], Any]) -> Tensor:
    """The places (M,) int64 of those that cannot be read."""

    def among(start: int) -> list[int]:
        places = range(start, min(start + CHUNK, len(paths)))
        return [place for place in places if damage_of(paths[place], decode)]

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        found = [place for each in pool.map(among, range(0, len(paths), CHUNK)) for place in each]
    return torch.tensor(found, dtype=torch.int64)

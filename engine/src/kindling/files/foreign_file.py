"""Files that anybody may have written: only regular ones of a bounded size are read, so that none is waited for."""

import errno
import os
from pathlib import Path


def read_text(path: Path, most: int) -> str:
    """What a file of UTF-8 holds.

    Raises:
        OSError: it is a pipe, a device or a folder, or cannot be read.
        ValueError: it holds more than `most` bytes, or is no UTF-8.
    """
    return read_bytes(path, most).decode()


def read_bytes(path: Path, most: int) -> bytes:
    """
    Raises:
        OSError: it is a pipe, a device or a folder, or cannot be read.
        ValueError: it holds more than `most` bytes.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    # A pipe that took its place by now would be waited for.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        # None where the kernel's log has no more.
        content = stream.read(most + 1) or b""
    if len(content) > most:
        raise ValueError(f"{path} holds more than {most:,} bytes")
    return content

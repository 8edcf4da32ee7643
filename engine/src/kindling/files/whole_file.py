"""Files that are written whole or not at all."""

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# The hidden name of an unfinished file ends so.
TEMPORARY = ".tmp"
# Of a process on another machine, which cannot be asked.
ABANDONED_S = 3600


@contextmanager
def write_whole(path: Path, mode: str = "w", *, durable: bool = False) -> Iterator[Any]:
    """Open a temporary file beside `path` that takes its place when the block ends without an error.

    Args:
        path: of the file; its folder must exist.
        mode: "w" for text, "wb" for bytes.
        durable: wait until the disk has it, so that a power cut leaves the old file or the new one.

    Raises:
        OSError: with the path as `filename`; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    # JSON and YAML read an escaped part of a name, such as \\udcff, as what it was.
    as_text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}

    try:
        with temporary.open(mode, **as_text) as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())

        temporary.replace(path)
        if durable:
            wait_for_disk(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()

        # The error of a full disk names no file.
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def overwrite(path: Path, content: bytes) -> None:
    """Write a text, and blanks after it, over what a file holds: a full disk has room for no other file.

    Raises:
        OSError: the file is shorter, cannot be written, or has another name, which would show the text too; it holds
            what it held.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "r+b", buffering=0) as stream:
        found, before = os.fstat(descriptor), stream.readall()
        if found.st_nlink > 1 or found.st_size < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        stream.seek(0)
        written = stream.write(content.ljust(len(before)))
        # A limit of the size of files lets a part through.
        if written < len(before):
            stream.seek(0)
            stream.write(before[:written])
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))


def wait_for_disk(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do it for a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def remove_temporaries(path: Path) -> None:
    """Remove what processes that were killed while they wrote a file have left beside it."""
    for file in path.parent.glob(f".*{TEMPORARY}"):
        if re.fullmatch(rf"\.{re.escape(path.name)}\.\d+{re.escape(TEMPORARY)}", file.name):
            file.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed processes, whatever they wrote in a folder."""
    for file in folder.glob(f".*{TEMPORARY}"):
        pid = file.name.removesuffix(TEMPORARY).rpartition(".")[2]
        with suppress(OSError):
            if pid.isdigit() and not is_alive(int(pid)) and time.time() - file.stat().st_mtime > ABANDONED_S:
                file.unlink()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True

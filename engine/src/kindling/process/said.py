"""What every process of a run would say on the same stream, such as a refusal, is said by one of them."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO

# Names the notes of Lightning's first process, memory of its own, to those that it launches.
NOTES, MEMORY = "KINDLING_NOTES", "kindling-said"
# Whoever says something does it in less.
PATIENCE_S = 1.0


def offer_notes() -> None:
    """Let the processes that Lightning may launch from this one know what has been said."""
    own = f"/proc/{os.getpid()}/"
    if not os.environ.get(NOTES, "").startswith(own):
        # Not every system has it.
        with suppress(OSError, AttributeError):
            os.environ[NOTES] = f"{own}fd/{os.memfd_create(MEMORY)}"


@contextmanager
def first_to_say(text: str) -> Iterator[bool]:
    """Whether no other process of the run has said the same on the same stderr.

    While one says it, the others wait; if it is killed before, they say it. Where nothing can be noted, each says it.
    """
    stream = _stream()
    notes = _notes() if stream else None
    if notes is None:
        yield True
        return
    with notes:
        key = blake2b(f"{stream} {text}".encode(errors="replace"), digest_size=16).hexdigest()
        said = [line.split() for line in notes.read().decode().splitlines()]
        is_first = not any(pid != str(os.getpid()) and other == key for pid, other in said)
        yield is_first
        if is_first:
            with suppress(OSError):
                notes.write(f"{os.getpid()} {key}\n".encode())


def _stream() -> str:
    """Where stderr leads: a terminal, a pipe or a file; "" if it is none of these."""
    with suppress(OSError, ValueError, AttributeError):
        found = os.fstat(sys.stderr.fileno())
        return f"{found.st_dev} {found.st_ino}"
    return ""


def _notes() -> IO[bytes] | None:
    """What the processes of a run have said, for this one alone to read and write; None if that cannot be had."""
    place = _place()
    try:
        file = place.open("a+b", buffering=0) if place else None
    except OSError:
        return None
    deadline = time.monotonic() + PATIENCE_S
    while file and time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            return file
        except OSError:
            time.sleep(0.005)
    return None


def _place() -> Path | None:
    """A file that is gone with the run; under srun there is none, where each process has a stream of its own."""
    env = os.environ
    if "TORCHELASTIC_ERROR_FILE" in env:
        # <folder of this torchrun>/<name>_<random>/attempt_<number>/<rank>/error.json
        return Path(env["TORCHELASTIC_ERROR_FILE"]).parents[1] / "said"
    with suppress(OSError):
        # Another process may have the number by now.
        if NOTES in env and MEMORY in os.readlink(env[NOTES]):
            return Path(env[NOTES])
    return None

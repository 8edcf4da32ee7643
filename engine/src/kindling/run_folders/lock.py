"""One process holds a run folder at a time."""

import errno
import fcntl
import os
import platform
import time
from contextlib import suppress
from pathlib import Path

from kindling.errors import InUseError
from kindling.process.ranks import is_first_process, job

NAME = ".lock"
# Of a trial, held by the sweep whose trial it is.
CLAIM = ".claim"
READY = "ready for the others"

# Checking whether a folder is held locks it briefly.
PATIENCE_S = 0.3

# Further processes wait so long for a slower first one.
FIRST_S = 60.0

# Closing a second handle of these would release the lock.
_ours: set[Path] = set()


class RunLock:
    """Held from `acquire` to `release`, or until this process ends, however it ends.

    A POSIX record lock: worker processes forked later do not inherit it, and network file systems know it.
    """

    def __init__(self, folder: Path, name: str = NAME):
        self.file = folder / name
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """
        Raises:
            InUseError: another process holds the folder.
        """
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self._descriptor = descriptor
        try:
            _try_lock(descriptor, PATIENCE_S)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                holder = os.pread(descriptor, 400, 0).decode(errors="replace").partition("\n")[0]
                self.release()
                raise InUseError(
                    f"run folder: given {self.file.parent}, which {holder or 'another process'} is working in; "
                    "allowed: one process at a time; wait for its end, or end it"
                ) from None
            # A file system without locks: the folder is used unlocked.
        _ours.add(self.file)
        self._write("")

    def let_others_in(self) -> None:
        """Signal the further processes of this job that the folder is theirs too, and its run.json up to date."""
        self._write(READY)

    def _write(self, state: str) -> None:
        if self._descriptor is None:
            return
        text = f"process {os.getpid()} on {platform.node()}\n{job() or ''}\n{state}"

        # The disk may be full.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

            # Other machines may read it.
            if job():
                os.fsync(self._descriptor)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _ours.discard(self.file)


def is_held(folder: Path, name: str = NAME) -> bool:
    """Whether a process works in a run folder, other than the first one of this job."""
    if folder / name in _ours:
        return True
    try:
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        _try_lock(descriptor, 0)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN) and not _is_of_this_job(folder)
    else:
        return False
    finally:
        os.close(descriptor)


def wait_for_first(folder: Path) -> bool:
    """Wait, in a further process of a job, until the first one has the folder; whether it has come in time."""
    deadline = time.monotonic() + FIRST_S
    while job() and not _is_of_this_job(folder, READY):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _is_of_this_job(folder: Path, state: str = "") -> bool:
    if is_first_process() or job() is None:
        return False

    # Whoever has locked it may not have written its name yet.
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(OSError):
            _, *words = (folder / NAME).read_text(errors="replace").split("\n")
            if words[:1] == [job()] and (not state or state in words):
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _try_lock(descriptor: int, patience_s: float) -> None:
    """
    Raises:
        OSError: another process has it, or the file system knows no locks.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)

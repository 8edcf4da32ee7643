"""What lies in a run folder is its own: no link leads a write out of it, and no pipe keeps a reader waiting."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from kindling.errors import ConfigError
from kindling.files.whole_file import write_whole

# It links to logs of its own elsewhere.
TRACKERS = ("wandb",)
# Bytes of metrics.csv and timings.csv, which are read whole; a file may have a size and take no room.
MOST_OF_TABLE = 500_000_000


def refuse_foreign_files(folder: Path) -> None:
    """
    Raises:
        ConfigError: something in a run folder leads out of it, is neither a file nor a folder, or too large to be read.
    """
    home = Path(os.path.realpath(folder))
    for entry in entries(folder):
        path = Path(entry.path).relative_to(folder)
        if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(home):
            raise ConfigError(
                f"run folder: given {folder}, whose {path} is a link that leads out of it; allowed: files and folders "
                "of its own; remove the link"
            )
        if not entry.is_symlink() and not entry.is_file() and not entry.is_dir():
            raise ConfigError(
                f"run folder: given {folder}, whose {path} is a pipe or a device; allowed: files and folders; remove it"
            )
        if path.suffix == ".csv" and len(path.parts) == 1:
            _refuse_large_table(folder, path)
            keep_apart(folder / path)


def _refuse_large_table(folder: Path, path: Path) -> None:
    num_bytes = (folder / path).stat().st_size
    if num_bytes > MOST_OF_TABLE:
        raise ConfigError(
            f"run folder: given {folder}, whose {path} has {num_bytes:,} bytes; allowed: "
            f"{MOST_OF_TABLE:,}; move it away"
        )


def keep_apart(file: Path) -> None:
    """Give a file of several names, as `cp -al` makes them, a content of its own: what is added shows there alone."""
    if file.is_file() and file.stat().st_nlink > 1:
        with file.open("rb") as shared, write_whole(file, "wb") as own:
            shutil.copyfileobj(shared, own)


def make_own_folder(folder: Path, run: Path) -> None:
    """Make a folder within that of a run.

    Raises:
        OSError: it cannot be written, or a link leads out of the run.
    """
    home = Path(os.path.realpath(run))
    for each in (*reversed(folder.relative_to(run).parents[:-1]), folder.relative_to(run)):
        path = run / each
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(home):
            raise OSError(errno.ELOOP, "a link leads out of the run", str(path))
        path.mkdir(exist_ok=True)
    with TemporaryFile(dir=folder):
        pass


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder, without following links."""
    with os.scandir(folder) as found:
        listed = list(found)
    yield from listed
    for entry in listed:
        if entry.is_dir(follow_symlinks=False) and entry.name not in TRACKERS:
            yield from entries(Path(entry.path))

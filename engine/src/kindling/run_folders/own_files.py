"""What lies in a run folder is its own: no link leads a write out of it, and no pipe keeps a reader waiting."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from kindling.errors import ConfigError

# It links to logs of its own elsewhere.
TRACKERS = ("wandb",)


def refuse_foreign_files(folder: Path) -> None:
    """
    Raises:
        ConfigError: something in a run folder leads out of it, or is neither a file nor a folder.
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

"""Folders that are written whole or not at all."""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from kindling.errors import ConfigError
from kindling.files.whole_file import TEMPORARY, is_alive, wait_for_disk


@contextmanager
def write_whole_folder(target: Path, mark: str, names: Collection[str]) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place when the block ends without an error.

    Args:
        target: a path where nothing is, or a folder that this function has written.
        mark: a file that each such folder holds.
        names: of all files that it may hold.

    Raises:
        ConfigError: something else is there.
        OSError: the folder cannot be written; what was there is as it was.
    """
    refuse_others(target, mark, names)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)

    temporary = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY}")
    try:
        temporary.mkdir()
        yield temporary
        for file in (*temporary.iterdir(), temporary):
            wait_for_disk(file)
        refuse_others(target, mark, names)
        _replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_others(target: Path, mark: str, names: Collection[str]) -> None:
    """
    Raises:
        ConfigError: at that path is something that may not be replaced.
    """
    if not os.path.lexists(target):
        return

    is_folder = target.is_dir() and not target.is_symlink()
    found = {each.name + "/" * each.is_dir() for each in target.iterdir()} if is_folder else None
    if found is None:
        given = "is a link" if target.is_symlink() else "is a file"
    elif not found or (mark in found and found <= set(names)):
        return
    else:
        given = f"holds {min(found - set(names) or found)}"

    allowed = "a new folder, or that of an earlier export with nothing else in it"
    raise ConfigError(f"output: given {target}, which {given}; allowed: {allowed}; give another output=")


def _replace(new: Path, target: Path) -> None:
    """A folder cannot take the place of one that is not empty, which is therefore set aside for a moment."""
    if not target.exists():
        new.rename(target)
        return

    aside = new.with_name(f"{new.name}.old{TEMPORARY}")
    target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Of processes that were killed while they wrote."""
    for leftover in target.parent.glob(f".{target.name}.*{TEMPORARY}"):
        pid = leftover.name.removeprefix(f".{target.name}.").partition(".")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            if leftover.name.endswith(f".old{TEMPORARY}") and not target.exists():
                leftover.rename(target)
            else:
                shutil.rmtree(leftover, ignore_errors=True)

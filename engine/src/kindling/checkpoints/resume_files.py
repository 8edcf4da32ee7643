"""The checkpoints that a run goes on from: step_<optimizer steps>.ckpt, the newest also as last.ckpt."""

import logging
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from kindling.checkpoints.checkpoint import Saved, load_file
from kindling.errors import CheckpointError
from kindling.files.whole_file import TEMPORARY
from kindling.run_folders.best import BEST

log = logging.getLogger(__name__)
# As a run that keeps several of the best names them.
OF_SEVERAL = re.compile(r"_epoch_\d+_step_\d+")


def newest_first(folder: Path) -> list[Path]:
    """The resume checkpoints of a run, the newest first."""
    files = [file for file in folder.glob("checkpoints/step_*.ckpt") if file.stem[5:].isdecimal()]
    return sorted(files, key=lambda file: int(file.stem[5:]), reverse=True)


def newest_whole(folder: Path) -> Saved | None:
    """The newest resume checkpoint of a run that is not damaged; None if it has none.

    Raises:
        CheckpointError: all are damaged, or of another version of this project.
    """
    files = newest_first(folder)
    last = folder / "checkpoints" / "last.ckpt"
    if last.exists() and not any(file.samefile(last) for file in files):
        # The file was copied alone, or an older version wrote it.
        files.append(last)
    for number, file in enumerate(files):
        try:
            return load_file(file)
        except CheckpointError as error:
            if number + 1 == len(files):
                raise
            log.warning("warning: %s; goes on from the one before", error)
    return None


def set_damaged_aside(folder: Path, chosen: Path) -> None:
    """Rename the checkpoints that are newer than the chosen one, and let last.ckpt be that one."""
    for file in newest_first(folder):
        if file == chosen:
            break
        file.rename(file.with_name(f"{file.name}.damaged"))
        shutil.rmtree(best_then(file), ignore_errors=True)
    name_last(chosen)


def name_last(file: Path) -> None:
    """Let last.ckpt be another name of a resume checkpoint."""
    name_also(file, "last.ckpt")


def name_also(file: Path, name: str) -> None:
    """Let a file of the same folder have another name too, in place of what had it."""
    last = file.with_name(name)
    temporary = file.with_name(f".{last.name}.{os.getpid()}{TEMPORARY}")
    temporary.unlink(missing_ok=True)
    try:
        _name_too(file, temporary)
        temporary.replace(last)
    finally:
        # It stays if both were the same file already.
        temporary.unlink(missing_ok=True)


def _name_too(file: Path, other: Path) -> None:
    """Let a file of the same folder have another name, or a copy that has it."""
    try:
        os.link(file, other)
    except OSError:
        # A file system without hard links.
        try:
            other.symlink_to(file.name)
        except OSError:
            # Nor any others, as that of a memory card.
            shutil.copyfile(file, other)


def best_then(file: Path) -> Path:
    """The folder with what were the best checkpoints when a resume checkpoint was taken."""
    return file.with_name(f".{file.stem}.best")


def keep_beside(file: Path, others: Iterable[Path]) -> None:
    """Keep what are the best checkpoints now beside a resume checkpoint, for a run that goes back to it."""
    folder = best_then(file)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = {*others}
    for other in names | {each.with_name(BEST) for each in names if each.with_name(BEST).is_file()}:
        _link_or_copy(other, folder / other.name)


def bring_back(file: Path) -> None:
    """Restore what were the best checkpoints when a resume checkpoint was taken; those of later weights are removed."""
    for later in file.parent.glob("*.ckpt") if best_then(file).is_dir() else ():
        if OF_SEVERAL.search(later.name) and not (best_then(file) / later.name).exists():
            later.unlink()
    for kept in best_then(file).glob("*.ckpt"):
        own = file.with_name(kept.name)
        if not (own.is_file() and own.samefile(kept)):
            temporary = file.with_name(f".{own.name}.{os.getpid()}{TEMPORARY}")
            _link_or_copy(kept, temporary)
            temporary.replace(own)


def remove(file: Path) -> None:
    """Delete a resume checkpoint and what is kept beside it."""
    file.unlink()
    shutil.rmtree(best_then(file), ignore_errors=True)


def _link_or_copy(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        # A file system without hard links.
        shutil.copyfile(file, target)

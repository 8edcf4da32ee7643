"""What is removed from a run folder: files of killed processes, and the folder of a run that was refused."""

import shutil
from contextlib import suppress
from pathlib import Path

from kindling.files.whole_file import TEMPORARY
from kindling.process.ranks import is_first_process
from kindling.run_folders import lock

# Files of a run that was refused before it did anything.
OF_A_REFUSED_RUN = {"run.json", "config.yaml", "train.log", lock.NAME}


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while it wrote."""
    for file in folder.rglob(f".*{TEMPORARY}"):
        file.unlink(missing_ok=True)


def remove_unused(folder: Path) -> bool:
    """Remove the folder of a run whose config was refused, if it holds nothing but the refusal; whether it does."""
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    if not names <= OF_A_REFUSED_RUN:
        return False
    if is_first_process():
        shutil.rmtree(folder, ignore_errors=True)

        # Other runs may lie beside it.
        with suppress(OSError):
            folder.parent.rmdir()
    return True

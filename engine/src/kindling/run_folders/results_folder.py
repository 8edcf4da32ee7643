"""Where the results of an evaluation go."""

import logging
from hashlib import blake2b
from pathlib import Path

from kindling.files.whole_file import remove_abandoned
from kindling.run_folders.own_files import make_own_folder

log = logging.getLogger(__name__)


def known_by(path: Path) -> str:
    """A name for a run or a checkpoint that no other has, wherever it lies."""
    return f"{path.stem}--{hash_of(str(path))}"


def results_folder(path: Path, name: str, logs: Path) -> Path:
    """evaluation/<name> in the folder of a checkpoint's run, or below the logs if that cannot be written."""
    elsewhere = logs / "evaluation"
    if path.parent.name == "checkpoints":
        run = path.resolve().parent.parent
        folder = run / "evaluation" / name
        try:
            make_own_folder(folder, run)
            remove_abandoned(folder)
            return folder
        except OSError as error:
            elsewhere = elsewhere / known_by(run) / name
            log.warning("%s cannot be written (%s); results go to %s", folder, error.strerror, elsewhere)
    else:
        elsewhere = elsewhere / known_by(path.resolve()) / name
    elsewhere.mkdir(parents=True, exist_ok=True)
    remove_abandoned(elsewhere)
    return elsewhere


def hash_of(text: str) -> str:
    return blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()

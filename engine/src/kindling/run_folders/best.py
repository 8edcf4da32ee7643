"""The best checkpoint of a run folder: the file that its run.json names, or best.ckpt."""

import json
import os
from pathlib import Path

from kindling.files.foreign_file import read_text
from kindling.run_folders.saved_run import MOST_OF_RECORD

BEST = "best.ckpt"
FOLDER = "checkpoints"


def best_file(run: Path) -> Path:
    """Where the best checkpoint of a run lies, if there is one; no name leads out of the folder."""
    usual = run / FOLDER / BEST
    named = _named(run)
    if named is None or usual.name == named.name:
        return usual
    inside = Path(os.path.realpath(named)).is_relative_to(os.path.realpath(run))
    return named if inside and named.suffix == ".ckpt" and named.is_file() else usual


def _named(run: Path) -> Path | None:
    try:
        file = json.loads(read_text(run / "run.json", MOST_OF_RECORD))["best_checkpoint"]
        return run / file
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None

"""Where an exported model comes from."""

import json
import math
from pathlib import Path
from typing import Any

from kindling.files.foreign_file import read_text
from kindling.inference.model_folder import sha256_of
from kindling.run_folders.saved_run import MOST_OF_RECORD


def source(path: Path) -> dict[str, Any]:
    """Where a checkpoint comes from, without a path of this machine: the model may be given away."""
    found: dict[str, Any] = {"checkpoint": path.name, "checkpoint_sha256": sha256_of(path)}
    folder = run_folder(path)
    if folder is None:
        return found
    try:
        record = json.loads(read_text(folder / "run.json", MOST_OF_RECORD))
        metrics = metrics_of_the_best(record) if path.stem == "best" else {}
        commit = record["git"] and str(record["git"]["commit"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return found | {"run": folder.name}
    return found | {"run": folder.name, "git_commit": commit, "metrics": metrics}


def metrics_of_the_best(record: dict[str, Any]) -> dict[str, float]:
    """Of run.json, where those of training and validation are of the last epoch."""
    found = {str(name): value for name, value in record["metrics"].items() if str(name).startswith("test/")}
    found[str(record["best"]["monitor"])] = record["best"]["score"]
    return {name: value for name, value in found.items() if isinstance(value, float) and math.isfinite(value)}


def run_folder(path: Path) -> Path | None:
    """That a checkpoint lies in."""
    return path.resolve().parent.parent if path.parent.name == "checkpoints" else None

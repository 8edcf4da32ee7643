"""Where a model comes from: its name, its run and what it is worth."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kindling.files.foreign_file import read_text
from kindling.inference.model_folder import sha256_of
from kindling.run_folders.saved_run import MOST_OF_RECORD

# Characters of a name, and metrics, that are shown of any model.
LONGEST, MOST = 80, 20


def source(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Where a checkpoint of that config comes from, without a path of this machine: the model may be given away."""
    found: dict[str, Any] = {"name": name_of(config), "checkpoint": path.name, "checkpoint_sha256": sha256_of(path)}
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


def name_of(config: Mapping[str, Any]) -> str:
    """The recipe's, else that of the model's class, or of the task's."""
    if config.get("experiment_name"):
        return str(config["experiment_name"])
    targets = ((config.get(part) or {}).get("_target_") for part in ("model", "task"))
    return next((str(target).rpartition(".")[2] for target in targets if target), "")


def shown(about: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Name and metrics in what anybody may have written of a model."""
    name, metrics = about.get("name"), about.get("metrics")
    numbers = metrics.items() if isinstance(metrics, Mapping) else ()
    finite = {str(key)[:LONGEST]: value for key, value in numbers if isinstance(value, float) and math.isfinite(value)}
    return name[:LONGEST] if isinstance(name, str) else "", dict(list(finite.items())[:MOST])


def metrics_of_the_best(record: dict[str, Any]) -> dict[str, float]:
    """Of run.json, where those of training and validation are of the last epoch."""
    found = {str(name): value for name, value in record["metrics"].items() if str(name).startswith("test/")}
    found[str(record["best"]["monitor"])] = record["best"]["score"]
    return {name: value for name, value in found.items() if isinstance(value, float) and math.isfinite(value)}


def run_folder(path: Path) -> Path | None:
    """That a checkpoint lies in."""
    return path.resolve().parent.parent if path.parent.name == "checkpoints" else None

"""A config that a run has saved, run again: `train.py --config-path <run folder> --config-name config`."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from kindling.config import project
from kindling.errors import ConfigError
from kindling.run_folders.saved_run import saved_config

# What only Hydra knows of a choice of files, and the saved config says itself.
CHOICE = "${hydra.runtime.choices.experiment}"


def is_saved(folder: Path, name: str) -> bool:
    """Whether a primary config is that of a run, which says nothing of Hydra."""
    try:
        found = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(found, dict) and {"paths", "task"} <= found.keys() and not {"defaults", "hydra"} & found.keys()


def as_primary(folder: Path, name: str, command: str) -> Path:
    """A temporary folder with the config as <name>.yaml, for a run of its own under its paths.logs.

    Args:
        folder: with the saved config.
        name: of its file.
        command: whose configs/<command>.yaml says how Hydra makes a run.

    Raises:
        ConfigError: it is not named config, or holds what no run has saved.
    """
    if name != "config":
        raise ConfigError(f"--config-name: given {name}, a saved config; allowed: config, in the folder of its run")
    config = _of_a_new_run(saved_config(folder))
    primary = (project.current().configs / f"{command}.yaml").read_text(encoding="utf-8")
    config["hydra"] = yaml.safe_load(primary.replace(CHOICE, "${experiment_name}"))["hydra"]
    written = Path(tempfile.mkdtemp(prefix="saved_again_"))
    atexit.register(shutil.rmtree, written, ignore_errors=True)
    (written / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return written


def _of_a_new_run(config: dict[str, Any]) -> dict[str, Any]:
    """With the folder of the new run in place of the old one's."""
    old = config["paths"].get("run")

    def renewed(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: renewed(value) for key, value in node.items()}
        if isinstance(node, list):
            return [renewed(value) for value in node]
        return node.replace(old, "${paths.run}") if old and isinstance(node, str) else node

    config = renewed(config)
    config["paths"]["run"] = config["resume"] = None
    return config

"""What an earlier run left in its folder: its run.json and its config.yaml, read with distrust."""

import json
from pathlib import Path
from typing import Any

import yaml

from kindling.config.foreign import faults
from kindling.config.renames import FORMAT, UNNAMED
from kindling.config.targets import absolute
from kindling.config.upgrade import upgrade
from kindling.errors import ConfigError

# The C loader is ten times quicker.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# The settings that say where a run came from.
ORIGIN = ("fork", "weights")


def run_of(folder: Path) -> dict[str, Any] | None:
    """The facts in run.json; None if there is none that can be read."""
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or not isinstance(facts.get("status"), str):
        return None

    earlier, metrics, ids = facts.get("earlier", []), facts.get("metrics", {}), facts.get("tracked_as", {})
    are_numbers = isinstance(metrics, dict) and all(isinstance(each, int | float) for each in metrics.values())
    are_ids = isinstance(ids, dict) and all(isinstance(each, str) for each in ids.values())
    return facts if isinstance(earlier, list) and are_numbers and are_ids else None


def saved_config(folder: Path) -> dict[str, Any]:
    """The plain config that a run was started with, in today's format.

    Raises:
        ConfigError: there is none that can be used.
    """
    file = folder / "config.yaml"
    try:
        config = yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        config = " ".join(str(error).split())

    given = f"resume: given {folder}, whose config.yaml holds"
    if not isinstance(config, dict) or not isinstance(config.get("paths"), dict):
        raise ConfigError(f"{given} no config ({str(config)[:200]}); give another run")

    written = (run_of(folder) or {}).get("format", UNNAMED)
    if type(written) is not int or written not in range(1, FORMAT + 1):
        raise ConfigError(
            f"resume: given {folder}, of format {written!r}; allowed: format {FORMAT} and older; "
            "use it with the version that wrote it"
        )

    for fault in faults(config, written):
        raise ConfigError(f"{given} {fault}")
    for key in ORIGIN:
        if not isinstance(config.get(key), str | None):
            raise ConfigError(f"{given} {config[key]!r} as {key}; allowed: a path")
    return absolute(upgrade(config, written))

"""What an earlier run left in its folder: its run.json and its config.yaml, read with distrust."""

import json
from pathlib import Path
from typing import Any

import yaml

from kindling.config.foreign import DEEPEST, faults
from kindling.config.plain import LOADER
from kindling.config.renames import FORMAT, UNNAMED
from kindling.config.targets import absolute
from kindling.config.upgrade import upgrade
from kindling.errors import ConfigError
from kindling.files.foreign_file import read_text

# The settings that say where a run came from.
ORIGIN = ("fork", "weights")
# Bytes; a run.json has a diff, and grows with each resume.
MOST_OF_RECORD, MOST_OF_CONFIG = 16_000_000, 1_000_000
# Characters; one of base 60 takes seconds if it is long.
LONGEST_NUMBER = 100


def run_of(folder: Path) -> dict[str, Any] | None:
    """The facts in run.json; None if there is none that can be read."""
    try:
        facts = json.loads(read_text(folder / "run.json", MOST_OF_RECORD))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or not isinstance(facts.get("status"), str):
        return None

    earlier, metrics, ids = facts.get("earlier", []), facts.get("metrics", {}), facts.get("tracked_as", {})
    is_best = isinstance(facts.get("best"), dict | None)
    are_numbers = isinstance(metrics, dict) and all(isinstance(each, int | float) for each in metrics.values())
    are_ids = isinstance(ids, dict) and all(isinstance(each, str) for each in ids.values())
    return facts if isinstance(earlier, list) and are_numbers and are_ids and is_best else None


def saved_config(folder: Path) -> dict[str, Any]:
    """The plain config that a run was started with, in today's format.

    Raises:
        ConfigError: there is none that can be used.
    """
    file = folder / "config.yaml"
    try:
        text = read_text(file, MOST_OF_CONFIG)
        refuse_what_grows(text)
        config = yaml.load(text, Loader=LOADER)
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


def origin_of(run: Any, resume: Any, fork: Any) -> Path:
    """The folder of the run that another goes on with."""
    given = Path(str(run if resume else fork or "")).expanduser()
    return given if given.is_dir() else given.parent.parent


def refuse_what_grows(text: str) -> None:
    """
    Raises:
        ValueError: reading some YAML takes far more time, memory or stack than its length says.
    """
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"nodes that lie more than {DEEPEST} deep")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"the alias *{event.anchor}")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and is_long_number(event.value):
            raise ValueError(f"a number of {len(event.value)} characters")


def is_long_number(value: str) -> bool:
    return len(value) > LONGEST_NUMBER and value.lstrip("+-.")[:1].isdigit()

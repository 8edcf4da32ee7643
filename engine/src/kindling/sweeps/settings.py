"""What a sweep is: its space, what all trials share, and what may not change when it goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from kindling.config.params import space_of
from kindling.config.space import Param
from kindling.errors import ConfigError
from kindling.files.redaction import redact_text

# What a sweep may go on with under other values.
FREE = ("name", "params", "n_trials", "n_jobs", "gpus", "max_failed", "trial_hours", "hours")


def settings_of(config: DictConfig) -> dict[str, Any]:
    """The node `sweep`, with what decides which trial is better."""
    settings: Any = OmegaConf.to_container(config.sweep, resolve=True)
    return {**settings, "monitor": config.monitor, "better": config.monitor_mode}


def read_command(loader: Any, settings: Mapping[str, Any], arguments: Sequence[str]) -> tuple[list[Param], list[str]]:
    """The parameters, and the overrides that each trial has.

    Raises:
        ConfigError: a parameter is none.
    """
    parser = OverridesParser.create(config_loader=loader)

    def parse(line: str) -> Override:
        override = parser.parse_override(line)
        # glob(*) asks the loader for options.
        override.config_loader = loader
        return override

    overrides = [each for each in map(parse, arguments) if not is_of_the_sweep(each.key_or_group)]
    space = space_of(parse, settings, overrides)
    # Of a setting that is given twice the last counts, and sweep.json keeps no order.
    fixed = {each.get_key_element(): str(each.input_line) for each in overrides if not each.is_sweep_override()}
    return space, list(fixed.values())


def is_of_the_sweep(key: str) -> bool:
    return key == "sweep" or key.startswith(("sweep.", "hydra.sweep"))


def described(settings: Mapping[str, Any], space: Sequence[Param], fixed: Sequence[str]) -> dict[str, Any]:
    """What sweep.json holds."""
    kept = {key: value for key, value in settings.items() if key not in FREE}
    params = {param.key: " when ".join([param.text, *map("=".join, param.when)]) for param in space}
    return {"params": params, "overrides": sorted(map(redact_text, fixed)), **kept}


def refuse_other_sweep(folder: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """
    Raises:
        ConfigError: a folder holds another sweep, with what differs.
    """
    differs = []
    # The YAML files may have been moved.
    for key in sorted((before.keys() | now.keys()) - {"configs"}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changed = [each for each in sorted(old.keys() | new.keys()) if old.get(each) != new.get(each)]
            differs += [f"{each}={new.get(each, 'nothing')} (it has {old.get(each, 'nothing')})" for each in changed]
        elif isinstance(old, list) and isinstance(new, list):
            differs += [f"{each} (it has not)" for each in new if each not in old]
            differs += [f"no {each} (it has)" for each in old if each not in new]
        elif old != new:
            differs.append(f"{key}={new} (it has {old})")
    if differs:
        raise ConfigError(
            f"sweep: given {', '.join(differs)}, and {folder} holds a sweep of other settings; "
            "allowed: its command, which goes on with it, sweep.name=NEW for another sweep, or remove that folder"
        )

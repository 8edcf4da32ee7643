"""What a sweep is: its space, what all trials share, and what may not change when it goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from kindling.config.fault import Fault, nearest
from kindling.config.space import Param, param_of, text_of
from kindling.errors import ConfigError
from kindling.files.redaction import redact_text

# What a sweep may go on with under other values.
FREE = ("name", "params", "n_trials", "n_jobs", "max_failed", "trial_hours", "hours")


def settings_of(config: DictConfig) -> dict[str, Any]:
    """The node `sweep`, with what decides which trial is better."""
    settings: Any = OmegaConf.to_container(config.sweep, resolve=True)
    return {**settings, "monitor": config.monitor, "better": config.monitor_mode}


def space_of(loader: Any, settings: Mapping[str, Any], arguments: Sequence[str]) -> tuple[list[Param], list[str]]:
    """The parameters, and the overrides that each trial has; the command line's come last, and count.

    Raises:
        ConfigError: a parameter is none.
    """
    parser = OverridesParser.create(config_loader=loader)
    overrides = [each for each in parser.parse_overrides(list(arguments)) if not is_of_the_sweep(each.key_or_group)]
    given = {each.get_key_element() for each in overrides}
    space = []
    for key, value in settings["params"].items():
        if key not in given:
            text, when = (value["space"], value.get("when")) if isinstance(value, dict) else (value, None)
            override = parser.parse_override(f"{key}={text}")
            override.config_loader = loader
            space.append(param_of(override, when))
    try:
        space += [param_of(each) for each in overrides if each.is_sweep_override()]
    except ValueError as error:
        raise ConfigError(f"sweep: given a setting without a space; allowed: {error}") from None
    for param in space:
        if redact_text(f"{param.key}={param.text}") != f"{param.key}={param.text}":
            raise ConfigError(
                f"sweep: given {param.key}, a secret, as a setting with several values; allowed: one value"
            )
    if not space:
        raise ConfigError("sweep: given no setting with several values; allowed: seed=0,1,2, or an interval")
    return ordered(space), [str(each.input_line) for each in overrides if not each.is_sweep_override()]


def ordered(space: Sequence[Param]) -> list[Param]:
    """The parameters, each behind those that its condition names.

    Raises:
        ConfigError: a condition names none, or what it never is.
    """
    by_key = {param.key: param for param in space}
    found: dict[str, Param] = {}
    left = [param._replace(when=tuple(_condition(param.key, each, by_key) for each in param.when)) for param in space]
    while left:
        ready = next((param for param in left if all(key in found for key, _ in param.when)), None)
        if ready is None:
            raise ConfigError(f"sweep.params: {', '.join(param.key for param in left)}: when: each waits for another")
        left.remove(ready)
        found[ready.key] = ready
    return list(found.values())


def _condition(of: str, condition: tuple[str, Any], space: Mapping[str, Param]) -> tuple[str, str]:
    key, value = condition
    choices = {name: param for name, param in space.items() if param.choices and name != of}
    if key not in choices:
        raise ConfigError(str(Fault(f"sweep.params: {of}: when", key, ", ".join(choices), nearest(key, choices))))
    spelled = choices[key].spelled(value)
    if spelled is None:
        raise ConfigError(str(Fault(f"sweep.params: {of}: when: {key}", text_of(value), choices[key].text)))
    return key, spelled


def is_of_the_sweep(key: str) -> bool:
    return key == "sweep" or key.startswith(("sweep.", "hydra.sweep"))


def described(settings: Mapping[str, Any], space: Sequence[Param], fixed: Sequence[str]) -> dict[str, Any]:
    """What sweep.json holds."""
    kept = {key: value for key, value in settings.items() if key not in FREE}
    params = {param.key: " when ".join([param.text, *map("=".join, param.when)]) for param in space}
    return {"params": params, "overrides": sorted(map(redact_text, fixed)), **kept}


def refuse_other_starts(space: Sequence[Param], starts: Sequence[Mapping[str, Any]]) -> None:
    """
    Raises:
        ConfigError: a trial to begin with is not in the space.
    """
    params = {param.key: param for param in space}
    for start in starts:
        for key, value in start.items():
            if key not in params:
                near = nearest(key, params)
                raise ConfigError(str(Fault(f"sweep.start: {key}", str(value), ", ".join(params), near)))
            if params[key].spelled(value) is None:
                raise ConfigError(str(Fault(f"sweep.start: {key}", text_of(value), params[key].text)))


def refuse_other_sweep(folder: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """
    Raises:
        ConfigError: a folder holds another sweep, with what differs.
    """
    differs = []
    for key in sorted(before.keys() | now.keys()):
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

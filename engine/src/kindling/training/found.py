"""Settings that the config leaves open, such as the size of a vocabulary, set to what the data holds."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from kindling.config.check.command_line import refuse
from kindling.config.check.nodes import node_faults
from kindling.config.check.tree import source
from kindling.config.composition import to_plain
from kindling.config.fault import Fault
from kindling.errors import ConfigError, one_line

# The nodes that may refer to what is found.
READERS = ("model", "task", "metrics")


def fill_in(cfg: DictConfig, config: dict[str, Any], data: Any) -> tuple[DictConfig, dict[str, Any], list[str]]:
    """A config with null settings of the data that other nodes refer to set to its facts; the data is read only then.

    Args:
        cfg: of the run.
        config: the same, as plain values.
        data: the data module.

    Returns:
        Both configs filled in, and the dotted keys that were.

    Raises:
        ConfigError: a setting that may not be null is no fact of the data, or one of another kind.
    """
    wanted = open_settings(cfg)
    if not wanted:
        return cfg, config, []
    data.prepare_data()
    facts = facts_of(data)
    # A config holds no tensor and no array.
    found = {key: getattr(facts[key], "tolist", lambda key=key: facts[key])() for key in wanted if key in facts}
    cfg = cfg.copy()
    with open_dict(cfg):
        for key, value in found.items():
            cfg.data[key] = value
    filled = {name: to_plain(cfg[name]) for name in ("data", *READERS) if cfg.get(name) is not None}
    refuse([*misfits(cfg, filled, data)])
    keys = [f"{name}.{key}" for name, node in filled.items() for key in changed(config[name], node)]
    return cfg, config | filled, keys


def facts_of(data: Any) -> dict[str, Any]:
    """Those of a data module, which need not have any."""
    return dict(getattr(data, "facts", None) or {})


def misfits(cfg: DictConfig, filled: dict[str, Any], data: Any) -> Iterator[Fault]:
    """What is wrong, now that the data is read, with arguments that are settings of the data."""
    told: set[str] = set()
    for fault in node_faults(None, {name: node for name, node in filled.items() if name in READERS}, ""):
        setting = source(cfg, fault.path)
        if not setting.startswith("data."):
            continue
        if OmegaConf.select(cfg, setting) is not None:
            yield replace(fault, given=f"{fault.given}, which {type(data).__name__} found as {setting}")
        elif setting not in told:
            told.add(setting)
            yield Fault(setting, f"null, and {lacking(setting, data)}", f"{fault.allowed}, or a fact of that name")


def lacking(setting: str, data: Any) -> str:
    """Which facts there are instead."""
    facts, key = facts_of(data), setting.removeprefix("data.")
    if not facts:
        return f"{type(data).__name__} has no facts"
    of_none = f"{key}, which is None" if key in facts else ", ".join(facts)
    return f"the facts of {type(data).__name__} hold {of_none}"


@contextmanager
def naming_open_settings(cfg: DictConfig, data: Any) -> Iterator[None]:
    """Name the settings that are null still, if a class that says nothing of its arguments fails with them.

    Raises:
        ConfigError: as before, or in place of an error of another kind.
    """
    try:
        yield
    except (ConfigError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        left = [f"data.{key}" for key in open_settings(cfg)]
        if not left:
            raise
        names = "; ".join(f"{setting} is null, and {lacking(setting, data)}" for setting in left)
        said = str(error) if isinstance(error, ConfigError) else f"task: {one_line(error)}"
        raise ConfigError(f"{said}; {names}") from error


def open_settings(cfg: DictConfig) -> list[str]:
    """Settings of the data that are null, and that other nodes refer to."""
    nodes = [cfg[name] for name in READERS if cfg.get(name) is not None]
    text = "\n".join(OmegaConf.to_yaml(node) for node in nodes)
    referred = set(re.findall(r"\$\{data\.(\w+)\}", text))
    return [str(key) for key, value in (cfg.data or {}).items() if value is None and key in referred]


def changed(before: Any, now: Any) -> list[str]:
    """The dotted keys of two plain nodes that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        inner = {key: changed(before.get(key), value) for key, value in now.items()}
        return [f"{key}.{each}" if each else str(key) for key, keys in inner.items() for each in keys]
    return [] if before == now else [""]

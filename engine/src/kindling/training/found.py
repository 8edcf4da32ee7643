"""Settings that the config leaves open, such as the size of a vocabulary, set to what the data holds."""

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from kindling.config.composition import to_plain

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
    """
    wanted = open_settings(cfg)
    if not wanted:
        return cfg, config, []
    data.prepare_data()
    facts = data.facts
    # A config holds no tensor and no array.
    found = {key: getattr(facts[key], "tolist", lambda key=key: facts[key])() for key in wanted if key in facts}
    cfg = cfg.copy()
    with open_dict(cfg):
        for key, value in found.items():
            cfg.data[key] = value
    filled = {name: to_plain(cfg[name]) for name in ("data", *READERS) if cfg.get(name) is not None}
    keys = [f"{name}.{key}" for name, node in filled.items() for key in changed(config[name], node)]
    return cfg, config | filled, keys


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

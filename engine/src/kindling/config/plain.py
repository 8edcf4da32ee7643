"""A config as plain values: dict, list, str and numbers; and those as YAML."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Config = dict[str, Any]
# The C loader is ten times quicker.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def yaml_of(file: Path) -> Any:
    """What a YAML file says."""
    return yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER)


def get(config: Config, path: str) -> Any:
    """The value at a dotted path; None if there is none."""
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node


def map_targets(config: Any, change: Callable[[str], str]) -> Any:
    """A plain config whose targets are what `change` makes of them."""
    if isinstance(config, dict):
        return {
            key: change(value) if key == "_target_" and isinstance(value, str) else map_targets(value, change)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [map_targets(value, change) for value in config]
    return config


def as_yaml(config: Any, **layout: Any) -> str:
    """Plain values as OmegaConf would write them.

    Args:
        config: to be written.
        layout: further arguments of `yaml.dump`.
    """
    quick, thorough = _dumpers()
    layout = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False, **layout}
    try:
        return yaml.dump(config, Dumper=quick, **layout)
    except UnicodeEncodeError:
        # A name of a file that is no UTF-8.
        return yaml.dump(config, Dumper=thorough, **layout)


@cache
def _dumpers() -> tuple[Any, Any]:
    """OmegaConf's, which quotes what YAML takes for a number; the same in C, which is ten times quicker."""
    from omegaconf._utils import get_omega_conf_dumper

    thorough: Any = get_omega_conf_dumper()
    quick = getattr(yaml, "CDumper", None)
    if quick is None:
        return thorough, thorough
    return type("Quick", (quick,), {"yaml_representers": thorough.yaml_representers}), thorough

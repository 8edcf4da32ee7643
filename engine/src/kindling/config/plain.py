"""A config as plain values: dict, list, str and numbers."""

from collections.abc import Callable
from typing import Any

Config = dict[str, Any]


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

"""A config as plain values: dict, list, str and numbers."""

from typing import Any

Config = dict[str, Any]


def get(config: Config, path: str) -> Any:
    """The value at a dotted path; None if there is none."""
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node

"""What Hydra's own part of a config says to build, before any code of ours is asked."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kindling.config.fault import Fault

HYDRA_TARGETS = ("hydra._internal.", "hydra_plugins.")


def targets_of_hydra(config: DictConfig) -> Iterator[Fault]:
    """Hydra builds its launcher and its callbacks before any code of ours is asked."""
    hydra = OmegaConf.to_container(config.hydra, resolve=False) if "hydra" in config else {}
    for path, key, value in _named(hydra, "hydra"):
        if key == "_target_" and not str(value).startswith(HYDRA_TARGETS):
            yield Fault(path, repr(value), f"names that start with {', '.join(HYDRA_TARGETS)}")
        if key == "()" or (key == "class" and not str(value).startswith("logging.")):
            yield Fault(path, repr(value), "a class of Python's logging package")


def _named(node: Any, above: str) -> Iterator[tuple[str, str, Any]]:
    """What a tree says to build: path, key, name."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if key in ("_target_", "()", "class"):
            yield f"{above}.{key}", str(key), value
        yield from _named(value, f"{above}.{key}")

"""What the config of a checkpoint describes, built if it is of the right kind: anybody may have written it."""

from typing import Any, TypeVar

from kindling.config.composition import instantiate
from kindling.config.targets import locate
from kindling.errors import CheckpointError

Kind = TypeVar("Kind")


def section(config: dict[str, Any], name: str) -> dict[str, Any]:
    """
    Raises:
        CheckpointError: there is no such section in a checkpoint's config.
    """
    found = config.get(name)
    if not isinstance(found, dict):
        raise CheckpointError(f"{name}: given {found!r} by the checkpoint's config; allowed: a section")
    return found


def build(node: dict[str, Any], name: str, kind: type[Kind], /, **given: Any) -> Kind:
    """
    Args:
        node: of the config.
        name: of the node.
        kind: that it must describe.
        given: further arguments, not of the config.

    Raises:
        CheckpointError: a section describes nothing of that kind.
        ConfigError: it cannot be built.
    """
    target = node.get("_target_")
    found = locate(target, f"{name}._target_")
    built = instantiate(node, name, **given) if not isinstance(found, type) or issubclass(found, kind) else None
    if not isinstance(built, kind):
        raise CheckpointError(f"{name}: given {target!r} by the checkpoint's config; allowed: a {kind.__name__}")
    return built

"""The nodes of a run's config that say what is built."""

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

# Nodes of train.yaml to build: whether they may be null; those that a task does not take may in any case.
BUILT = {
    "task": False,
    "data": False,
    "data.augment": True,
    "data.transform": True,
    "model": False,
    "optimizer": False,
    "scheduler.scheduler": False,
    "mix": True,
    "metrics.*": True,
    "trainer": False,
    "callbacks.*": True,
    "logger.*": True,
}
# Images pass its nodes one after the other.
TRANSFORM = "data.transform"


def places(values: dict[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any], bool]]:
    """The path and value of each node that should say what to build, the nodes beside it, whether it may be null."""
    for pattern, may_be_null in BUILT.items():
        group, _, last = pattern.partition(".")
        siblings = values.get(group) if last else values
        siblings = siblings if isinstance(siblings, dict) else {}
        for name in [name for name in siblings if fnmatch(str(name), last or group)]:
            path, value = f"{group}.{name}" if last else group, siblings[name]
            if are_parts(path, value):
                yield from ((f"{path}.{each}", value[each], value, may_be_null) for each in value)
            else:
                yield path, value, siblings if last else {}, may_be_null


def are_parts(path: str, value: Any) -> bool:
    """Whether they are several nodes by name, such as transform=[rand,color_jitter] gives."""
    return path == TRANSFORM and isinstance(value, dict) and all(isinstance(v, dict | None) for v in value.values())


def is_built(node: Any) -> bool:
    return isinstance(node, dict) and "_target_" in node

"""What may stand in a config that a run has left in a file: anybody may have written it."""

from collections.abc import Iterator
from typing import Any

from kindling.config.fault import Fault
from kindling.config.targets import absolute, interpolation_fault, nodes, prefix_fault
from kindling.config.upgrade import upgrade

# Hydra takes half a second for so many.
MOST_NODES, DEEPEST = 10_000, 50


def faults(config: Any, written: int) -> Iterator[Fault]:
    """What does not belong into a config that was saved in a format: targets that are not allowed, interpolations."""
    if not is_plain(config):
        yield Fault("config", "more than plain values", "texts, numbers, lists and mappings")
        return
    for path, key, value in nodes(absolute(upgrade(config, written)), ""):
        fault = prefix_fault(value, path) if key == "_target_" else interpolation_fault(value, path)
        if fault:
            yield fault


def is_plain(config: Any) -> bool:
    """Whether it is a tree of dicts, lists, texts and numbers, neither deep nor large beyond reason."""
    level, num_nodes = [config], 0
    for _ in range(DEEPEST):
        num_nodes += len(level)
        below = []
        for each in level:
            if type(each) in (dict, list):
                below += [*each, *each.values()] if type(each) is dict else each
            elif not (each is None or isinstance(each, str | int | float)):
                return False
        if not below or num_nodes > MOST_NODES:
            return num_nodes <= MOST_NODES
        level = below
    return False

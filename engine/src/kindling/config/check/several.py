"""Several options of one group, as in callbacks=[default,periodic]."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from kindling.config.fault import Fault
from kindling.config.plain import yaml_of

# Gives the file of `group/option`.
Files = Callable[[str], Path | None]
# Groups whose second option would be merged into the first.
ONE = ("experiment", "task", "data", "model", "optimizer", "scheduler", "mix", "trainer", "sweep", "launcher")


def clash(file_of: Files, group: str, options: Sequence[Any]) -> list[Fault]:
    """What keeps several options of a group from being taken together: two that build one node, none after others."""
    built = [(option, _built(file_of, f"{group}/{option}")) for option in options]
    same = [f"{one} and {other}" for (one, its), (other, others) in combinations(built, 2) if its & others]
    if group in ONE and len(options) > 1:
        same = [" and ".join(map(str, options))]
    if same:
        return [Fault(group, f"{same[0]}, which cannot be taken together", "one of them")]
    if "none" in options[1:]:
        return [Fault(group, f"none after {options[0]}, which takes that away", f"without none, or {group}=none")]
    return []


def _built(file_of: Files, name: str) -> set[str]:
    """The paths of what a file says to build."""
    file = file_of(name)
    return {path for path, _ in targets_in(yaml_of(file), "")} if file else set()


def clash_in_defaults(file_of: Files, entry: Sequence[tuple[str, str | None, bool]], origin: str) -> Iterator[Fault]:
    """The same of an entry of a defaults list: group, option and whether it overrides, of each option."""
    options = [option for _, option, _ in entry]
    if len(options) > 1:
        for fault in clash(file_of, entry[0][0], options):
            yield replace(fault, path=f"defaults: {fault.path}", origin=origin)


def targets_in(node: Any, path: str) -> list[tuple[str, str]]:
    """The path of each node with a target, and that target."""
    if not isinstance(node, dict):
        return []
    own = [(path, node["_target_"])] if "_target_" in node else []
    return own + [found for key, value in node.items() for found in targets_in(value, f"{path}.{key}")]

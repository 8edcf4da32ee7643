"""The best trial as an experiment, to be copied into configs/experiment/."""

from collections.abc import Sequence
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from kindling.config.space import plain

# What belongs to a place, and not to a recipe.
LEFT_OUT = ("paths.", "hydra", "experiment")


def recipe(loader: Any, overrides: Sequence[str], title: str) -> str:
    """The YAML of an experiment with the overrides of a trial.

    Args:
        loader: Hydra's, which knows the groups.
        overrides: of the sweep and of the trial.
        title: its first comment.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    kept = [each for each in parsed if not each.key_or_group.startswith(LEFT_OUT)]
    base = [each.value() for each in parsed if each.key_or_group == "experiment"]
    chosen: list[Any] = [each for each in base if each is not None]
    if chosen and all(each.key_or_group != "sweep" for each in kept):
        # The base may have a space, and this is a single run.
        chosen.append({"override /sweep": "none"})
    values: dict[str, Any] = {}
    deleted = [str(each.input_line) for each in kept if each.is_delete()]
    for each in kept:
        if each.is_delete():
            continue
        if loader.repository.group_exists(each.key_or_group) and not isinstance(each.value(), dict):
            chosen.append({f"override /{each.key_or_group}": each.value()})
        else:
            _put(values, each)
    lines = ["# @package _global_", "# yaml-language-server: $schema=../../.schema/config.json", f"# {title}"]
    lines += [f"# and on the command line: {line}" for line in deleted]
    body = yaml.safe_dump({"defaults": [*chosen, "_self_"], **values}, sort_keys=False, allow_unicode=True)
    return "\n".join([*lines, body])


def _put(values: dict[str, Any], override: Override) -> None:
    *parents, name = override.key_or_group.split(".")
    node = values
    for parent in parents:
        node = node.setdefault(parent, {})
    node[name] = plain(override.value())

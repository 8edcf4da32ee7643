"""The entries of a defaults list, as nodes of a YAML file."""

from collections.abc import Iterator

import yaml


def child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    return None


def is_shared(option: str) -> bool:
    """Whether a file is what several options take by their defaults lists, such as data/_images, and none itself."""
    return any(part.startswith("_") for part in option.split("/"))


def groups_of(entries: yaml.Node | None, parent: str) -> dict[str, bool]:
    """The groups of a defaults list, and whether an option is chosen."""
    entries = entries if isinstance(entries, yaml.SequenceNode) else yaml.SequenceNode("", [])
    return {group: option is not None for entry in entries.value for group, option, _ in named(entry, parent)}


def named(entry: yaml.Node, parent: str) -> Iterator[tuple[str, str | None, bool]]:
    """The group, the option and whether it overrides, of one entry of a defaults list."""
    here = parent.rpartition("/")[0]
    if isinstance(entry, yaml.ScalarNode):
        if entry.value != "_self_":
            group, _, option = _absolute(entry.value.partition("@")[0], here).rpartition("/")
            yield group, option, False
    elif isinstance(entry, yaml.MappingNode):
        for key, value in entry.value:
            words = key.value.split()
            if "optional" in words:
                continue
            group = _absolute(words[-1].partition("@")[0], here)
            options = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for option in options:
                null = option.tag.endswith(":null")
                yield group, None if null else option.value, "override" in words


def _absolute(name: str, here: str) -> str:
    return name[1:] if name.startswith("/") else f"{here}/{name}".lstrip("/")

"""Where one YAML file gives a list and another one settings, which no merge can join."""

from collections.abc import Iterator, Sequence

import yaml

from kindling.config.check.files import GLOBAL, ConfigFiles
from kindling.config.fault import Fault

ALLOWED = {
    yaml.SequenceNode: ("settings", "a list, such as [...]"),
    yaml.MappingNode: ("a list", "settings, such as name: value"),
}


def clash_of_kinds(files: ConfigFiles, defaults: Sequence[tuple[str, str]]) -> Fault | None:
    """The first of them; None if there is none.

    Args:
        files: of the configs.
        defaults: the name and the package of each file, in the order of the merge.
    """
    kinds: dict[str, type[yaml.Node]] = {}
    for name, package in defaults:
        for path, node in _nodes(files.tree(name), "" if package == GLOBAL else package):
            before = kinds.get(path)
            if type(node) in ALLOWED and before in ALLOWED and before is not type(node):
                given, allowed = ALLOWED[before]
                return Fault(path, given, allowed, origin=f"{files.shown(name)}:{node.start_mark.line + 1}")
            kinds[path] = type(node)
    return None


def _nodes(node: yaml.Node | None, path: str) -> Iterator[tuple[str, yaml.Node]]:
    """What a file has at each path, but for its defaults list."""
    if node is not None and path:
        yield path, node
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value != "defaults":
            yield from _nodes(value, f"{path}.{key.value}".lstrip("."))

"""What a new one starts from: a starter, or one of yours."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import yaml

from additions.kinds import KINDS, Kind, blocks_of, places_of
from kindling.config.project import Project

STARTERS = Path(__file__).parents[1] / "starters"


class Source(NamedTuple):
    """The texts of what is copied; None where it has none."""

    name: str
    module: str
    class_name: str
    code: str | None
    config: str
    test: str | None
    notes: tuple[str, ...] = ()


def starter(kind: str) -> Source:
    """What a new one starts from."""
    code, config, test = (STARTERS / f"{kind}{end}" for end in (".py", ".yaml", "_tests.py"))
    module = f"package.{KINDS[kind].folder}.starter"
    return Source("starter", module, "Starter", text_of(code), config.read_text(encoding="utf-8"), text_of(test))


def source_of(kind: Kind, like: str, here: Project) -> Source:
    """What stands under a name; the config alone if its code is the engine's or that of other options too."""
    places = places_of(kind, like, here)
    config = places.config.read_text(encoding="utf-8")
    if not kind.folder:
        config = re.sub(r"^# (result|cost):.*$", r"# \1:", config, flags=re.MULTILINE)
        return Source(like, "", "", None, config, None)
    module, _, class_name = target_of(config, like).rpartition(".")
    stem = module.removeprefix(f"{here.package}.{kind.folder}.")
    others = places.config.parent.glob("*.yaml")
    sharing = [each.stem for each in others if f"{module}." in each.read_text(encoding="utf-8") and each.stem != like]
    file = places.code.with_name(f"{stem}.py")
    if stem == module or "." in stem or not file.is_file() or (sharing and stem != like):
        shared = f", as {', '.join(sorted(sharing))}" if sharing else ""
        note = (
            f"the config alone: its class {module}.{class_name} stays the same{shared}"
            if module
            else "the config alone"
        )
        return Source(like, "", "", None, config, None, (note,))
    test, notes = tests_of(text_of(places.test))
    return Source(like, module, class_name, text_of(file), config, test, notes)


def tests_of(test: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The tests of a file that hold for a copy: those of a recipe stay with the old one."""
    if test is None:
        return None, ("no test of its own: there is none to copy",)
    lines, left_out = test.splitlines(keepends=True), []
    for each in reversed(ast.parse(test).body):
        if isinstance(each, ast.FunctionDef) and "experiment=" in (ast.get_source_segment(test, each) or ""):
            left_out.append(each.name)
            first = min([each.lineno, *(mark.lineno for mark in each.decorator_list)])
            del lines[first - 1 : each.end_lineno]
    return "".join(lines), tuple(f"left out, as it tests a recipe: {name}" for name in reversed(left_out))


def target_of(config: str, name: str) -> str:
    """The `_target_` of a config, or of its block of the same name, or of its only block."""
    tree = yaml.safe_load(config) or {}
    blocks = [each for each in blocks_of(config).values() if isinstance(each, dict) and "_target_" in each]
    only = blocks[0] if len(blocks) == 1 else {}
    return str(tree.get("_target_") or blocks_of(config).get(name, only).get("_target_", ""))


def text_of(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None

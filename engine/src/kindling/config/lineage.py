"""The bodies of a class and of its base classes, read from source."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from kindling.config import sources
from kindling.config.signatures import TargetMissing, find_class, find_target

# Classes whose bases do not matter here.
CLOSED = ("lightning", "pytorch_lightning", "torch")
# What its methods log, METRICS says.
TASK = f"{__name__.partition('.')[0]}.training.task"


class Place(NamedTuple):
    """A class of a lineage: what stands in it, and whether that is all: its bases found, no method from elsewhere;
    its file and its name, if it has been found.
    """

    body: list[ast.stmt]
    is_known: bool = True
    file: Path = Path()
    name: str = ""


@cache
def lineage(target: str) -> tuple[Place, ...]:
    """A class and its bases, the nearest first, without those of Lightning and without the methods of `Task`."""
    try:
        found = find_target(target)
    except (TargetMissing, OSError, SyntaxError):
        found = None
    if found is None or not isinstance(found[1], ast.ClassDef):
        return (Place([], is_known=False),)
    places: list[Place] = []
    waiting: list[tuple[Path, ast.ClassDef]] = [(found[0], found[1])]
    while waiting:
        module, definition = waiting.pop(0)
        if places and sources.dotted(module).partition(".")[0] in CLOSED:
            continue
        bases = [find_class(module, base) for base in definition.bases]
        whole = _whole(module, definition.name)
        if sources.dotted(module) == TASK:
            whole = [each for each in whole if not isinstance(each, ast.FunctionDef)]
        is_known = all(bases) and not _has_foreign_methods(whole) and not _is_changed(module, definition)
        places.append(Place(whole, is_known, module, definition.name))
        waiting = [base for base in bases if base] + waiting
    return tuple(places)


def defines(target: str, method: str) -> bool:
    """Whether a class has a method of its own, or of a base that the user has written."""
    every = [each for place in lineage(target) for each in place.body]
    return any(isinstance(each, ast.FunctionDef) and each.name == method for each in every)


def may_define(target: str, method: str) -> bool:
    """As `defines`; also of a class of which not everything is known."""
    return defines(target, method) or not all(place.is_known for place in lineage(target))


@cache
def _whole(module: Path, name: str) -> list[ast.stmt]:
    """What stands in a class, of which `find_target` gives no more than its `__init__`."""
    found = [each for each in ast.walk(sources.tree(module)) if isinstance(each, ast.ClassDef) and each.name == name]
    return found[0].body if found else []


def _has_foreign_methods(body: list[ast.stmt]) -> bool:
    """Whether a class body binds a step or a hook to what stands elsewhere; what Lightning's own does is known."""
    found = [
        each.value
        for each in body
        if isinstance(each, ast.Assign)
        and any(re.fullmatch(r"on_\w+|\w+_step|forward|setup", ast.unparse(target)) for target in each.targets)
    ]
    return any("LightningModule." not in ast.unparse(value) for value in found)


def _is_changed(module: Path, definition: ast.ClassDef) -> bool:
    """Whether a decorator may change a class, or its file by `setattr(Class, ...)` or `Class.hook = ...`."""
    name = re.escape(definition.name)
    from_outside = re.compile(rf"^[ \t]*(setattr\(\s*{name}\s*,|{name}\.\w+\s*=[^=])", re.MULTILINE)
    return bool(definition.decorator_list) or bool(from_outside.search(sources.text(module)))


def assigned(body: list[ast.stmt], name: str) -> ast.expr | None:
    """What a class body assigns to a name; None if nothing."""
    for each in body:
        if isinstance(each, ast.Assign | ast.AnnAssign):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            if name in map(ast.unparse, targets):
                return each.value
    return None

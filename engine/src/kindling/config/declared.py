"""Whether METRICS of a task says which metrics are logged, and which way each is better."""

import ast
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kindling.config import sources
from kindling.config.lineage import TASK, Place, assigned, lineage
from kindling.stages import STAGES

WAYS = ("min", "max")
ALLOWED = 'a dict, written out, of names without a stage and "min" or "max", such as {"mae": "min"}'


class Misdeclared(NamedTuple):
    """What a class of a file gives as METRICS that cannot be."""

    file: str
    name: str
    given: str

    def __str__(self) -> str:
        return f"METRICS of {self.name} in {self.file}, {self.given}"


def misdeclared_by(task: str) -> Iterator[Misdeclared]:
    """What a task and its base classes give that cannot be, read from source; of other classes nothing."""
    places = lineage(task)
    for place in places if any(is_task(each) for each in places) else ():
        node = assigned(place.body, "METRICS")
        given = "" if node is None else _wrong(node)
        if given:
            yield Misdeclared(str(place.file), place.name, given)


def is_task(place: Place) -> bool:
    return place.name == "Task" and sources.dotted(place.file) == TASK


def wrong_in(declared: Any) -> str:
    """What of METRICS cannot be, as text; "" if all of it can."""
    if not isinstance(declared, Mapping):
        return f"{declared!r}"
    return ", ".join(f"{name!r}: {way!r}" for name, way in declared.items() if not _can_be(name, way))


def _can_be(name: Any, way: Any) -> bool:
    return isinstance(name, str) and name != "" and name.partition("/")[0] not in STAGES and way in WAYS


def _wrong(node: ast.expr) -> str:
    """What cannot be of an expression: it is not written out, or not what METRICS may be."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return ", ".join(filter(None, map(_wrong, (node.left, node.right))))
    if isinstance(node, ast.Attribute) and node.attr == "METRICS":
        return ""
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return ", ".join(filter(None, (_wrong_pair(key, value) for key, value in pairs)))
    return ast.unparse(node)


def _wrong_pair(key: ast.expr | None, value: ast.expr) -> str:
    if key is None:
        # As in {**Base.METRICS}.
        return _wrong(value)
    if isinstance(key, ast.Constant) and isinstance(value, ast.Constant) and _can_be(key.value, value.value):
        return ""
    return f"{ast.unparse(key)}: {ast.unparse(value)}"

"""What the names in an annotation stand for, followed through assignments and imports, without importing.

An annotation comes out with plain names, `Literal` with its values, and `Annotated` with the bounds of its numbers as
constants. What cannot be read from source alone, such as a name computed at run time, allows any value.
"""

import ast
import operator
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from kindling.config import sources
from kindling.config.bounds import Bound, bound
from kindling.config.sources import Imported

ANY = ast.Name("Any")
BOUNDS = "annotated_types"
# No alias here matters, and some packages are large.
CLOSED = {*sys.stdlib_module_names, BOUNDS, "lightning", "numpy", "torch", "torchvision", "typing_extensions"}
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
LARGEST_EXPONENT = 1024

Seen = frozenset[tuple[Path, str]]


class Unreadable(Exception):  # noqa: N818  an answer to a question, not an error of ours
    """What would be known only at run time."""


def resolved(module: Path, annotation: ast.expr | None, seen: Seen = frozenset()) -> ast.expr | None:
    """An annotation that stands in a module, without aliases."""
    if annotation is None or sources.dotted(module).partition(".")[0] in CLOSED:
        return annotation
    try:
        return _resolved(module, annotation, seen)
    except (Unreadable, SyntaxError, OSError, UnicodeError):
        return ANY


def _resolved(module: Path, node: ast.expr, seen: Seen) -> ast.expr:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _resolved(module, ast.parse(node.value, mode="eval").body, seen)
    if isinstance(node, ast.BinOp):
        return ast.BinOp(resolved(module, node.left, seen), node.op, resolved(module, node.right, seen))  # pyright: ignore[reportArgumentType]
    if isinstance(node, ast.Subscript):
        return _subscript(module, node, seen)
    if not isinstance(node, ast.Name | ast.Attribute):
        return node
    found = _follow(module, ast.unparse(node), seen)
    if isinstance(found, str):
        return ast.parse(found, mode="eval").body
    if found is None:
        return node
    place, value, seen = found
    if isinstance(value, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp | ast.Constant):
        return _resolved(place, value, seen)
    return ANY


def _subscript(module: Path, node: ast.Subscript, seen: Seen) -> ast.expr:
    base = _resolved(module, node.value, seen)
    if not isinstance(base, ast.Name | ast.Attribute):
        # The base is an alias with type variables.
        return ANY
    name = ast.unparse(base).rpartition(".")[2]
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Annotated":
        inner = resolved(module, items[0], seen) or ANY
        bounds = [found for each in items[1:] if (found := _bound(module, each, seen))]
        return annotated(inner, bounds)
    if name == "Literal":
        return literal([value for each in items for value in _values(module, each, seen)])
    if name == "KeysOf":
        return literal(_keys(module, node.slice, seen))
    within = [resolved(module, each, seen) or ANY for each in items]
    return ast.Subscript(base, ast.Tuple(within, ast.Load()) if isinstance(node.slice, ast.Tuple) else within[0])


def annotated(annotation: ast.expr, bounds: list[Bound]) -> ast.expr:
    """An annotation whose numbers are bounded."""
    if not bounds:
        return annotation
    items = [annotation, *(ast.Constant(each) for each in bounds)]  # pyright: ignore[reportArgumentType]
    return ast.Subscript(ast.Name("Annotated"), ast.Tuple(items, ast.Load()))


def literal(values: list[Any]) -> ast.expr:
    """`Literal` of these values."""
    return ast.Subscript(ast.Name("Literal"), ast.Tuple([ast.Constant(each) for each in values], ast.Load()))


def _values(module: Path, node: ast.expr, seen: Seen) -> list[Any]:
    """The values that an item of Literal[...] stands for; another Literal stands for all of its own."""
    with suppress(ValueError):
        return [ast.literal_eval(node)]
    found = _resolved(module, node, seen) if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) else ANY
    if not (isinstance(found, ast.Subscript) and isinstance(found.slice, ast.Tuple)):
        raise Unreadable
    if ast.unparse(found.value) != "Literal":
        raise Unreadable
    return [each.value for each in found.slice.elts if isinstance(each, ast.Constant)]


def _keys(module: Path, node: ast.expr, seen: Seen) -> list[Any]:
    """The keys of a dict that a module writes out."""
    found = _follow(module, ast.unparse(node), seen)
    if not isinstance(found, tuple) or not isinstance(found[1], ast.Dict):
        raise Unreadable
    return [ast.literal_eval(key) for key in found[1].keys if key]


def _bound(module: Path, node: ast.expr, seen: Seen) -> Bound | None:
    """What an item of Annotated[...] says of numbers; None if nothing, or nothing that can be read."""
    with suppress(Unreadable, SyntaxError, OSError, UnicodeError):
        if isinstance(node, ast.Name | ast.Attribute):
            found = _follow(module, ast.unparse(node), seen)
            return _bound(*found) if isinstance(found, tuple) else None
        if isinstance(node, ast.Call):
            maker = _follow(module, ast.unparse(node.func), seen)
            if isinstance(maker, str) and maker.startswith(f"{BOUNDS}."):
                values = [_number(module, each, seen) for each in node.args]
                named = {str(each.arg): _number(module, each.value, seen) for each in node.keywords}
                return bound(maker.removeprefix(f"{BOUNDS}."), values, named)
    return None


def _number(module: Path, node: ast.expr, seen: Seen) -> float | None:
    """A number that is written out, perhaps with a sign, as 2**32 or by the name of a constant.

    Raises:
        Unreadable: it is anything else.
    """
    if isinstance(node, ast.Constant) and (node.value is None or type(node.value) in (int, float)):
        return node.value  # pyright: ignore[reportReturnType]
    if isinstance(node, ast.Name | ast.Attribute):
        found = _follow(module, ast.unparse(node), seen)
        if isinstance(found, tuple):
            return _number(*found)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_operand(module, node.operand, seen)
    if isinstance(node, ast.BinOp):
        left, right = _operand(module, node.left, seen), _operand(module, node.right, seen)
        with suppress(ArithmeticError):
            if type(node.op) in OPERATIONS:
                return OPERATIONS[type(node.op)](left, right)
            if isinstance(node.op, ast.Pow) and abs(right) <= LARGEST_EXPONENT:
                return left**right
    raise Unreadable


def _operand(module: Path, node: ast.expr, seen: Seen) -> float:
    found = _number(module, node, seen)
    if found is None:
        raise Unreadable
    return found


def _follow(module: Path, name: str, seen: Seen) -> str | tuple[Path, ast.expr, Seen] | None:
    """What a dotted name stands for where it is used: what it is assigned, with that place; or a name of a package
    that is not looked into. None for a class, for a function, and for what is not there.

    Raises:
        Unreadable: it stands for itself.
    """
    if (module, name) in seen:
        raise Unreadable
    seen |= {(module, name)}
    first, _, rest = name.partition(".")
    bound_here = sources.bindings(module)
    if first in bound_here:
        binding = bound_here[first]
        if isinstance(binding, Imported):
            inner = ".".join(filter(None, (binding.name, rest)))
            return _follow_import(module, binding.module, inner, seen)
        return (module, binding, seen) if binding is not None and not rest else None
    for key, star in bound_here.items():
        if key.startswith("*") and isinstance(star, Imported):
            found = _follow_import(module, star.module, name, seen)
            if isinstance(found, tuple):
                return found
    if module.name == "__init__.py" and sources.submodule(module, first):
        return _follow(_required(sources.submodule(module, first)), rest, seen) if rest else None
    return _follow_import(module, first, rest, seen) if rest else None


def _follow_import(module: Path, imported: str, name: str, seen: Seen) -> str | tuple[Path, ast.expr, Seen] | None:
    if imported.partition(".")[0] in CLOSED:
        return ".".join(filter(None, (imported, name)))
    source = sources.imported_from(module, imported)
    return _follow(source, name, seen) if source and name else None


def _required(file: Path | None) -> Path:
    assert file, "asked above"
    return file

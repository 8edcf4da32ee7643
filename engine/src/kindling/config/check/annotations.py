"""Whether a plain value is what an annotation, read from source, asks for."""

import ast
from functools import reduce
from operator import and_
from typing import Any

from kindling.config.aliases import annotated
from kindling.config.bounds import Bound, Range

PLAIN = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "None": "null",
    "dict": "a mapping",
    "list": "a list",
    "Path": "a path",
    "Module": "a node with _target_",
}
LISTS = ("list", "List", "tuple", "Tuple", "Sequence", "Iterable", "set")
MAPPINGS = ("dict", "Dict", "Mapping")
# No YAML file holds these; a target builds them.
BUILT = ("Module", "Tensor", "timedelta")


def accepts(annotation: ast.expr | None, value: Any) -> bool:
    """Whether a value is of the right type, within its bounds or not; what the source does not say is right."""
    if annotation is None:
        return True
    parts = options(annotation)
    return any(_accepts_one(part, value) for part in parts)


def beyond(annotation: ast.expr | None, value: Any) -> str:
    """The bounds that a value of the right type lies beyond, in words; "" if it lies within those of one option."""
    found = []
    for part in options(annotation) if annotation else []:
        if _accepts_one(part, value):
            bounds = _beyond_one(part, value)
            if not bounds:
                return ""
            found.append(bounds)
    return " or ".join(dict.fromkeys(found))


def describe(annotation: ast.expr) -> str:
    """What an annotation allows, in words."""
    # The items of a list would seem to be what follows them.
    parts = sorted(options(annotation), key=lambda part: name_of(unwrapped(part)[0]) in LISTS)
    words = [_describe_one(part) for part in parts]
    return " or ".join(dict.fromkeys(word for word in words if word))


def is_built(annotation: ast.expr | None) -> bool:
    """Whether a node with a target has to give it, or null where that is allowed."""
    return any(name_of(unwrapped(part)[0]) == "Module" for part in (options(annotation) if annotation else []))


def is_function(annotation: ast.expr | None) -> bool:
    """Whether it is to be called later, or null where that is allowed."""
    return any(name_of(unwrapped(part)[0]) == "Callable" for part in (options(annotation) if annotation else []))


def parse(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def options(annotation: ast.expr) -> list[ast.expr]:
    """The members of a union."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return options(parse(annotation.value))
    if isinstance(annotation, ast.BinOp):
        return options(annotation.left) + options(annotation.right)
    if isinstance(annotation, ast.Subscript):
        if name_of(annotation.value) == "Union":
            return [option for member in arguments(annotation) for option in options(member)]
        if name_of(annotation.value) == "Optional":
            return [*options(annotation.slice), ast.Constant(None)]
        if name_of(annotation.value) == "Annotated":
            inner, bounds = unwrapped(annotation)
            return [_bounded(part, bounds) for part in options(inner)]
    return [annotation]


def arguments(annotation: ast.Subscript) -> list[ast.expr]:
    """int and float of tuple[int, float]."""
    return annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]


def choices(annotation: ast.expr) -> list[Any]:
    """All values that the Literals among the members of a union allow."""
    found = [part for part in options(annotation) if isinstance(part, ast.Subscript) and name_of(part) == "Literal"]
    return [value for part in found for value in literals(part)]


def unwrapped(annotation: ast.expr) -> tuple[ast.expr, list[Bound]]:
    """int of Annotated[int, Range(1)], and its bounds; of any other annotation itself, and none."""
    if not (isinstance(annotation, ast.Subscript) and name_of(annotation.value) == "Annotated"):
        return annotation, []
    inner, *rest = arguments(annotation)
    values: list[Any] = [each.value for each in rest if isinstance(each, ast.Constant)]
    return inner, [each for each in values if isinstance(each, Bound)]


def _bounded(annotation: ast.expr, bounds: list[Bound]) -> ast.expr:
    """With all its ranges as one, which reads better."""
    inner, known = unwrapped(annotation)
    ranges = [each for each in (*known, *bounds) if isinstance(each, Range)]
    others = [each for each in (*known, *bounds) if not isinstance(each, Range)]
    return annotated(inner, [*([reduce(and_, ranges)] if ranges else []), *others])


def name_of(annotation: ast.expr) -> str:
    """list of `typing.list[int]`; None of the constant."""
    if isinstance(annotation, ast.Subscript):
        return name_of(annotation.value)
    return ast.unparse(annotation).rpartition(".")[2]


def _beyond_one(annotation: ast.expr, value: Any) -> str:
    inner, bounds = unwrapped(annotation)
    for bound in bounds:
        if value not in bound:
            return str(bound)
    if isinstance(inner, ast.Subscript) and name_of(inner) in LISTS and isinstance(value, list | tuple):
        items = arguments(inner)
        each = items if _has_fixed_length(inner) else [items[0]] * len(value)
        return next((found for pair in zip(each, value, strict=True) if (found := beyond(*pair))), "")
    return ""


def _accepts_one(annotation: ast.expr, value: Any) -> bool:
    annotation, _ = unwrapped(annotation)
    name = name_of(annotation)
    if isinstance(value, dict) and "_target_" in value:
        return name not in ("int", "float", "bool", "str", "None")
    if name == "Literal" and isinstance(annotation, ast.Subscript):
        return any(value == option and type(value) is type(option) for option in literals(annotation))
    if name in LISTS:
        return isinstance(value, list | tuple) and _accepts_items(annotation, value)
    if name in MAPPINGS:
        return isinstance(value, dict)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    kinds = {
        "int": number and isinstance(value, int),
        "float": number,
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "Path": isinstance(value, str),
        "None": value is None,
    }
    return kinds.get(name, name not in BUILT)


def _accepts_items(annotation: ast.expr, value: list[Any] | tuple[Any, ...]) -> bool:
    if not isinstance(annotation, ast.Subscript):
        return True
    items = arguments(annotation)
    if _has_fixed_length(annotation):
        return len(items) == len(value) and all(map(accepts, items, value))
    return all(accepts(items[0], item) for item in value)


def _has_fixed_length(annotation: ast.Subscript) -> bool:
    """Whether it is tuple[int, float], not list[int] or tuple[int, ...]."""
    items = arguments(annotation)
    return name_of(annotation) in ("tuple", "Tuple") and (not items or ast.unparse(items[-1]) != "...")


def literals(annotation: ast.Subscript) -> list[Any]:
    return [option.value for option in arguments(annotation) if isinstance(option, ast.Constant)]


def in_yaml(value: object) -> str:
    """A value of a Literal as a YAML file names it."""
    named = {"None": "null", "True": "true", "False": "false"}
    return str(value) if isinstance(value, str) else named.get(str(value), str(value))


def _describe_one(annotation: ast.expr) -> str:
    annotation, _ = unwrapped(annotation)
    name = name_of(annotation)
    if name == "Literal" and isinstance(annotation, ast.Subscript):
        return " or ".join(map(in_yaml, literals(annotation)))
    if name in LISTS and isinstance(annotation, ast.Subscript):
        items = arguments(annotation)
        if _has_fixed_length(annotation):
            return f"[{', '.join(map(describe, items))}]"
        return f"a list, each item {describe(items[0])}"
    return PLAIN.get(name, "" if name in BUILT else name)

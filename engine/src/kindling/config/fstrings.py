"""Which texts an expression of a class stands for, by its source: f"{stage}/loss" in a step that serves all stages."""

import ast
from collections.abc import Iterable
from itertools import product


def texts_given(function: ast.FunctionDef, methods: Iterable[ast.FunctionDef]) -> dict[str, set[str]]:
    """By argument of a method: the texts that its class calls it with; nothing of one that is given another value."""
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    found: dict[str, list[ast.expr]] = {}
    for call in (node for method in methods for node in ast.walk(method) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr == function.name:
            # The first argument is the module itself.
            named = {each.arg: each.value for each in call.keywords if each.arg}
            for name, value in (dict(zip(names[1:], call.args, strict=False)) | named).items():
                found.setdefault(name, []).append(value)
    return {name: set(map(_text, values)) for name, values in found.items() if all(map(_text, values))}


def written_out(expression: ast.expr | None, texts: dict[str, set[str]]) -> list[str]:
    """The texts of an expression, some of whose names stand for texts; none if it does not say."""
    pieces = expression.values if isinstance(expression, ast.JoinedStr) else [expression]
    return sorted(map("".join, product(*(_piece(each, texts) for each in pieces))))


def _piece(node: ast.expr | None, texts: dict[str, set[str]]) -> set[str]:
    if isinstance(node, ast.FormattedValue):
        plain = isinstance(node.value, ast.Name) and node.conversion == -1 and node.format_spec is None
        return texts.get(node.value.id, set()) if plain and isinstance(node.value, ast.Name) else set()
    return {_text(node)} - {""}


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""

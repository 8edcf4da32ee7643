"""What a function does with the further arguments that its `**more` takes."""

import ast
import re

SUPER = re.compile(r"super\(.*\)\.__init__")


def pops(function: ast.FunctionDef) -> list[ast.Call]:
    """The calls of `more.pop("name", ...)`."""
    more = function.args.kwarg
    assert more, "asked only of those that take more"
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    popped = [each for each in calls if ast.unparse(each.func) == f"{more.arg}.pop" and each.args]
    return [each for each in popped if isinstance(each.args[0], ast.Constant) and isinstance(each.args[0].value, str)]


def refuses_the_rest(function: ast.FunctionDef) -> bool:
    """Whether it says `if more: raise`."""
    more = function.args.kwarg
    tests = [node for node in ast.walk(function) if isinstance(node, ast.If) and more]
    return any(ast.unparse(each.test) == more.arg and isinstance(each.body[-1], ast.Raise) for each in tests if more)


def passed_on(function: ast.FunctionDef) -> set[str] | None:
    """What `super().__init__(x=..., **more)` fixes of the base's arguments; None if `more` is used otherwise."""
    more = function.args.kwarg
    assert more, "asked only of those that take more"
    popped = [call.func.value for call in pops(function) if isinstance(call.func, ast.Attribute)]
    named = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == more.arg]
    uses = [node for node in named if node not in popped]
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and SUPER.fullmatch(ast.unparse(node.func)) and len(uses) == 1:
            names = {keyword.arg for keyword in node.keywords if keyword.arg}
            if any(keyword.arg is None and keyword.value is uses[0] for keyword in node.keywords):
                return names
    return None

"""The arguments of a class or function, read from its source: importing torch to see them would take seconds."""

import ast
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kindling.config import aliases, sources, third_party

Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Signature:
    """The arguments by name, each with its annotation; those without default; whether any other is taken too."""

    annotations: dict[str, ast.expr | None]
    required: frozenset[str]
    takes_more: bool


class TargetMissing(LookupError):  # noqa: N818  an answer to a question, not an error of ours
    """There is no such name; `names` are those of the module or package that lacks it, `module` by its dotted name.

    `rest` is what comes after the name that is missing.
    """

    def __init__(self, names: set[str], module: str = "", rest: tuple[str, ...] = ()):
        super().__init__()
        self.names = names
        self.module = module
        self.rest = rest


@cache
def signature(target: str) -> Signature | None:
    """The signature of `package.module.name`; None if its source does not say.

    Raises:
        TargetMissing: the module does not hold the name, or there is no such module.
    """
    module, name = _split(target)
    try:
        found = _find(module, name)
    except TargetMissing as error:
        raise TargetMissing(error.names, target.rpartition(".")[0]) from None
    if found is None:
        return None
    module, definition = found
    return _of_class(module, definition) if isinstance(definition, ast.ClassDef) else _of_function(module, definition)


@cache
def constant(target: str) -> Any:
    """The value of a literal that a module assigns at its top level."""
    module, name = _split(target)
    found = re.search(rf"^{name} = (.*?)(?=^[^\s)\]}}#]|\Z)", sources.text(module), re.MULTILINE | re.DOTALL)
    if found is None:
        raise TargetMissing(sources.names(module))
    return ast.literal_eval(found[1])


def _split(target: str) -> tuple[Path, str]:
    """The file of a target's module, and the name in it."""
    package, *parts = target.split(".")
    module = sources.package(package)
    if module is None or not parts:
        raise TargetMissing(set())
    for index, part in enumerate(parts[:-1]):
        submodule = sources.submodule(module, part)
        if submodule is None:
            names = {file.stem for file in module.parent.glob("[!_]*")} if module.name == "__init__.py" else set()
            raise TargetMissing(names, ".".join([package, *parts[:index]]), tuple(parts[index + 1 :]))
        module = submodule
    return module, parts[-1]


def _find(module: Path, name: str) -> tuple[Path, Definition] | None:
    """Where a name is defined, through the imports that lead there; None if it is made in another way.

    Raises:
        TargetMissing: the module does not hold the name.
    """
    defined = _definition(module, name)
    if defined:
        return module, defined
    stars: list[Path] = []
    for source, imported in sources.imports(module):
        if source and name in imported:
            return _find(source, imported[name])
        if source and "*" in imported:
            stars.append(source)
    for source in stars:
        with suppress(TargetMissing):
            return _find(source, name)
    if name in sources.names(module):
        return None
    raise TargetMissing(sources.names(module))


def _definition(module: Path, name: str) -> Definition | None:
    """The class or function, if the module defines it at its top level, be it below an `if` or a `try`."""
    # Other packages' files are long: parse only what is needed.
    if not sources.is_ours(module):
        text = _cut_out(module, name)
        with suppress(SyntaxError):
            parsed = ast.parse(text).body
            if len(parsed) == 1 and isinstance(parsed[0], Definition):
                return parsed[0]
    if not re.search(rf"^\s*(?:class|def) {name}\b", sources.text(module), re.MULTILINE):
        return None
    nodes: list[ast.AST] = [sources.tree(module)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Definition) and node.name == name:
            return node
        if not isinstance(node, Definition):
            nodes += ast.iter_child_nodes(node)
    return None


def _cut_out(module: Path, name: str) -> str:
    """The source of a function, or of a class with no more of its body than `__init__`; "" if it is not plain."""
    found = re.search(rf"^(?:class|def) {name}\b.*?(?=^[^\s)#]|\Z)", sources.text(module), re.MULTILINE | re.DOTALL)
    # An odd number of quotes: cut within a text.
    if found is None or found[0].count('"""') % 2:
        return ""
    source = found[0]
    if source.startswith("def"):
        return source
    header = re.match(r"class [^\n]*?:\n|class .*?\):\n", source, re.DOTALL)
    inits = re.findall(r"^    def __init__\(.*?(?=^    [^\s)#]|\Z)", source, re.MULTILINE | re.DOTALL)
    # Those before the last are overloads.
    init = inits[-1] if inits else "    pass"
    return f"{header[0]}{init}" if header and init.count('"""') % 2 == 0 else ""


def _of_function(module: Path, function: ast.FunctionDef, owner: str = "") -> Signature:
    arguments = function.args
    # A decorator's wrapper may take other arguments.
    if function.decorator_list and function.name != "__init__":
        return Signature({}, frozenset(), takes_more=True)
    positional = [*arguments.posonlyargs, *arguments.args]
    required = {each.arg for each in positional[: len(positional) - len(arguments.defaults)]}
    required |= {
        each.arg for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None
    }
    place = f"{sources.dotted(module)}.{owner or function.name}"
    annotations = {
        each.arg: third_party.bounded(place, each.arg, aliases.resolved(module, each.annotation))
        for each in [*positional, *arguments.kwonlyargs]
    }
    return Signature(annotations, frozenset(required), arguments.kwarg is not None)


def _of_class(module: Path, definition: ast.ClassDef) -> Signature | None:
    for statement in reversed(definition.body):
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            own = _without_first(_of_function(module, statement, definition.name), statement)
            if not own.takes_more:
                return own
            passed_on = _passed_on(statement)
            base = _of_base(module, definition) if passed_on is not None else None
            if passed_on is None or base is None:
                return own
            rest = {name: each for name, each in base.annotations.items() if name not in passed_on}
            return Signature(rest | own.annotations, own.required | (base.required & rest.keys()), base.takes_more)
    return None if definition.decorator_list else _of_base(module, definition)


def _of_base(module: Path, definition: ast.ClassDef) -> Signature | None:
    if not definition.bases and not definition.keywords:
        return Signature({}, frozenset(), takes_more=False)
    for base in definition.bases:
        if isinstance(base, ast.Name):
            try:
                found = _find(module, base.id)
            except TargetMissing:
                continue
            if found and isinstance(found[1], ast.ClassDef):
                return _of_class(found[0], found[1])
    return None


def _without_first(whole: Signature, function: ast.FunctionDef) -> Signature:
    """Without `self`, whatever its name."""
    first = [*function.args.posonlyargs, *function.args.args][0].arg
    others = {name: each for name, each in whole.annotations.items() if name != first}
    return Signature(others, whole.required - {first}, whole.takes_more)


def _passed_on(function: ast.FunctionDef) -> set[str] | None:
    """What `super().__init__(x=..., **more)` fixes of the base's arguments; None if `more` is used otherwise."""
    more = function.args.kwarg
    assert more, "asked only of those that take more"
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == more.arg]
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__" and len(uses) == 1:
            names = {keyword.arg for keyword in node.keywords if keyword.arg}
            if any(keyword.arg is None and keyword.value is uses[0] for keyword in node.keywords):
                return names
    return None

"""The arguments of a class or function, read from its source: importing torch to see them would take seconds."""

import ast
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kindling.config import aliases, further, sources, third_party

Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Signature:
    """The arguments by name, each with its annotation; those without default; whether any other is taken too."""

    annotations: dict[str, ast.expr | None]
    required: frozenset[str]
    takes_more: bool


# Of a class without any `__init__`.
OF_OBJECT = Signature({}, frozenset(), takes_more=False)


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
    found = find_target(target)
    if found is None:
        return None
    module, definition = found
    return _of_class(module, definition) if isinstance(definition, ast.ClassDef) else _of_function(module, definition)


def is_called_too_soon(node: Mapping[str, Any]) -> bool:
    """Whether a node calls a function, and not a class, at once and without what it needs."""
    try:
        found = None if node.get("_partial_") else find_target(node["_target_"])
        known = signature(node["_target_"]) if found and isinstance(found[1], ast.FunctionDef) else None
    except (TargetMissing, SyntaxError):
        return False
    return known is not None and not known.required <= node.keys()


def find_target(target: str) -> tuple[Path, Definition] | None:
    """The file that defines `package.module.name`, and the definition; None if it is made in another way.

    Raises:
        TargetMissing: as `signature`.
    """
    module, name = _split(target)
    try:
        return _find(module, name)
    except TargetMissing as error:
        raise TargetMissing(error.names, target.rpartition(".")[0]) from None


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
    """The source of a function, or of a class with `__init__` or `__new__` alone; "" if it is not plain."""
    found = re.search(rf"^(?:class|def) {name}\b.*?(?=^[^\s)#]|\Z)", sources.text(module), re.MULTILINE | re.DOTALL)
    # An odd number of quotes: cut within a text.
    if found is None or found[0].count('"""') % 2:
        return ""
    source = found[0]
    if source.startswith("def"):
        return source
    header = re.match(r"class [^\n]*?:\n|class .*?\):\n", source, re.DOTALL)
    inits = re.findall(r"^    def __(?:init|new)__\(.*?(?=^    [^\s)#]|\Z)", source, re.MULTILINE | re.DOTALL)
    inits.sort(key=lambda text: "def __init__(" in text)
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
    init = _maker(definition)
    if init is None:
        return None if definition.decorator_list else _of_base(module, definition)
    own = _without_first(_of_function(module, init, definition.name), init)
    if not own.takes_more:
        return own
    popped = dict.fromkeys(ast.literal_eval(call.args[0]) for call in further.pops(init))
    own = Signature(own.annotations | popped, own.required, takes_more=not further.refuses_the_rest(init))
    passed_on = further.passed_on(init) if own.takes_more else None
    base = _of_base(module, definition) if passed_on is not None else None
    if passed_on is None or base is None:
        return own
    rest = {name: each for name, each in base.annotations.items() if name not in passed_on}
    return Signature(rest | own.annotations, own.required | (base.required & rest.keys()), base.takes_more)


def _maker(definition: ast.ClassDef) -> ast.FunctionDef | None:
    """The last `__init__` of a class's own, as those before it are overloads; else its `__new__`."""
    functions = [each for each in definition.body if isinstance(each, ast.FunctionDef)]
    made = [each for name in ("__new__", "__init__") for each in functions if each.name == name]
    return made[-1] if made else None


def _of_base(module: Path, definition: ast.ClassDef) -> Signature | None:
    """That of the first base that has an `__init__`, as Python looks for it."""
    every_known = not definition.keywords
    for base in definition.bases:
        found = find_class(module, base)
        inherited = _of_class(*found) if found else None
        if inherited not in (None, OF_OBJECT):
            return inherited
        every_known = every_known and inherited is not None
    return OF_OBJECT if every_known else None


def find_class(module: Path, base: ast.expr) -> tuple[Path, ast.ClassDef] | None:
    """The class that a base stands for, such as `LightningModule` or `pl.LightningModule`; None if it is not found."""
    name = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
    with suppress(TargetMissing, OSError, SyntaxError):
        found = _find_dotted(module, name.split("."))
        if found and isinstance(found[1], ast.ClassDef):
            return found[0], found[1]
    return None


def _find_dotted(module: Path, parts: list[str]) -> tuple[Path, Definition] | None:
    if len(parts) == 1:
        return _find(module, parts[0])
    bound = sources.bindings(module).get(parts[0])
    if not isinstance(bound, sources.Imported):
        return None
    place = sources.imported_from(module, bound.module)
    for part in filter(None, (bound.name, *parts[1:-1])):
        place = sources.submodule(place, part) if place else None
    return _find(place, parts[-1]) if place else None


def _without_first(whole: Signature, function: ast.FunctionDef) -> Signature:
    """Without `self`, whatever its name."""
    first = [*function.args.posonlyargs, *function.args.args][0].arg
    others = {name: each for name, each in whole.annotations.items() if name != first}
    return Signature(others, whole.required - {first}, whole.takes_more)

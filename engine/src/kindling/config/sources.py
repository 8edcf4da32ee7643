"""The source files of modules, and what they bind to names: nothing is imported."""

import ast
import re
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from kindling.config import project


class Imported(NamedTuple):
    """What an import binds: `name` of the module, or the module itself if there is no name."""

    module: str
    name: str = ""


# None: a class, a function, or unknown from source.
Binding = ast.expr | Imported | None


def package(name: str) -> Path | None:
    """The file of a package at the top level; None outside Python source."""
    spec = None
    with suppress(ImportError, ValueError):
        spec = find_spec(name) if name.isidentifier() else None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def submodule(module: Path, name: str) -> Path | None:
    files = (module.parent / name / "__init__.py", module.parent / f"{name}.py")
    return next((file for file in files if module.name == "__init__.py" and file.is_file()), None)


def imported_from(module: Path, name: str) -> Path | None:
    """The file that `from name import` reads."""
    parts = name.lstrip(".").split(".")
    level = len(name) - len(name.lstrip("."))
    source = module.parents[level - 1] / "__init__.py" if level else package(parts.pop(0))
    for part in filter(None, parts):
        source = submodule(source, part) if source else None
    return source


@cache
def dotted(module: Path) -> str:
    """The name that a file is imported by."""
    parts = [] if module.name == "__init__.py" else [module.stem]
    folder = module.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def is_ours(module: Path) -> bool:
    now = project.current()
    return project.ENGINE in module.parts or module.is_relative_to(now.root / "src" / now.package)


@cache
def text(module: Path) -> str:
    return module.read_text(encoding="utf-8")


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse(text(module), str(module))


@cache
def imports(module: Path) -> list[tuple[Path | None, dict[str, str]]]:
    """Of each `from x import a as b`: the file of x, and a by b."""
    found = []
    for line in re.finditer(r"^from (\S+) import (\([^)]*\)|[^(\n]*)$", text(module), re.MULTILINE):
        names = re.sub(r"#.*|[()]", "", line[2]).split(",")
        pairs = [name.split(" as ") for name in names if name.strip()]
        found.append((imported_from(module, line[1]), {pair[-1].strip(): pair[0].strip() for pair in pairs}))
    return found


def names(module: Path) -> set[str]:
    """The public names that a module defines or imports."""
    found = set(re.findall(r"^(?:class |def |(?=\w+ = ))(\w+)", text(module), re.MULTILINE))
    for file, imported in imports(module):
        found |= imported.keys()
        if "*" in imported and file and file != module:
            found |= names(file)
    return {name for name in found if name[0].isalpha()}


@cache
def bindings(module: Path) -> dict[str, Binding]:
    """What each name at the top level of a module is bound to; of several things, none.

    `*1` and so on are the modules that all names are imported from.
    """
    found: dict[str, Binding] = {}
    nodes: list[ast.AST] = [tree(module)]
    while nodes:
        node = nodes.pop()
        for name, binding in _bound(node):
            key = f"*{len(found)}" if name == "*" else name
            found[key] = binding if key not in found or _same(found[key], binding) else None
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            nodes += reversed(list(ast.iter_child_nodes(node)))
    return found


def _bound(node: ast.AST) -> list[tuple[str, Binding]]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [(node.name, None)]
    if isinstance(node, ast.Import):
        whole = [(each.asname or each.name.partition(".")[0], each) for each in node.names]
        return [(name, Imported(each.name if each.asname else name)) for name, each in whole]
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        return [(each.asname or each.name, Imported(module, each.name)) for each in node.names]
    if isinstance(node, ast.Assign):
        return [(name.id, node.value) for name in node.targets if isinstance(name, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [(node.target.id, node.value)]
    # `type X = ...`, which Python 3.12 brought.
    if type(node).__name__ == "TypeAlias":
        return [(node.name.id, node.value)]  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return [(node.target.id, None)]
    return []


def _same(one: Binding, other: Binding) -> bool:
    if isinstance(one, ast.expr) and isinstance(other, ast.expr):
        return ast.dump(one) == ast.dump(other)
    return one == other

"""Parts of the engine that a project can do without: what belongs to each, and how it goes."""

import ast
import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from additions.trimming import without
from kindling.errors import KindlingError

TABLE = Path(__file__).parents[1] / "parts.toml"
# Where modules are found, and where the files lie that go with what they import.
SOURCES = ("src", "engine/src", "engine/tests", "engine/scripts", "scripts")
FOLLOWERS = ("tests", "scripts", "engine/tests", "engine/scripts")
PAGES = ("*.md", "docs/*.md", "data/*.md", "scripts/starters/*.md", "engine/*.md", "engine/docs/*.md")
# It tells of the past.
HISTORY = "CHANGELOG.md"
NOTHING = re.compile(r"(?!)")


class Part(NamedTuple):
    """What belongs to a part; scripts/parts.toml explains each field."""

    files: Sequence[str]
    words: Sequence[str] = ()
    sections: Sequence[str] = ()
    cuts: Mapping[str, Sequence[str]] = {}
    extra: str = ""
    make: Sequence[str] = ()
    what: str = ""


def table(root: Path | None = None) -> dict[str, Part]:
    """That of a project, which may be another version of this one; this one's if it has none."""
    own = root / "scripts" / TABLE.name if root else TABLE
    read = tomllib.loads((own if own.is_file() else TABLE).read_text(encoding="utf-8"))
    known = {name: {key: each[key] for key in Part._fields if key in each} for name, each in read.items()}
    return {name: Part(**each) for name, each in known.items()}


def leave_out(root: Path, parts: Mapping[str, Part]) -> tuple[list[str], list[Path]]:
    """Delete parts; the files that went, by their paths in the project, and the Python files that were changed.

    Raises:
        KindlingError: a link leads to files of somebody else.
    """
    gone = [path for part in parts.values() for pattern in part.files for path in sorted(root.glob(pattern))]
    if outside := [path for path in gone if root.resolve() not in path.resolve().parents]:
        raise KindlingError(f"{outside[0]}: lies outside of {root}, by a link; nothing is deleted there")
    cut = {file: tests for file in followers(root) if (tests := cut_marked(file, parts))}
    gone += importers(root, gone)
    tests = [name for path in gone for file in files_of(path) for name in tests_in(file)]
    tests += [name for names in cut.values() for name in names]
    names = [str(file.relative_to(root)) for path in gone for file in files_of(path)]
    for file, text in rewritten(root, parts.values(), gone, tests):
        file.write_text(text, encoding="utf-8", newline="")
    for path in gone:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return names, [file for file in cut if file.is_file()]


def files_of(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in sorted(path.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    else:
        yield path


def followers(root: Path) -> list[Path]:
    """Python files that go, or lose tests, with what they are of."""
    return [file for folder in FOLLOWERS for file in sorted((root / folder).rglob("*.py"))]


# --- Python


def importers(root: Path, gone: Sequence[Path]) -> list[Path]:
    """The files that cannot be imported any more: they import what goes, or each other."""
    left = [file for file in followers(root) if not any(file == path or path in file.parents for path in gone)]
    imports = {file: set(imported(file)) for file in left}
    found: list[Path] = []
    names = modules(root, gone)
    while more := [
        file for file, wanted in imports.items() if file not in found and any(is_in(each, names) for each in wanted)
    ]:
        found += more
        names |= modules(root, more)
    return found


def modules(root: Path, paths: Iterable[Path]) -> set[str]:
    """The names by which files and folders are imported."""
    inside = [(path, root / source) for path in paths for source in SOURCES if root / source in path.parents]
    return {".".join(path.relative_to(source).with_suffix("").parts) for path, source in inside}


def is_in(module: str, names: set[str]) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:length]) in names for length in range(1, len(parts) + 1))


def imported(file: Path) -> Iterator[str]:
    """What a file imports as it is imported itself."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def tests_in(file: Path) -> list[str]:
    return re.findall(r"(?m)^def (test_\w+)", file.read_text(encoding="utf-8")) if file.suffix == ".py" else []


def cut_marked(file: Path, parts: Iterable[str]) -> list[str]:
    """Take out the tests that are marked with needs("PART"); their names."""
    text = file.read_text(encoding="utf-8")
    if "mark.needs(" not in text:
        return []
    lines = text.splitlines(keepends=True)
    cuts = [node for node in ast.parse(text).body if set(parts) & set(needed(node))]
    for node in reversed(cuts):
        decorators = getattr(node, "decorator_list", [])
        start, end = min([node, *decorators], key=lambda each: each.lineno).lineno - 1, node.end_lineno or 0
        while end < len(lines) and not lines[end].strip():
            end += 1
        del lines[start:end]
    file.write_text("".join(lines), encoding="utf-8", newline="")
    return [getattr(node, "name", "") for node in cuts]


def needed(node: ast.stmt) -> Iterator[str]:
    for each in getattr(node, "decorator_list", []):
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "pytest.mark.needs":
            yield from (str(ast.literal_eval(argument)) for argument in each.args)


# --- texts


def rewritten(
    root: Path, parts: Iterable[Part], gone: Sequence[Path], tests: Sequence[str] = ()
) -> Iterator[tuple[Path, str]]:
    """The files beside a part that name it, its files or its tests, and what is left of them."""
    paths = [rf"`{re.escape(path.relative_to(root).as_posix())}" for path in gone]
    paths += [rf"`(?:{'|'.join(tests)})`"] if tests else []
    parts = [each._replace(words=[*each.words, *paths]) for each in parts]
    pages = [file for pattern in PAGES for file in sorted(root.glob(pattern)) if file.name != HISTORY]
    named = [file for part in parts for name in part.cuts for file in sorted(root.glob(name))]
    for file in dict.fromkeys([*pages, *named, root / "Makefile", root / "engine" / "pyproject.toml"]):
        if not file.is_file() or file in gone:
            continue
        before = after = file.read_text(encoding="utf-8")
        for part in parts:
            after = left_of(after, str(file.relative_to(root)), part)
        if after != before:
            yield file, after


def left_of(text: str, name: str, part: Part) -> str:
    """A file of the project without a part."""
    for pattern in [each for files, cuts in part.cuts.items() if fnmatch(name, files) for each in cuts]:
        text = re.sub(pattern, kept_group, text)
    if name.endswith(".md"):
        return without(text, any_of(part.words), any_of(part.sections))
    if name == "Makefile":
        for target in part.make:
            text = re.sub(rf"(?m)^{target}:.*\n(\t.*\n)*\n|(?<=^\.PHONY:)(.*) {target}\b", r"\2", text)
    if name == "engine/pyproject.toml" and part.extra:
        text = re.sub(rf"(?m)^({part.extra}) = .*\n", "", text)
        text = re.sub(rf"(?<=\[|,)({part.extra}),|,({part.extra})(?=\])", "", text)
    return text


def kept_group(found: re.Match[str]) -> str:
    """A cut may hold a group, which stays."""
    return next((each for each in found.groups() if each is not None), "") if found.re.groups == 1 else ""


def any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns)) if patterns else NOTHING

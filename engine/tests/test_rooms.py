"""The rooms of engine/README.md: no import runs up, none in circles, and none leads to the project."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench_root import REPOSITORY
from kindling.testing.links import dead_links

SOURCE = REPOSITORY / "engine" / "src" / "kindling"
README = (REPOSITORY / "engine" / "README.md").read_text()
DOCUMENTS = [REPOSITORY / "engine" / "README.md", *sorted((REPOSITORY / "engine" / "docs").glob("*.md"))]
FILES = sorted(SOURCE.rglob("*.py"))
MOST_ROOMS, MOST_LOOSE_FILES = 30, 12


def floors() -> dict[str, int]:
    """The floor of each room and of each loose file, by the rows of the table; the highest number lies lowest."""
    table = README.partition("| room | what is in it |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [re.findall(r"`([\w/.]+)`", row.split("|")[1]) for row in table.splitlines()]
    return {name: number for number, row in enumerate(rows) for name in row}


FLOORS = floors()


def room_of(file: Path) -> str:
    """The folder of a file; of a loose file, its name."""
    inside = file.relative_to(SOURCE)
    return inside.parent.as_posix() if len(inside.parts) > 1 else inside.name


def file_of(module: str) -> Path | None:
    path = SOURCE.joinpath(*module.split(".")[1:])
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def imports(file: Path) -> Iterator[tuple[int, Path]]:
    """Line and file of each import of the engine, also of those within functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name if file_of(name) else str(node.module) for name in names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            found = file_of(module) if module.split(".")[0] == "kindling" else None
            if found:
                yield node.lineno, found


def test_every_file_lies_in_a_room_of_the_table_and_every_room_is_there():
    rooms = {room_of(file) for file in FILES}
    assert rooms == FLOORS.keys()
    assert len([room for room in rooms if not room.endswith(".py")]) <= MOST_ROOMS
    assert len([room for room in rooms if room.endswith(".py")]) <= MOST_LOOSE_FILES


def test_every_file_that_the_table_of_files_names_is_there():
    table = README.partition("| file | what it does |\n|---|---|\n")[2].partition("\n\n")[0]
    missing = []
    for row in table.splitlines():
        folder = SOURCE
        for name in re.findall(r"`([\w/]+\.py)`", row.split("|")[1]):
            file = SOURCE / name if "/" in name or (SOURCE / name).is_file() else folder / name
            folder = file.parent
            missing += [] if file.is_file() else [name]
    assert table
    assert missing == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_whatever_a_document_links_or_names_is_there(file):
    assert dead_links(file) == []
    named = re.findall(r"`(engine/[\w./-]*)`", file.read_text(encoding="utf-8"))
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def test_no_import_runs_up_or_to_a_neighbour():
    wrong = [
        f"{file.relative_to(SOURCE)}:{line} imports {other.relative_to(SOURCE)}"
        for file in FILES
        for line, other in imports(file)
        if room_of(file) != room_of(other) and FLOORS[room_of(other)] <= FLOORS[room_of(file)]
    ]
    assert wrong == []


def test_an_import_that_runs_up_would_be_seen(tmp_path, monkeypatch):
    """The table has an order at all, and imports within functions count."""
    low = SOURCE / "files" / "whole_file.py"
    assert {room_of(other) for _, other in imports(SOURCE / "train.py")} > {"loggers", "training", "config"}
    assert FLOORS["images"] < FLOORS["training"] < FLOORS["config"] < FLOORS[room_of(low)]
    inner = tmp_path / "inner.py"
    inner.write_text("def late():\n    from kindling.images import loader\n")
    assert list(imports(inner)) == [(2, SOURCE / "images" / "loader.py")]


def test_the_engine_neither_imports_nor_names_the_package_of_the_project():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    package = project["tool"]["kindling"]["package"]
    inside = {path.stem for path in (REPOSITORY / "src" / package).iterdir() if not path.name.startswith("_")}
    assert inside
    assert [
        f"{file.relative_to(REPOSITORY)}:{line}"
        for folder in ("src", "scripts", "tests")
        for file in (REPOSITORY / "engine" / folder).rglob("*.py")
        for line in named_in(file.read_text(), package, inside)
    ] == []


def named_in(text: str, package: str, inside: set[str]) -> list[int]:
    """The lines of Python that import a package, or hold a text that starts with the name of something in it."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            is_named = f"{node.module}.".startswith(f"{package}.")
        elif isinstance(node, ast.Import):
            is_named = any(f"{alias.name}.".startswith(f"{package}.") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A package may be called "data", and texts of the engine "data.root".
            is_named = any(f"{node.value}.".startswith(f"{package}.{name}.") for name in inside)
        else:
            continue
        found += [node.lineno] * is_named
    return found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from own.models import x", True),
        ("import own", True),
        ("x = 'own.models.cnn.CNN'", True),
        ("x = f'own.data.{y}'", True),
        ("x = 'own.data'", True),
        ("x = 'own'; y = 'own.root'; z = 'own.models_of'", False),
        ("def f():\n    import own.data as d", True),
        ("import owner; x = 'owned.x'; y = 'the own.models'", False),
    ],
)
def test_a_name_of_the_package_is_seen(line, found):
    assert bool(named_in(line, "own", {"models", "data"})) == found


@pytest.mark.parametrize("suite", ["tests", "engine/tests"])
def test_the_process_that_runs_no_test_need_not_import_torch(suite):
    code = f"import sys; sys.path.insert(0, '{suite}'); import conftest; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_each_benchmark_that_a_page_names_is_one_of_the_script():
    source = (REPOSITORY / "engine" / "scripts" / "benchmark.py").read_text("utf-8")
    there = set(re.findall(r"\"(\w+)\": \"\w+\.\w+", source))
    pages = [file.read_text("utf-8") for file in (*DOCUMENTS, *sorted((REPOSITORY / "docs").glob("*.md")))]
    named = {
        name for page in pages for name in re.findall(r"scripts/benchmark\.py (\w+)|^\| `(\w+)`: ", page, re.MULTILINE)
    }
    named = {first or second for first, second in named}
    assert len(named) > 15
    assert named - there == set()


def test_each_row_of_the_page_of_reliability_is_a_test_that_is_run():
    source = (REPOSITORY / "engine" / "tests" / "crash.py").read_text("utf-8")
    page = (REPOSITORY / "engine" / "docs" / "reliability.md").read_text("utf-8")
    table = page.partition("<!-- python engine/tests/crash.py -->")[2].partition("<!-- end of the table -->")[0]
    rows = [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines() if re.search(r"\d \|$", row)]
    assert len(rows) > 15
    scenarios = [row.partition(": ")[2] if row.startswith("a checkpoint at each step") else row for row in rows]
    assert [each for each in scenarios if f'"{each}"' not in source] == []

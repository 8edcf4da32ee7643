"""docs/tutorial.md, README and the notebook: their files and commands, in their order, in a copy of the project."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from kindling.config import project

HERE = project.current()
TUTORIAL, README = HERE.root / "docs" / "tutorial.md", HERE.root / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"^# ([\w/]+\.(?:py|yaml))\n", re.MULTILINE)
COPIED = ("src", "configs", "tests", "scripts")


class Block(NamedTuple):
    """A file and its text, or no file and commands."""

    file: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Those of a page in their order; a block of several files is several."""
    found = []
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        files = FILE.split(text)[1:]
        found += [Block("", text)] if language == "bash" else map(Block, files[::2], files[1::2])
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project without its engine and its runs."""
    for name in COPIED:
        shutil.copytree(HERE.root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*HERE.root.glob("*.toml"), *HERE.root.glob("*.py")):
        shutil.copy(file, tmp_path)
    return tmp_path


def written(root: Path, block: Block) -> None:
    (root / block.file).write_text(block.text, encoding="utf-8")


@pytest.mark.parametrize("page", [TUTORIAL, README], ids=lambda page: page.name)
def test_the_files_of_a_page_are_code_and_configs_of_the_classes_that_it_shows(page):
    files = {block.file: block.text for block in blocks(page) if block.file}
    # A fork writes a README of its own.
    assert len(files) >= 6 or page == README
    classes = {each.name: each for file in files for each in classes_of(file, files[file])}
    for file, text in files.items():
        assert (HERE.root / file).parent.is_dir(), file
        config = yaml.safe_load(text) if file.endswith(".yaml") else {}
        if target := config.get("_target_"):
            module, _, name = target.rpartition(".")
            assert f"src/{module.replace('.', '/')}.py" in files
            init = next((each for each in classes[name].body if isinstance(each, ast.FunctionDef)), None)
            if init and init.name == "__init__":
                named = [each.arg for each in init.args.args[1:]]
                assert named == [key for key in config if key in named or not (init.args.kwarg or key == "_target_")]


def classes_of(file: str, text: str) -> list[ast.ClassDef]:
    return [each for each in ast.parse(text).body if isinstance(each, ast.ClassDef)] if file.endswith(".py") else []


def in_copy(root: Path, line: str) -> str:
    """What a command prints."""
    path = os.pathsep.join(map(str, (root / "src", HERE.root / "engine" / "src", *filter(None, sys.path))))
    places = {"PYTHONPATH": path, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment, started = os.environ | places | {"OMP_NUM_THREADS": "1"}, time.monotonic()
    done = subprocess.run(["bash", "-c", line], cwd=root, env=environment, capture_output=True, text=True)
    print(f"{time.monotonic() - started:4.0f} s  {line}", flush=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_every_block_of_the_tutorial_runs_in_its_order(copy):
    """Prints the seconds of each command: pytest -s -m slow tests/test_tutorial.py"""
    said = ""
    for block in blocks(TUTORIAL):
        if block.file:
            written(copy, block)
            continue
        for line in block.text.splitlines():
            runs = re.search(r"logs/\w+/(?=<run>)", line)
            newest = max((copy / runs[0]).iterdir(), key=lambda run: run.stat().st_mtime).name if runs else ""
            said = in_copy(copy, line.replace("<run>", newest))
    assert "7" in said


@pytest.mark.slow
def test_the_model_the_data_and_the_task_of_the_readme_train_together(copy):
    files = [block for block in blocks(README) if block.file]
    if not files:
        pytest.skip("this README shows none")
    for block in files:
        written(copy, block)
    (line,) = re.findall(r"^    (python train\.py task=my_task .+)$", README.read_text("utf-8"), re.MULTILINE)
    assert "test" in in_copy(copy, f"{line} trainer.max_epochs=2")


def test_the_notebook_is_python_and_holds_no_outputs():
    for cell in cells():
        ast.parse("".join(cell["source"]))
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(copy):
    code = "\n".join("".join(cell["source"]) for cell in cells())
    (copy / "explore.py").write_text(code, encoding="utf-8")
    said = in_copy(copy, "MPLBACKEND=agg python explore.py")
    assert re.search(r"^\d+ of 1000 test images are wrong$", said, re.MULTILINE)


def cells() -> list[dict[str, Any]]:
    """Those of code."""
    notebook = json.loads((HERE.root / "notebooks" / "explore.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]

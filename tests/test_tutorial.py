"""docs/tutorial.md: its files and commands, in their order, in a copy of the project."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from kindling.config import project

HERE = project.current()
PAGE = HERE.root / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COPIED = ("src", "configs", "tests", "scripts")


class Block(NamedTuple):
    """A file and its text, or no file and commands."""

    file: str
    text: str


def blocks() -> list[Block]:
    found = []
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        first, _, rest = text.partition("\n")
        found.append(Block("", text) if language == "bash" else Block(first.removeprefix("# "), rest))
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


def test_the_files_of_the_tutorial_are_code_and_configs_of_the_classes_that_it_shows():
    files = {block.file: block.text for block in blocks() if block.file}
    classes = {each.name: each for file in files for each in classes_of(file, files[file])}
    for file, text in files.items():
        assert (HERE.root / file).parent.is_dir(), file
        config = yaml.safe_load(text) if file.endswith(".yaml") else {}
        if target := config.get("_target_"):
            module, _, name = target.rpartition(".")
            assert f"src/{module.replace('.', '/')}.py" in files
            init = next((each for each in classes[name].body if isinstance(each, ast.FunctionDef)), None)
            if init and init.name == "__init__":
                assert [each.arg for each in init.args.args[1:]] == [key for key in config if key != "_target_"]


def classes_of(file: str, text: str) -> list[ast.ClassDef]:
    return [each for each in ast.parse(text).body if isinstance(each, ast.ClassDef)] if file.endswith(".py") else []


@pytest.mark.slow
def test_every_block_of_the_tutorial_runs_in_its_order(copy):
    """Prints the seconds of each command: pytest -s -m slow tests/test_tutorial.py"""
    path = os.pathsep.join(map(str, (copy / "src", HERE.root / "engine" / "src", *filter(None, sys.path))))
    places = {"PYTHONPATH": path, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment = os.environ | places | {"OMP_NUM_THREADS": "1"}
    for block in blocks():
        if block.file:
            written(copy, block)
            continue
        for line in block.text.splitlines():
            runs = re.search(r"logs/\w+/(?=<run>)", line)
            newest = max((copy / runs[0]).iterdir(), key=lambda run: run.stat().st_mtime).name if runs else ""
            started = time.monotonic()
            command = ["bash", "-c", line.replace("<run>", newest)]
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
            print(f"{time.monotonic() - started:4.0f} s  {line}", flush=True)
            assert done.returncode == 0, done.stdout + done.stderr
    assert "7" in done.stdout

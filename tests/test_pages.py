"""Every command and every block of code that a page shows: nothing is of a kind that no test knows.

Commands with settings compose in test_readme.py; test_tutorial.py runs a page from its first block to its last.
"""

import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import kindling
from kindling import runs
from kindling.cli.entry import compose
from kindling.config import project
from kindling.config.check.files import ConfigFiles

HERE = project.current()
ROOT = HERE.root
# It may be installed.
ENGINE = Path(kindling.__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "data/*.md", "scripts/starters/*.md", "engine/*.md", "engine/docs/*.md")
FILES = [file for pattern in PAGES for file in sorted(ROOT.glob(pattern))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What a page writes before it runs it.
WRITTEN = set(re.findall(r"^# ([\w/]+\.py)$", "".join(file.read_text("utf-8") for file in FILES), re.MULTILINE))
# Programs of others, of which nothing here can be wrong.
FOREIGN = ("source", "cd", "git", "docker", "eval", ".venv/bin/pre-commit", ".")
PLACEHOLDER = re.compile(r"<[\w ]+>")


def commands_of(file: Path) -> list[str]:
    """The lines of a page that one types, each with the lines that it goes on in, and without its comment."""
    text = file.read_text(encoding="utf-8")
    shell = [block for language, block in FENCE.findall(text) if language in ("bash", "sh")]
    indented = "".join(re.findall(r"^    (.*\n)", FENCE.sub("", text), re.MULTILINE))
    lines = re.findall(r"(?:.*\\\n)*.*", "\n".join([*shell, indented]))
    return [re.split(r"\s#", re.sub(r"\\\n\s*", "", line))[0].strip() for line in lines if line.strip()]


def fault_of(command: str) -> str:
    """What is wrong with a command; "" if nothing is."""
    found = [known(words) for words in parts_of(command)]
    return "; ".join(each for each in found if each)


def parts_of(command: str) -> Iterator[list[str]]:
    """The commands of a line: those between && and |, and the one that a scheduler is given."""
    words = shlex.split(PLACEHOLDER.sub("PLACE", command))
    part: list[str] = []
    for word in [*words, "&&"]:
        if word in ("&&", "|", ">"):
            yield part
            part = []
        else:
            part.append(word)


def known(words: list[str]) -> str:
    program, *arguments = words
    if program in FOREIGN or program.endswith((".csv", ".png")):
        return ""
    check = CHECKS.get(program)
    return check(arguments) if check else f"{program}: a program that no test knows"


def of_python(words: list[str]) -> str:
    script, *arguments = words
    if script.startswith("-"):
        is_known = words[:2] == ["-c", ""] or (script == "-m" and find_spec(arguments[0]))
        return "" if is_known else shlex.join(["python", *words[:2]])
    file = ROOT / script
    if script in WRITTEN:
        return ""
    if not file.is_file():
        is_engines = script.startswith("engine/") and not (ROOT / "engine").is_dir()
        return "" if is_engines else f"{script} is not there"
    if script == "runs.py":
        return "" if runs.parser().parse_args(arguments).verb else script
    if script == "scripts/new.py":
        # Parts that the page has written before are not there, unless its reader has followed it.
        arguments = shlex.split(re.sub(r"\bmy_", "zq_", re.sub(r"--\w+ my_\w+", "", shlex.join(arguments))))
        return "" if loaded(file)["read_arguments"](arguments, HERE).kind else script
    if script == "scripts/rename.py":
        return "" if loaded(file)["read_arguments"](arguments).name else script
    text = file.read_text(encoding="utf-8")
    names = [each for each in arguments if re.fullmatch(r"--[a-z-]+|[a-z_]+", each)]
    # An entry takes settings, which test_readme.py composes, and flags of Hydra.
    return "" if "entry(" in text else ", ".join(each for each in names if each not in text)


def loaded(file: Path) -> dict:
    sys.path.insert(0, str(file.parent))
    try:
        return runpy.run_path(str(file))
    finally:
        sys.path.remove(str(file.parent))


def of_make(targets: list[str]) -> str:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return ", ".join(
        each for each in targets if "=" not in each and not re.search(rf"^{each}:", makefile, re.MULTILINE)
    )


def of_pip(words: list[str]) -> str:
    """Folders, extras and files that are there."""
    wrong = []
    for word in words:
        if folder := re.fullmatch(r"(\.[\w./]*)(?:\[([\w,]+)\])?", word):
            file = ROOT / folder[1] / "pyproject.toml"
            if file == ROOT / "engine" / "pyproject.toml" and not file.is_file():
                continue
            content = tomllib.loads(file.read_text("utf-8"))
            there = content["project"].get("optional-dependencies", {})
            wrong += [each for each in (folder[2] or "").split(",") if each and each not in there]
        wrong += [word] if word.endswith(".txt") and not (ROOT / word).is_file() else []
    return ", ".join(wrong)


def of_pytest(words: list[str]) -> str:
    paths = [each for each in words if "/" in each and "my_" not in each]
    return ", ".join(each for each in paths if not (ROOT / each).exists())


def of_curl(words: list[str]) -> str:
    """An address of the server, and JSON where an ellipsis stands for more."""
    routes = (ENGINE / "kindling/inference/serving/app.py").read_text("utf-8")
    paths = [re.sub(r"https?://[^/]+", "", each) for each in words if each.startswith("http")]
    for number, word in enumerate(words):
        if word == "-d" and "$(" not in words[number + 1]:
            json.loads(words[number + 1].replace(", ...", "").replace("...", '"more": 1'))
    return ", ".join(each for each in paths if f'"{each}"' not in routes)


def of_torchrun(words: list[str]) -> str:
    return of_python(words[next(place for place, word in enumerate(words) if word.endswith(".py")) :])


def of_scheduler(words: list[str]) -> str:
    """Of a file, what stands behind it is for train.py."""
    if "--wrap" in words:
        return fault_of(words[words.index("--wrap") + 1])
    file, *given = words
    return fault_of(shlex.join(["python", "train.py", *given])) if (ROOT / file).is_file() else f"{file} is not there"


CHECKS: dict[str, Callable[[list[str]], str]] = {
    "python": of_python,
    "make": of_make,
    "pip": of_pip,
    "pytest": of_pytest,
    "curl": of_curl,
    "sbatch": of_scheduler,
    "torchrun": of_torchrun,
    "find": lambda _: "",
    "tensorboard": lambda words: "" if words[0] == "--logdir" else words[0],
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_command_of_a_page_is_one_that_there_is(file):
    faults = {command: fault_of(command) for command in commands_of(file) if not is_output(command)}
    assert {command: fault for command, fault in faults.items() if fault} == {}


def is_output(line: str) -> bool:
    """What a command prints stands behind a colon; Python within a sentence is no command."""
    return bool(re.match(r"[\w/]+: |(def|return) ", line))


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("make tset", "tset"),
        ("python scripts/gone.py", "scripts/gone.py is not there"),
        ("python -m gone", "python -m gone"),
        ("python scripts/results_table.py --wirte", "--wirte"),
        ("pip install -e '.[ntoebook]'", "ntoebook"),
        ("pip install -c gone.txt", "gone.txt"),
        ("pytest tests/test_gone.py", "tests/test_gone.py"),
        ("torchrun --nproc-per-node 2 gone.py", "gone.py is not there"),
        ("sbatch scripts/gone.sbatch seed=1", "scripts/gone.sbatch is not there"),
        ("git clone <this repository> && mkae", "mkae: a program that no test knows"),
    ],
)
def test_a_command_that_there_is_not_is_found(command, fault):
    assert fault_of(command) == fault


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_block_of_a_page_is_what_it_says(file):
    for language, block in FENCE.findall(file.read_text(encoding="utf-8")):
        if language == "python":
            assert missing_names(block) == []
        elif language == "yaml":
            assert yaml.safe_load(block)
        elif language == "json":
            assert json.loads(block)


def missing_names(code: str) -> list[str]:
    """What some code takes from the engine or the project that is not there."""
    sources, wrong = {"kindling": ENGINE, HERE.package: ROOT / "src"}, []
    for node in ast.walk(ast.parse(code)):
        parts = str(node.module).split(".") if isinstance(node, ast.ImportFrom) else [""]
        # What the page itself writes is called my_something.
        if parts[0] not in sources or any(part.startswith("my_") for part in parts[1:]):
            continue
        place = sources[parts[0]].joinpath(*parts)
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        text = file.read_text("utf-8") if file.is_file() else ""
        wrong += [each.name for each in node.names if not re.search(rf"\b{each.name}\b", text)]
    return wrong


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_settings_of_a_sweep_that_a_page_shows_are_there(file):
    for language, block in FENCE.findall(file.read_text(encoding="utf-8")):
        params = (yaml.safe_load(block).get("sweep") or {}).get("params") if language == "yaml" else None
        if params:
            groups = ConfigFiles(ROOT / "configs").groups
            config = compose(["optimizer=sgd"])
            assert [key for key in params if key not in groups and OmegaConf.select(config, key) is None] == []


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=[pytest.mark.slow] if file.stem != "results_table" else [], id=file.stem)
        for folder in ("scripts", "engine/scripts")
        for file in sorted((ROOT / folder).glob("*.py"))
        if '__name__ == "__main__"' in file.read_text(encoding="utf-8")
    ],
)
def test_a_script_that_is_asked_for_help_does_nothing_else(file):
    done = subprocess.run([sys.executable, file, "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert str(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))))[:40] in done.stdout
    assert done.stderr == ""

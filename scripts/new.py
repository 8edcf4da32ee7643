"""Add a task, a model, a data set, a callback or a recipe: code, config and test, from a starter or from one of yours.

python scripts/new.py model NAME               likewise task, data, callback, experiment
python scripts/new.py model NAME --like cnn    a copy of that one, under a name of its own

What it writes passes `pytest tests` as it is; scripts/starters/ holds what a new one starts from.
"""

import argparse
import ast
import io
import keyword
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, NoReturn

import yaml

from kindling.config import project
from kindling.config.check import fits
from kindling.config.check.files import ConfigFiles
from kindling.config.fault import Fault, listed, nearest
from kindling.config.project import Project
from kindling.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
STARTERS = Path(__file__).with_name("starters")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# What a command line or a YAML file takes for something else than text.
VALUES = ("null", "none", "true", "false", "yes", "no", "on", "off", "nan", "inf")
LIBRARIES = (project.ENGINE, "torch", "torchvision", "lightning", "hydra", "omegaconf", "numpy")


class Kind(NamedTuple):
    """What can be added.

    Args:
        group: of its config.
        folder: of its code within the package; "" if it has none.
        choice: how a command line chooses it.
        contract: the test that checks each one of this kind; "" if there is none.
    """

    group: str
    folder: str
    choice: str
    contract: str


# Runs of no recipe, and sweeps, lie there.
FOLDERS_OF_LOGS = ("default", "sweeps")
KINDS = {
    "task": Kind("task", "tasks", "task={}", "tests/test_tasks.py"),
    "model": Kind("model", "models", "model={}", "tests/test_models.py"),
    "data": Kind("data", "data", "data={}", "tests/test_data.py"),
    "callback": Kind("callbacks", "callbacks", "'callbacks=[default,{}]'", ""),
    "experiment": Kind("experiment", "", "experiment={}", "tests/test_recipes.py"),
}
# Its data and model have what the starter of a task takes.
STARTER_IS_LIKE = "regression"


class Places(NamedTuple):
    """Where the files of a name lie."""

    code: Path
    config: Path
    test: Path


class Source(NamedTuple):
    """The texts of what is copied; None where it has none."""

    name: str
    module: str
    class_name: str
    code: str | None
    config: str
    test: str | None
    notes: tuple[str, ...] = ()


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """The exit code: 0 if everything is written, 2 if a name cannot be right, 1 if a file cannot be written."""
    try:
        here = project.read(root)
        kind, name, like = read_arguments(arguments, here)
        source = source_of(KINDS[kind], like, here) if like else starter(kind, here)
        files = written(KINDS[kind], name, source, here)
        write(files)
    except (ConfigError, OSError, SyntaxError, yaml.YAMLError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return error.exit_code if isinstance(error, ConfigError) else 1
    print("\n".join([*(f"wrote {file.relative_to(root)}" for file in files), *source.notes]))
    print(
        "next:\n" + "\n".join(f"  {each}" for each in next_commands(KINDS[kind], name, files, pair(kind, like, here)))
    )
    return 0


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def read_arguments(arguments: Sequence[str], here: Project) -> tuple[str, str, str | None]:
    """Kind, name and what it is to be like.

    Raises:
        ConfigError: one line for each of them that cannot be right.
    """
    parser = Parser(prog="new.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("name", metavar="NAME", nargs="?", default="")
    parser.add_argument("--like", metavar="OTHER", help="an option of the same kind")
    given = parser.parse_args(arguments)
    if given.kind not in KINDS:
        raise ConfigError(str(Fault("kind", repr(given.kind), ", ".join(KINDS), nearest(given.kind, KINDS))))
    faults = [name_fault(given.name, here) or taken(KINDS[given.kind], given.name, here)]
    if given.like is not None:
        faults.append(like_fault(KINDS[given.kind], given.like, here))
    if any(faults):
        raise ConfigError("\n".join(str(fault) for fault in faults if fault))
    return given.kind, given.name, given.like


def name_fault(name: str, here: Project) -> Fault | None:
    if not NAME.fullmatch(name):
        small = re.sub(r"\W+|(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")
        meant = small if NAME.fullmatch(small) else ""
        allowed = "at most 40 small letters, digits and _, a letter first"
        return Fault("name", repr(name), allowed, meant)
    if keyword.iskeyword(name) or name in VALUES:
        return Fault("name", f"{name!r}, a word of Python or YAML", "another name")
    if name in sys.stdlib_module_names or name in (*LIBRARIES, here.package):
        return Fault("name", f"{name!r}, which imports something else already", "another name")
    return None


def taken(kind: Kind, name: str, here: Project) -> Fault | None:
    """Where a name is used already: its files, or a block of the callbacks, which a new one would be merged with."""
    if kind.group == "experiment" and name in FOLDERS_OF_LOGS:
        return Fault("name", f"{name!r}, whose runs would lie among others in logs/{name}", "another name")
    places = places_of(kind, name, here)
    found = [file for file in (places if kind.folder else [places.config]) if file.exists()]
    found += [places.code.with_suffix("")] if kind.folder and places.code.with_suffix("").exists() else []
    others = sorted(places.config.parent.glob("*.yaml")) if kind.group == "callbacks" else []
    found += [file for file in others if file not in found and name in blocks_of(file.read_text(encoding="utf-8"))]
    where = ", ".join(str(file.relative_to(here.root)) for file in found)
    return Fault("name", f"{name!r}, which is taken by {where}", "a name that is free") if found else None


def like_fault(kind: Kind, like: str, here: Project) -> Fault | None:
    options = ConfigFiles(here.configs).options(kind.group)
    if like in options:
        return None
    has_code = kind.folder and like.isidentifier() and places_of(kind, like, here).code.is_file()
    given = f"{like!r}, which has code and no configs/{kind.group}/{like}.yaml" if has_code else repr(like)
    return Fault("--like", given, listed(options), nearest(like, options))


def places_of(kind: Kind, name: str, here: Project) -> Places:
    code = here.root / "src" / here.package / kind.folder / f"{name}.py"
    return Places(code, here.configs / kind.group / f"{name}.yaml", here.root / "tests" / f"test_{name}.py")


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def starter(kind: str, here: Project) -> Source:
    """What a new one starts from; a recipe, with the data and the model of train.yaml."""
    code, config, test = (STARTERS / f"{kind}{end}" for end in (".py", ".yaml", "_tests.py"))
    text = config.read_text(encoding="utf-8")
    if kind == "experiment":
        defaults = yaml.safe_load((here.configs / "train.yaml").read_text(encoding="utf-8"))["defaults"]
        chosen = {group: option for each in defaults if isinstance(each, dict) for group, option in each.items()}
        for group in ("data", "model"):
            line = f"  - override /{group}: {chosen[group]}\n" if chosen.get(group) else ""
            text = text.replace(f"  - override /{group}: {group.upper()}\n", line)
    module = f"package.{KINDS[kind].folder}.starter"
    return Source("starter", module, "Starter", text_of(code), text, text_of(test))


def source_of(kind: Kind, like: str, here: Project) -> Source:
    """What stands under a name; the config alone if its code is the engine's or that of other options too."""
    places = places_of(kind, like, here)
    config = places.config.read_text(encoding="utf-8")
    if not kind.folder:
        config = re.sub(r"^# (result|cost):.*$", r"# \1:", config, flags=re.MULTILINE)
        return Source(like, "", "", None, config, None)
    module, _, class_name = target_of(config, like).rpartition(".")
    stem = module.removeprefix(f"{here.package}.{kind.folder}.")
    others = places.config.parent.glob("*.yaml")
    sharing = [each.stem for each in others if f"{module}." in each.read_text(encoding="utf-8") and each.stem != like]
    file = places.code.with_name(f"{stem}.py")
    if stem == module or "." in stem or not file.is_file() or (sharing and stem != like):
        shared = f", as {', '.join(sorted(sharing))}" if sharing else ""
        note = (
            f"the config alone: its class {module}.{class_name} stays the same{shared}"
            if module
            else "the config alone"
        )
        return Source(like, "", "", None, config, None, (note,))
    test, notes = tests_of(text_of(places.test))
    return Source(like, module, class_name, text_of(file), config, test, notes)


def tests_of(test: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The tests of a file that hold for a copy: those of a recipe stay with the old one."""
    if test is None:
        return None, ("no test of its own: there is none to copy",)
    lines, left_out = test.splitlines(keepends=True), []
    for each in reversed(ast.parse(test).body):
        if isinstance(each, ast.FunctionDef) and "experiment=" in (ast.get_source_segment(test, each) or ""):
            left_out.append(each.name)
            first = min([each.lineno, *(mark.lineno for mark in each.decorator_list)])
            del lines[first - 1 : each.end_lineno]
    return "".join(lines), tuple(f"left out, as it tests a recipe: {name}" for name in reversed(left_out))


def target_of(config: str, name: str) -> str:
    """The `_target_` of a config, or of its block of the same name, or of its only block."""
    tree = yaml.safe_load(config) or {}
    blocks = [each for each in blocks_of(config).values() if isinstance(each, dict) and "_target_" in each]
    only = blocks[0] if len(blocks) == 1 else {}
    return str(tree.get("_target_") or blocks_of(config).get(name, only).get("_target_", ""))


def blocks_of(config: str) -> dict[str, dict[str, object]]:
    tree = yaml.safe_load(config)
    return {key: value for key, value in tree.items() if isinstance(value, dict)} if isinstance(tree, dict) else {}


def written(kind: Kind, name: str, source: Source, here: Project) -> dict[Path, str]:
    """The text of each file that is to be there.

    Raises:
        ConfigError: the class has a name that its code uses for something else.
    """
    class_name, places = camel(name), places_of(kind, name, here)
    for text in filter(None, (source.code, source.test)):
        if re.search(rf"\b{class_name}\b", text) and class_name != source.class_name:
            raise ConfigError(str(Fault("name", f"{name!r}, whose class {class_name} is in that code", "another name")))
    renamed = renaming(kind, name, source, f"{here.package}.{kind.folder}.{name}")
    files = {places.config: renamed(source.config)}
    if source.code is not None:
        files = {places.code: formatted(renamed(source.code), places.code, here), **files}
        package = places.code.with_name("__init__.py")
        files |= {} if package.exists() else {package: ""}
    if source.test is not None:
        text = renamed(with_identifier(source.test, source.name, name))
        files[places.test] = formatted(text, places.test, here)
    return files


def renaming(kind: Kind, name: str, source: Source, module: str) -> Callable[[str], str]:
    """Replaces the names by which others find a thing, and no other word: a set may be read from a file of its name."""
    old = re.escape(source.name)
    words = {
        rf"\b{kind.group}={old}\b": f"{kind.group}={name}",
        rf"\[default,{old}\]": f"[default,{name}]",
        # The block of a callback.
        rf"^{old}:(?=\s*$|\s*#)": f"{name}:",
        # An argument of a test.
        rf'(?<=[(\[ ])"{old}"(?=[,)\]])': f'"{name}"',
    }
    if source.code is not None:
        words |= {rf"\b{re.escape(source.module)}\b": module, rf"\b{source.class_name}\b": camel(name)}

    def renamed(text: str) -> str:
        for pattern, word in words.items():
            text = re.sub(pattern, word, text, flags=re.MULTILINE)
        return text

    return renamed


def with_identifier(code: str, old: str, new: str) -> str:
    """Code whose functions and variables `old` are named `new`; as it is where `old` is a package that it imports."""
    if re.search(rf"^(import|from) {re.escape(old)}\b", code, re.MULTILINE):
        return code
    lines = code.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    for last, token in reversed(list(pairwise(tokens))):
        if token.type == tokenize.NAME and token.string == old and last.string != ".":
            (row, start), (_, end) = token.start, token.end
            lines[row - 1] = lines[row - 1][:start] + new + lines[row - 1][end:]
    return "".join(lines)


def formatted(code: str, file: Path, here: Project) -> str:
    """Code as ruff would have it, which other names may have changed; as it is if there is no ruff."""
    # What is not written yet is the project's own all the same.
    own = f'lint.isort.known-first-party=["{here.package}"]'
    for command in (["check", "--fix-only", "--quiet", "--config", own], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(file), "-"]
        done = subprocess.run(ruff, cwd=here.root, input=code, capture_output=True, text=True, check=False)
        code = done.stdout if done.returncode == 0 and done.stdout else code
    return code


def text_of(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def write(files: dict[Path, str]) -> None:
    """All files or none; one that is there already is left alone, and none is written then."""
    made: list[Path] = []
    try:
        for file, text in files.items():
            folders = [each for each in (file.parent, *file.parent.parents) if not each.exists()]
            for folder in reversed(folders):
                folder.mkdir()
                made.append(folder)
            with file.open("x", encoding="utf-8") as stream:
                made.append(file)
                stream.write(text)
    except BaseException:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        raise


def pair(kind: str, like: str | None, here: Project) -> str:
    """What a new one goes with, as overrides: those of a recipe of what it is like, if its task is not that of all."""
    like = like or (STARTER_IS_LIKE if kind == "task" else None)
    for file in sorted((here.configs / "experiment").glob("*.yaml")) if kind in fits.PARTS else []:
        chosen = fits.chosen_by(file)
        if chosen.get(kind) == like and "task" in chosen:
            others = (group for group in fits.PARTS if group in chosen and group != kind)
            return "".join(f" {group}={chosen[group]}" for group in others)
    return ""


def next_commands(kind: Kind, name: str, files: dict[Path, str], others: str = "") -> Iterator[str]:
    choice = kind.choice.format(name) + others
    tests = [kind.contract, *(f"tests/{file.name}" for file in files if file.parent.name == "tests")]
    if not kind.folder:
        yield f"python train.py -m {choice} seed=0,1,2,3,4    # then fill in result and cost"
        yield f"make golden                                  # tests/golden/{name}.yaml, to see what changes it"
    else:
        yield f"python train.py {choice} trainer.max_epochs=1"
    if any(tests):
        yield f"pytest {' '.join(filter(None, tests))} -k {name}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What can be added, under which names, and where its files lie."""

import keyword
import re
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

from kindling.config import project
from kindling.config.check.files import ConfigFiles
from kindling.config.fault import Fault, listed, nearest
from kindling.config.project import Project

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# What a command line or a YAML file takes for something else than text.
VALUES = ("null", "none", "true", "false", "yes", "no", "on", "off", "nan", "inf")
LIBRARIES = (project.ENGINE, "torch", "torchvision", "lightning", "hydra", "omegaconf", "numpy")
# Runs of no recipe, and sweeps, lie there.
FOLDERS_OF_LOGS = ("default", "sweeps")


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


KINDS = {
    "task": Kind("task", "tasks", "task={}", "tests/test_tasks.py"),
    "model": Kind("model", "models", "model={}", "tests/test_models.py"),
    "data": Kind("data", "data", "data={}", "tests/test_data.py"),
    "callback": Kind("callbacks", "callbacks", "'callbacks=[default,{}]'", ""),
    "experiment": Kind("experiment", "", "experiment={}", "tests/test_recipes.py"),
}


class Places(NamedTuple):
    """Where the files of a name lie."""

    code: Path
    config: Path
    test: Path


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
    options = ConfigFiles(here.configs).groups.get(kind.group, [])
    if like in options:
        return None
    has_code = kind.folder and like.isidentifier() and places_of(kind, like, here).code.is_file()
    given = f"{like!r}, which has code and no configs/{kind.group}/{like}.yaml" if has_code else repr(like)
    return Fault("--like", given, listed(options), nearest(like, options))


def places_of(kind: Kind, name: str, here: Project) -> Places:
    code = here.root / "src" / here.package / kind.folder / f"{name}.py"
    return Places(code, here.configs / kind.group / f"{name}.yaml", here.root / "tests" / f"test_{name}.py")


def blocks_of(config: str) -> dict[str, dict[str, object]]:
    tree = yaml.safe_load(config)
    return {key: value for key, value in tree.items() if isinstance(value, dict)} if isinstance(tree, dict) else {}

"""Which tasks, data sets and models of configs/ go together: as its recipes say, else by the facts they refer to."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from kindling.config import project
from kindling.config.check.files import ConfigFiles
from kindling.config.plain import yaml_of
from kindling.config.signatures import TargetMissing, find_target

PARTS = ("task", "data", "model")
# What data may ask for: a test writes files for it.
PLACES = ("root", "table")
FACT = re.compile(r"\$\{data\.(\w+)")
FACT_READ = re.compile(r"self\.config\['data'\]\['(\w+)'\]")


class Chosen(NamedTuple):
    """An option of each group; `recipe` if one of configs/experiment says so."""

    task: str
    data: str
    model: str
    recipe: str = ""

    @property
    def lines(self) -> list[str]:
        """The overrides that choose it."""
        recipe = [f"experiment={self.recipe}"] if self.recipe else []
        return recipe or [f"{group}={getattr(self, group)}" for group in PARTS]


def options(group: str) -> list[str]:
    """Those that build something as they are: all but `none`, and those whose class is to be given."""
    names = ConfigFiles(project.current().configs).options(group)
    return [name for name in names if target_of(written(group, name)) not in ("", "???")]


def file_of(group: str, name: str) -> Path:
    return project.current().configs / group / f"{name}.yaml"


@cache
def _parsed(file: Path, changed_at: int) -> dict[str, Any]:
    return yaml_of(file) or {}


def _tree(file: Path) -> dict[str, Any]:
    return _parsed(file, file.stat().st_mtime_ns)


def written(group: str, name: str) -> dict[str, Any]:
    """What a file says, without its defaults."""
    return _tree(file_of(group, name))


def target_of(node: dict[str, Any]) -> str:
    needs = [key for key, value in node.items() if value in ("???", {"_target_": "???"}) and key not in PLACES]
    return "???" if needs else str(node.get("_target_", ""))


def keys_of(group: str, name: str) -> set[str]:
    """The keys of an option, with those of its defaults."""
    node = written(group, name)
    others = [each for each in node.get("defaults", []) if isinstance(each, str) and each != "_self_"]
    return set(node) - {"defaults"} | {key for each in others for key in keys_of(group, each)}


def facts_for(group: str, name: str) -> set[str]:
    """The keys of the data that an option refers to, or the class of a task reads."""
    said = set(FACT.findall(file_of(group, name).read_text(encoding="utf-8")))
    return said | read_by(target_of(written(group, name))) if group == "task" else said


@cache
def read_by(target: str) -> set[str]:
    """The keys of the data that a class reads from `self.config`."""
    try:
        found = find_target(target)
    except (TargetMissing, SyntaxError):
        return set()
    return set(FACT_READ.findall(ast.unparse(found[1]))) if found else set()


def go_together(task: str, data: str, model: str) -> bool:
    """Whether a data set has what task and model refer to."""
    return facts_for("task", task) | facts_for("model", model) <= keys_of("data", data)


def models_for(task: str, data: str) -> list[str]:
    return [model for model in options("model") if go_together(task, data, model)]


def refers_to_what_is_there(group: str, name: str, data: str) -> bool:
    return facts_for(group, name) <= keys_of("data", data)


def recipes() -> Iterator[Chosen]:
    """What train.yaml chooses, then each recipe."""
    base = chosen_by(project.current().configs / "train.yaml")
    names = ConfigFiles(project.current().configs).options("experiment")
    found = [(base, "")] + [(base | chosen_by(file_of("experiment", name)), name) for name in names]
    for choice, name in found:
        # A task may bring its own net.
        if all(choice.get(group) in [*options(group), *(["none"] if group == "model" else [])] for group in PARTS):
            yield Chosen(choice["task"], choice["data"], choice["model"], name)


def chosen_by(file: Path) -> dict[str, str]:
    """The options that a defaults list names, by group."""
    entries = [each for each in _tree(file).get("defaults", []) if isinstance(each, dict)]
    pairs = [(str(key), value) for each in entries for key, value in each.items()]
    return {key.removeprefix("override ").lstrip("/"): value for key, value in pairs if isinstance(value, str)}


def for_model(model: str) -> Iterator[Chosen]:
    """What it may go with, the likeliest first."""
    said = [each for each in recipes() if each.model == model]
    datas = [name for name in options("data") if refers_to_what_is_there("model", model, name)]
    for data in dict.fromkeys([*(each.data for each in said if each.data in datas), *datas]):
        for task in tasks_for(data, model):
            yield Chosen(task, data, model)


def lines_for(data: str) -> list[str]:
    """The overrides of a data set, with a task and a model that have of it what they refer to."""
    said = [each for each in recipes() if each.data == data]
    others = (Chosen(task, data, model) for task, model in product(options("task"), options("model")))
    for each in (*said, *others):
        if go_together(each.task, data, each.model):
            return Chosen(*each[:3]).lines
    # None has been written yet.
    nothing = [f"{group}=none" for group in ("model", "optimizer", "scheduler")]
    return [f"data={data}", "task=plain", "task._target_=torch.nn.Identity", *nothing]


def for_task(task: str) -> Iterator[Chosen]:
    """What it may go with: its recipes, else all that a recipe says of other tasks, else any."""
    yield from (each for each in recipes() if each.task == task)
    pairs = dict.fromkeys((each.data, each.model) for each in recipes() if each.model != "none")
    pairs |= dict.fromkeys(product(options("data"), options("model")))
    for data, model in pairs:
        if go_together(task, data, model):
            yield Chosen(task, data, model)


def tasks_for(data: str, model: str) -> list[str]:
    """Those that recipes pair with either; without one, those that refer to most of what the data has first."""
    said = list(recipes())
    paired = [each.task for each in said if each.data == data] + [each.task for each in said if each.model == model]
    rest = sorted(options("task"), key=lambda name: -len(facts_for("task", name)))
    return [name for name in dict.fromkeys(paired) if refers_to_what_is_there("task", name, data)] or [
        name for name in rest if refers_to_what_is_there("task", name, data)
    ]

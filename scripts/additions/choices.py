"""Which task, data and model go with what is new: in a recipe, and in the command that tries it."""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from additions.kinds import KINDS, Kind
from kindling.config.check import fits
from kindling.config.check.files import ConfigFiles
from kindling.config.check.fits import Chosen
from kindling.config.fault import Fault, listed, nearest
from kindling.config.given import GIVEN, signature_of, taken_by
from kindling.config.project import Project
from kindling.errors import ConfigError

# The data and the model of its recipe have what the starter of a task takes.
STARTER_IS_LIKE = {"task": "regression"}
# What stands for a value that only you know.
PLACEHOLDERS = {"_target_": "YOUR.CLASS", "root": "PATH"}


def option_faults(given: Mapping[str, str], here: Project) -> list[Fault]:
    """Parts of a recipe that are not there."""
    known = ConfigFiles(here.configs).groups
    wrong = {part: name for part, name in given.items() if name not in known.get(part, [])}
    return [
        Fault(f"--{part}", repr(name), listed(known[part]), nearest(name, known[part])) for part, name in wrong.items()
    ]


def parts_of(given: Mapping[str, str], task: str | None) -> Chosen:
    """A task, data and a model for a recipe: of the first recipe that has what is given, else the only ones that fit.

    Args:
        given: those that are asked for.
        task: taken if none is asked for and several fit.

    Raises:
        ConfigError: what is given does not go together, or leaves a choice.
    """
    for each in fits.recipes():
        if all(getattr(each, part) == name for part, name in given.items()):
            return each
    every = [[given[part]] if part in given else fits.options(part) for part in fits.PARTS]
    if "task" in given and "net" in not_taken(given["task"]):
        every[2] = [given.get("model", "none")]
    fitting = [Chosen(*each) for each in product(*every) if fits.go_together(*each)]
    if not fitting:
        raise ConfigError(str(misfit(given)))
    if "task" not in given:
        fitting = [each for each in fitting if each.task == task] or fitting
    left = {part: sorted({getattr(each, part) for each in fitting}) for part in fits.PARTS}
    faults = [Fault(f"--{part}", "nothing", ", ".join(names)) for part, names in left.items() if len(names) > 1]
    if faults:
        raise ConfigError("\n".join(map(str, faults)))
    return fitting[0]


def not_taken(task: str) -> set[str]:
    """What the engine gives, and a task does not take; nothing if its source does not say."""
    target = fits.target_of(fits.written("task", task))
    return GIVEN.keys() - taken_by(target) if signature_of(target) else set()


def misfit(given: Mapping[str, str]) -> Fault:
    asked = {fact for part in ("task", "model") if part in given for fact in fits.facts_for(part, given[part])}
    asking = " and ".join(f"{part} {given[part]}" for part in ("task", "model") if part in given)
    if "data" not in given:
        return Fault("--data", "nothing, and none fits", f"data whose config says {', '.join(sorted(asked))}")
    lacking = sorted(asked - fits.keys_of("data", given["data"])) or ["what a task and a model of yours refer to"]
    allowed = f"data whose config says what {asking or 'they'} refer to by ${{data...}}"
    return Fault("--data", f"{given['data']!r}, whose config does not say {', '.join(lacking)}", allowed)


def with_parts(recipe: str, chosen: Chosen, base: Mapping[str, str]) -> str:
    """The starter of a recipe with a task, data and a model, and without an optimizer that the task does not take."""
    for part in fits.PARTS:
        name = getattr(chosen, part)
        line = "" if part == "task" and name == base.get("task") else f"  - override /{part}: {name}\n"
        recipe = recipe.replace(f"  - override /{part}: {part.upper()}\n", line)
    left_out = sorted(not_taken(chosen.task) & {"optimizer", "scheduler"})
    if "optimizer" in left_out:
        recipe = re.sub(r"^optimizer:\n(  .*\n)+", "", recipe, flags=re.MULTILINE)
    return recipe.replace("\n\n", "".join(f"\n  - override /{group}: none" for group in left_out) + "\n\n", 1)


def next_commands(kind: str, name: str, like: str | None, files: list[Path], here: Project) -> Iterator[str]:
    """What to type after the files are written."""
    of = KINDS[kind]
    choice = of.choice.format(name)
    if kind == "experiment":
        keys = list(open_keys_of_recipe(name, here))
        given, instead = "".join(f" {key}" for key in keys), "    # or say it in the recipe" if keys else ""
        yield f"python train.py {choice}{given} trainer.max_epochs=1{instead}"
        yield f"python train.py -m {choice}{given} seed=0,1,2,3,4    # then fill in result and cost"
        yield f"make golden                                  # tests/golden/{name}.yaml, to see what changes it"
    else:
        yield from with_companions(kind, name, like, here)
    tests = [of.contract, *(f"tests/{file.name}" for file in files if file.parent.name == "tests")]
    if any(tests):
        yield f"pytest {' '.join(filter(None, tests))} -k {name}"


def with_companions(kind: str, name: str, like: str | None, here: Project) -> Iterator[str]:
    """How to try it, and a recipe, with what it goes with."""
    choice, with_it = KINDS[kind].choice.format(name), companions(kind, name, like, here)
    is_starter = kind == "task" and like is None
    if with_it is None and is_starter:
        yield f"python train.py {choice} data=DATA model=MODEL    # those that its step fits: docs/tasks.md"
        return
    if with_it is None:
        yield f"python scripts/new.py task ...    # no task and model refer to what {choice} says"
    else:
        keys = "".join(f" {key}" for key in open_keys(KINDS[kind], name, here))
        note = "    # what the starter's step fits; yours may need others" if is_starter else ""
        yield f"python train.py {choice}{with_it}{keys} trainer.max_epochs=1{note}"
    if kind in fits.PARTS:
        yield f"python scripts/new.py experiment my_{name} --{kind} {name}{flags(with_it)}"


def companions(kind: str, name: str, like: str | None, here: Project) -> str | None:
    """Overrides for what it goes with: that of a recipe of what it is like, else anything; None if nothing fits."""
    if kind not in fits.PARTS:
        return ""
    recipes = list(fits.recipes())
    said = [each for each in recipes if getattr(each, kind) == (like or STARTER_IS_LIKE.get(kind))]
    if kind == "task" and like is None and not said:
        return None
    everything = (Chosen(*each) for each in product(*map(fits.options, fits.PARTS)))
    base = fits.chosen_by(here.configs / "train.yaml")
    for each in (*said, *recipes, *everything):
        found = each._replace(**{kind: name})
        if fits.go_together(found.task, found.data, found.model):
            others = {part: getattr(found, part) for part in fits.PARTS if part != kind}
            return "".join(f" {part}={option}" for part, option in others.items() if option != base.get(part))
    return None


def flags(overrides: str | None) -> str:
    """The same choices for a recipe."""
    return re.sub(r" (\w+)=", r" --\1 ", overrides or "")


def open_keys(kind: Kind, name: str, here: Project) -> Iterator[str]:
    """Overrides for what its config leaves to be given, with a word in the place of each value."""
    text = (here.configs / kind.group / f"{name}.yaml").read_text(encoding="utf-8")
    start = "" if "# @package _global_" in text else kind.group
    yield from (
        f"{path}={PLACEHOLDERS.get(path.rpartition('.')[2], 'VALUE')}" for path in missing(yaml.safe_load(text), start)
    )


def open_keys_of_recipe(name: str, here: Project) -> Iterator[str]:
    """Those of what a recipe chooses and does not say itself."""
    recipe = fits.written("experiment", name)
    chosen = fits.chosen_by(here.configs / "train.yaml") | fits.chosen_by(fits.file_of("experiment", name))
    for part in fits.PARTS:
        said = recipe.get(part) or {}
        keys = open_keys(KINDS[part], chosen[part], here) if part in chosen else ()
        yield from (key for key in keys if key.partition("=")[0].partition(".")[2] not in said)


def missing(node: Any, path: str) -> Iterator[str]:
    if node == "???":
        yield path
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from missing(value, f"{path}.{key}".lstrip("."))

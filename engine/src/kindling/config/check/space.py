"""The space of a sweep, as the check of a command line needs it: overrides with several values, and conditions."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from kindling.config.check.keys import arguments_of, has
from kindling.config.check.tree import Problem
from kindling.config.fault import Fault
from kindling.config.params import Parse, space_of
from kindling.config.processes import processes_of
from kindling.errors import ConfigError, counted
from kindling.process import ranks

INTERVALS = "values with commas between, choice(...), range(...) or glob(*); interval(...) with sweep=optuna"


class SpaceCheck:
    """What a sweep gives several values, by the command line and its YAML files.

    Args:
        config: as composed, with Hydra's part.
        overrides: of the command line.
        parse: reads an override.
        add: takes a problem.

    Attributes:
        several: the overrides.
        when: by parameter, the overrides under which it is there at all.
    """

    def __init__(self, config: DictConfig, overrides: Sequence[Override], parse: Parse, add: Callable[[Problem], None]):
        self.several = [each for each in overrides if each.is_sweep_override()]
        self.when: dict[str, list[Override]] = {}
        self.parse, self.add = parse, add
        sweep = OmegaConf.select(config, "sweep")
        if isinstance(sweep, DictConfig) and "sampler" in sweep:
            self._read(OmegaConf.to_container(sweep), overrides)
        else:
            if isinstance(sweep, DictConfig) and sweep and chosen_sweep(config) is None:
                add(
                    Fault(
                        "sweep", "settings of a sweep, and none chosen", "sweep=grid, random or optuna, or sweep=none"
                    )
                )
            params = OmegaConf.select(config, "hydra.sweeper.params") or {}
            given = {override.key_or_group for override in overrides}
            self.several += self._parsed(f"{key}={value}" for key, value in params.items() if key not in given)
            self._refuse_intervals()

    def _read(self, sweep: Any, overrides: Sequence[Override]) -> None:
        try:
            space = space_of(self.parse, sweep, overrides)
        except ConfigError as error:
            for line in str(error).splitlines():
                self.add(ConfigError(line))
            return
        self.several = self._parsed(f"{param.key}={param.text}" for param in space)
        # With those of what a condition names itself.
        conditions: dict[str, dict[str, str]] = {}
        for param in space:
            further = (conditions[key] | {key: value} for key, value in param.when)
            conditions[param.key] = {key: value for each in further for key, value in each.items()}
        self.when = {key: self._parsed(map("=".join, each.items())) for key, each in conditions.items() if each}
        if sweep.get("sampler") == "grid":
            self._refuse_intervals()

    def _parsed(self, lines: Iterable[str]) -> list[Override]:
        return [override for line in lines if (override := self.parse(line))]

    def _refuse_intervals(self) -> None:
        for override in filter(_is_open, self.several):
            text = str(override.input_line).partition("=")[2]
            self.add(Fault(override.get_key_element(), text, INTERVALS))
        self.several = [each for each in self.several if not _is_open(each)]


def chosen_sweep(config: DictConfig) -> str | None:
    return OmegaConf.select(config, "hydra.runtime.choices.sweep")


def of_processes(configs: Iterable[DictConfig]) -> Iterator[Fault]:
    """Jobs that would each run the whole sweep in each of their processes."""
    if ranks.are_several():
        yield Fault(
            "--multirun", "in several processes that torchrun or srun has started", "alone; trials start theirs"
        )
    for config in configs:
        number = processes_of(
            {"trainer": OmegaConf.to_container(OmegaConf.select(config, "trainer") or DictConfig({}))}
        )
        if number and number > 1 and chosen_sweep(config) in (None, "none"):
            allowed = "1, or sweep=grid, which runs each job as a command of its own"
            yield Fault("trainer.devices", f"{counted(number, 'process')} in a sweep of Hydra's", allowed)


def condensed(problems: Iterable[Problem], several: Iterable[Override]) -> dict[str, Problem]:
    """The problems by their lines; one for the values of a key that is wrong itself, or of an interval to be whole."""
    intervals = {each.get_key_element(): str(each.input_line).partition("=")[2] for each in several if _is_open(each)}
    texts = {each.get_key_element(): str(each.input_line) for each in several if each.is_discrete_sweep()}
    found: dict[str, Problem] = {}
    for problem in problems:
        line = str(problem)
        if isinstance(problem, Fault):
            line = str(replace(problem, meant=""))
            if problem.path in intervals and problem.allowed.startswith("a whole number"):
                text = intervals[problem.path]
                problem = Fault(problem.path, text, problem.allowed, f"{problem.path}=int({text})")
                line = str(problem)
            elif problem.meant.startswith(f"{problem.path}=") and problem.path in texts:
                problem = replace(problem, meant=_among(texts[problem.path], problem))
        found.setdefault(line, problem)
    return found


def _among(line: str, problem: Fault) -> str:
    """A hint of one value, with the others of its sweep."""
    value = re.escape(problem.given.strip("'"))
    return re.sub(rf"(?<![\w.-]){value}(?![\w.-])", problem.meant.partition("=")[2], line)


def with_conditions(
    problems: Iterable[Problem], configs: Sequence[DictConfig], overrides: Iterable[Override]
) -> Iterator[Problem]:
    """The problems; of a setting that only some choices of a group have, with how a space says so.

    Args:
        configs: of the jobs.
        overrides: of the command line.
    """
    texts, problems = {each.get_key_element().lstrip("+"): each for each in overrides}, list(problems)
    there = {each.path for each in problems if isinstance(each, Fault)}
    for problem in problems:
        key = problem.path.lstrip("+") if isinstance(problem, Fault) and not problem.warning else ""
        group, _, name = key.partition(".")
        chosen = {OmegaConf.select(each, f"hydra.runtime.choices.{group}"): each for each in configs} if name else {}
        having = [str(choice) for choice, config in chosen.items() if _takes(config, key)]
        if key not in texts or not having or len(having) == len(chosen):
            yield problem
            continue
        lacking = ", ".join(f"{group}={each}" for each in chosen if str(each) not in having)
        space = str(texts[key].input_line).partition("=")[2]
        space = space if texts[key].is_sweep_override() else f"choice({space})"
        # What one of them has already needs no +.
        plus = "+" if texts[key].is_add() and f"+{key}" not in there else ""
        entry = f"{plus}{key}: {{space: '{space}', when: {{{group}: {having[0]}}}}}"
        yield Fault(key, f"a setting that {lacking} does not have", f"sweep.params of a recipe, with {entry}")


def _takes(config: DictConfig, key: str) -> bool:
    """Whether a key is there, where a + may have put it, and the target knows it."""
    parent, _, name = key.rpartition(".")
    known = arguments_of(config, parent)
    return has(config, key) and (not known or name in known)


def _is_open(override: Override) -> bool:
    return override.is_sweep_override() and not override.is_discrete_sweep()

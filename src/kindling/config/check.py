"""The check of a command line, before anything is imported, created or built: every mistake, each in one line.

1. syntax: overrides that Hydra's grammar refuses; several values outside of a sweep
2. groups: options that are not there; the defaults lists of the YAML files
3. keys: overrides of keys that are not there, or with a wrong +
4. values: of the composed config of each job, in `nodes.py` and `rules.py`
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kindling.config import keys
from kindling.config.composition import CONFIGS, Composer
from kindling.config.fault import Fault, listed, nearest
from kindling.config.files import ConfigFiles, not_yaml
from kindling.config.nodes import problems_of
from kindling.config.syntax import explain
from kindling.config.tree import Problem
from kindling.errors import ConfigError, KindlingError


def check_config(config: DictConfig, name: str = "train") -> list[Fault]:
    """Check a composed config, perhaps changed since by hand; returns warnings.

    Raises:
        KindlingError: one line for each mistake.
    """
    files = ConfigFiles(CONFIGS)
    unread = [replace(fault, warning=True) for fault in _top_level(config, files, name, set())]
    problems = [*unread, *problems_of(config)]
    refuse(problems)
    return [problem for problem in problems if isinstance(problem, Fault)]


def refuse(problems: Sequence[Problem]) -> None:
    """
    Raises:
        KindlingError: there are any but warnings.
    """
    wrong = [problem for problem in problems if not (isinstance(problem, Fault) and problem.warning)]
    lines = "\n".join(map(str, wrong))
    if any(isinstance(problem, Fault | ConfigError) for problem in wrong):
        raise ConfigError(lines)
    for problem in wrong:
        assert isinstance(problem, KindlingError), "all faults are told above"
        raise type(problem)(lines)


HYDRA_GROUPS = ("launcher", "sweeper", "job_logging", "hydra_logging", "output", "env", "help")


class Check:
    """Finds what is wrong with the overrides of configs/<name>.yaml.

    Args:
        composer: of that file, entered.
        sweep: whether an override may give several values.
    """

    def __init__(self, composer: Composer, *, sweep: bool = False):
        self.composer = composer
        self.sweep = sweep
        self.files = ConfigFiles(*composer.folders)
        self.problems: dict[str, Problem] = {}
        self.configs: list[DictConfig] = []  # of each job, with its overrides
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def run(self, lines: Sequence[str]) -> list[Problem]:
        """The problems of a command line; of a sweep, those of all its jobs."""
        overrides = [override for line in lines if (override := self._parsed(line))]
        in_files = list(self.files.faults(self.composer.name))
        for fault in in_files:
            self._add(fault)
        if not in_files:
            for job in self._jobs(overrides):
                self._check_job(job)
        return list(self.problems.values())

    def _add(self, problem: Problem) -> None:
        """Only the first problem of a path is told: the others follow from it."""
        key = problem.path if isinstance(problem, Fault) else str(problem)
        if key not in self.problems or getattr(self.problems[key], "warning", False):
            self.problems[key] = problem

    def _parsed(self, line: str) -> Override | None:
        try:
            override = self.composer.parse(line)
        except HydraException as error:
            self._add(explain(line, str(error), self.composer.parse, self.files.groups))
            return None
        key, value = override.key_or_group, line.partition("=")[2]
        fault = None
        if not key:
            fault = explain(line, "", self.composer.parse, self.files.groups)
        elif override.is_sweep_override() and not self.sweep:
            fault = Fault(key, value, "one value", f"-m {line} for a sweep, or {key}=[{value}] for a list")
        elif override.is_sweep_override() and not override.is_discrete_sweep():
            fault = Fault(key, value, "values with commas between, choice(...), range(...) or glob(*)")
        if fault:
            self._add(fault)
        return None if fault else override

    def _jobs(self, overrides: list[Override]) -> list[list[Override]]:
        """The overrides of each job of a sweep; of a single run, its own."""
        each = [
            [self.composer.parse(f"{one.get_key_element()}={value}") for value in one.sweep_string_iterator()]
            if one.is_sweep_override()
            else [one]
            for one in overrides
        ]
        return [list(job) for job in product(*each)]

    def _check_job(self, overrides: list[Override]) -> None:
        chosen = [override for override in overrides if self._is_group(override.key_or_group)]
        lines = tuple(str(override.input_line) for override in chosen if self._option_fits(override))
        config = self._compose(lines)
        if config is None:
            return
        applied = [each for each in overrides if each not in chosen and self._apply(config, each)]
        self.configs.append(config)
        added = {override.key_or_group for override in applied if override.is_add() or override.is_force_add()}
        for problem in [*_top_level(config, self.files, self.composer.name, added), *problems_of(config)]:
            self._add(self._with_origin(problem, lines, applied))

    def _compose(self, lines: tuple[str, ...]) -> DictConfig | None:
        try:
            if not self.sweep:
                return self.composer.compose(lines)
            if lines not in self._composed:  # by another job
                self._composed[lines] = self.composer.compose(lines)
            return self._composed[lines].copy()
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            whole = " ".join(str(error).split())
            self._add(not_yaml(error) if isinstance(error, YAMLError) else Fault("defaults", whole))
            return None

    def _with_origin(self, problem: Problem, lines: Sequence[str], applied: list[Override]) -> Problem:
        if not isinstance(problem, Fault) or problem.origin or problem.path in self.problems:
            return problem
        if any(f"{problem.path}.".startswith(f"{override.key_or_group}.") for override in applied):
            return problem  # from the command line
        return replace(problem, origin=self.files.origin(problem.path, self.composer.files(lines)))

    def _is_group(self, key: str) -> bool:
        return key in self.files.groups or "/" in key

    def _option_fits(self, override: Override) -> bool:
        key, value = override.key_or_group, override.value()
        if key.startswith("hydra/"):
            fault = self._hydra_misfit(key, value)
        elif key not in self.files.groups:
            fault = Fault(key, "a group that is not there", listed(self.files.groups), nearest(key, self.files.groups))
        elif override.is_delete():
            fault = None
        elif override.is_force_add() or (override.is_add() and key in self.files.top_level(self.composer.name)):
            fault = Fault(f"+{key}", "a + on a group that is there already", "without the +", f"{key}={value}")
        else:
            options = value if isinstance(value, list) else [value]
            misfits = [misfit for option in options if (misfit := self.files.misfit(key, option))]
            named = [fault for option in options for fault in self.files.faults(f"{key}/{option}")]
            for other in [*misfits, *named][1:]:
                self._add(other)
            fault = next(iter([*misfits, *named]), None)
        if fault:
            self._add(fault)
        return fault is None

    def _hydra_misfit(self, group: str, option: object) -> Fault | None:
        options = self.composer.options(group)
        if not options:
            groups = [f"hydra/{name}" for name in HYDRA_GROUPS]
            return Fault(group, "a group that is not there", listed(groups), nearest(group, groups))
        return None if option in options else Fault(group, repr(option), listed(options), nearest(str(option), options))

    def _apply(self, config: DictConfig, override: Override) -> bool:
        """Apply an override to the config; tells the fault of one that cannot be."""
        key, value = override.key_or_group, override.value()
        text = str(override.input_line).partition("=")[2]
        there = keys.has(config, key)
        fault = None
        if override.package is not None:
            fault = Fault(key, "a group that is not there", listed(self.files.groups), nearest(key, self.files.groups))
        elif not there and not override.is_add() and not override.is_force_add():
            fault = keys.unknown(config, key, text, self.files.groups)
        elif there and override.is_add() and not isinstance(value, dict | list):
            fault = Fault(f"+{key}", "a + on a key that is there already", "without the +", f"{key}={text}")
        if fault is None:
            try:
                keys.apply(config, key, value, delete=override.is_delete())
            except OmegaConfBaseException as error:
                fault = Fault(key, text, " ".join(str(error).split()))
        if fault:
            self._add(fault)
        return fault is None


def _top_level(config: DictConfig, files: ConfigFiles, name: str, added: set[str]) -> list[Fault]:
    """Keys that nothing reads, and those that are needed and not there.

    Args:
        added: keys that were added on purpose, with a +; they may only be of no use.
    """
    known = {**files.top_level(name), "hydra": False}
    faults = [
        Fault(key, "nothing", f"an option, {listed(files.groups[key])}" if key in files.groups else "a value")
        for key in sorted(known.keys() - config.keys())
        if known[key]
    ]
    for key in map(str, config):
        if key not in known:
            near = nearest(key, known)
            only_added = not near and any(each.partition(".")[0] == key for each in added)
            faults.append(Fault(key, "a key that nothing reads", listed(known), near, warning=only_added))
    return faults

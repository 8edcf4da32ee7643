"""The check of a command line, before anything is imported, created or built: every mistake, each in one line.

1. syntax: overrides that Hydra's grammar refuses; several values outside of a sweep
2. groups: options that are not there; the defaults lists of the YAML files
3. keys: overrides of keys that are not there, or with a wrong +
4. values: of the composed config of each job, in `nodes.py` and in the rules
"""

from collections.abc import Sequence
from dataclasses import replace

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kindling.config.check import keys
from kindling.config.check.files import ConfigFiles
from kindling.config.check.former import Former
from kindling.config.check.groups import DEBUG, Asked, of_debug, unused_beside_debug
from kindling.config.check.jobs import jobs
from kindling.config.check.kinds import clash_of_kinds
from kindling.config.check.lacking import by_file, is_of_nothing
from kindling.config.check.nodes import problems_of
from kindling.config.check.overrides import misfit, misfits_of_choice, placed
from kindling.config.check.reading import not_yaml
from kindling.config.check.space import SpaceCheck, chosen_sweep, condensed, of_processes, with_conditions
from kindling.config.check.syntax import explain, joined
from kindling.config.check.tree import Problem, path_of
from kindling.config.composition import Composer
from kindling.config.fault import Fault
from kindling.config.left_out import settled
from kindling.config.space import EmptyError, param_of
from kindling.errors import ConfigError, KindlingError


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
        assert isinstance(problem, KindlingError), "all faults are raised above"
        raise type(problem)(lines)


class Check:
    """Finds what is wrong with the overrides of configs/<name>.yaml.

    Args:
        composer: of that file, entered.
        sweep: whether an override may give several values.
        waits: whether a program may yet give another task, before it has the config checked once more.
    """

    def __init__(self, composer: Composer, *, sweep: bool = False, waits: bool = False):
        self.composer = composer
        self.sweep = sweep
        self.waits = waits
        self.files = ConfigFiles(*composer.folders)
        self.problems: dict[str, Problem] = {}
        # The config of each job, overrides applied.
        self.configs: list[DictConfig] = []
        # Lines that Hydra is not to see, and what has no use for them.
        self.left_out: dict[str, str] = {}
        # Settings of classes in whose place others are asked for.
        self.former = Former(self.files)
        # By parameter of a sweep: what it is there under.
        self._when: dict[str, list[Override]] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        # What stands at the beginning of a key.
        self._known = set(self.files.groups)
        # Keys that refused overrides would have given a value.
        self._refused: set[str] = set()

    def run(self, lines: Sequence[str]) -> list[Problem]:
        """The problems of a command line; of a sweep, those of all its jobs."""
        in_files = list(self.files.faults(self.composer.name))
        if not in_files:
            self._known |= self.files.top_level(self.composer.name).keys()
        overrides = [override for line in joined(lines, self._known) if (override := self._parsed(line))]
        self.left_out = {} if in_files else unused_beside_debug(overrides, self.files)
        overrides = [each for each in overrides if str(each.input_line) not in self.left_out]
        self._add(*in_files)
        if not in_files and self.sweep:
            self._check_sweep(overrides)
        elif not in_files:
            self._check_job(overrides)
        self._add(*self.former.differing())
        return list(self.problems.values())

    def _add(self, *problems: Problem) -> None:
        for problem in problems:
            self.problems.setdefault(str(problem), problem)

    def _parsed(self, line: str) -> Override | None:
        try:
            override = self.composer.parse(line)
        except (HydraException, ValueError) as error:
            fault = explain(line, str(error), self.composer.parse, self._known)
            self._refuse(replace(fault, meant="") if fault.meant == line else fault, line.partition("=")[0])
            return None
        fault = misfit(override, line, self.composer.parse, self._known, sweep=self.sweep)
        if fault:
            self._refuse(fault, override.key_or_group)
        return None if fault else override

    def _refuse(self, fault: Fault, key: str) -> None:
        """Report an override that is left out, and so gives no value to what it means."""
        self._add(fault)
        meant = fault.meant.lstrip("+\"'").partition("=")[0]
        self._refused |= {key.lstrip("+~"), meant} - {""}

    def _check_sweep(self, overrides: list[Override]) -> None:
        """Check the jobs, once it is known what the YAML files add to the command line."""
        are_read, asked = not self.problems, overrides
        each = self._jobs(overrides)
        config = self._compose(self._chosen(each[0])[1]) if each else None
        if config is not None and are_read:
            space = SpaceCheck(config, overrides, self._parsed, self._add)
            self._when = space.when
            single = [override for override in overrides if not override.is_sweep_override()]
            each = self._jobs([*single, *space.several])
            overrides = space.several
            asked = [*single, *overrides]
        for job in each:
            self._check_job(job)
        found = with_conditions([*self.problems.values(), *of_processes(self.configs)], self.configs, asked)
        self.problems = condensed(found, overrides)

    def _chosen(self, overrides: list[Override]) -> tuple[list[Override], tuple[str, ...]]:
        """The choices of groups, and the lines of those that are there."""
        chosen = [override for override in overrides if self._is_group(override.key_or_group)]
        return chosen, tuple(str(override.input_line) for override in chosen if self._option_fits(override))

    def _jobs(self, overrides: list[Override]) -> list[list[Override]]:
        """The overrides of each job of a sweep that is to be checked."""
        each = [self._values(override) if override.is_sweep_override() else [override] for override in overrides]
        return jobs(each, self._when)

    def _values(self, override: Override) -> list[Override]:
        """An override for each value of a sweep; of an interval, for its ends."""
        try:
            return [self.composer.parse(f"{override.get_key_element()}={edge}") for edge in param_of(override).edges()]
        except (HydraException, ValueError) as error:
            given = str(override.input_line).partition("=")[2]
            given = f"{given}, which is nothing" if isinstance(error, EmptyError) else given
            self._add(Fault(override.get_key_element(), given, " ".join(str(error).split())))
            return []

    def _check_job(self, overrides: list[Override]) -> None:
        chosen, lines = self._chosen(overrides)
        config = self._compose(lines)
        if config is None:
            return
        if not self.sweep and OmegaConf.select(config, "hydra.mode") == RunMode.MULTIRUN:
            self.sweep = True
            self._check_sweep(overrides)
            return
        chosen_for_many = chosen_sweep(config)
        if chosen_for_many not in (None, "none") and not self.sweep:
            self._add(Fault("sweep", chosen_for_many, "sweep=none for a single run, or -m for a sweep"))
        useless = [each for each in overrides if each not in chosen and self._is_useless(config, each, lines)]
        applied = [each for each in overrides if each not in (*chosen, *useless) and self._apply(config, each)]
        self.configs.append(config)
        nodeless = [replace(each, origin=self._origin(each.path, lines)) for each in keys.no_nodes(config, self.files)]
        self._add(*nodeless)
        if nodeless:
            return
        adding = [each for each in (*applied, *chosen) if each.is_add() or each.is_force_add()]
        added = {each.package or each.key_or_group for each in adding}
        # A path's first problem causes its others.
        by_path: dict[str, Problem] = {}
        asked = Asked(self.composer, self.files, config, [each.key_or_group for each in overrides], lines)
        in_vain = {fault.path: fault for fault in asked.faults(config)}
        config, left_out = settled(config)
        found = problems_of(config, waits=self.waits)
        given = [key for each in applied for key in keys.named(each)]
        if self.former.leave_out(self.configs[-1], found, lambda: self.composer.files(lines), given):
            config, left_out = settled(self.configs[-1])
            found = problems_of(config, waits=self.waits)
        whole = [*keys.top_level_faults(config, self.files, self.composer.name, added), *found]
        # `transform` decides on data.transform.
        whole = [each for each in whole if not (path_of(each) in self._refused and is_of_nothing(each))]
        whole = by_file(whole, self.files, config, overrides)
        others = [each for each in whole if path_of(each).rpartition(".")[2] not in in_vain]
        self._add(*in_vain.values(), *left_out)
        for problem in sorted(others, key=lambda each: getattr(each, "warning", False)):
            by_path.setdefault(path_of(problem), problem)
        option = OmegaConf.select(config, "hydra.runtime.choices.debug")
        for problem in by_path.values():
            if isinstance(problem, Fault) and of_debug(problem, self.files, option, given):
                continue
            self._add(placed(problem, config, applied, lambda path: self._origin(path, lines)))

    def _compose(self, lines: tuple[str, ...]) -> DictConfig | None:
        try:
            if not self.sweep:
                return self.composer.compose(lines)
            # Jobs of a sweep share their chosen files.
            if lines not in self._composed:
                self._composed[lines] = self.composer.compose(lines)
            return self._composed[lines].copy()
        except YAMLError as error:
            self._add(not_yaml(error))
        except (HydraException, OmegaConfBaseException, ValueError, RecursionError) as error:
            clash = clash_of_kinds(self.files, self.composer.files(lines)) if "Cannot merge" in str(error) else None
            reason = " ".join(str(error).partition("full_key:")[0].split())
            self._add(clash or Fault("defaults", reason or f"a {type(error).__name__}", "see --info defaults-tree"))
        return None

    def _origin(self, path: str, lines: Sequence[str]) -> str:
        return self.files.origin(path, self.composer.files(lines))

    def _is_group(self, key: str) -> bool:
        return key in self.files.groups or "/" in key

    def _option_fits(self, override: Override) -> bool:
        faults = misfits_of_choice(override, self.composer, self.files)
        self._add(*faults)
        return not faults

    def _is_useless(self, config: DictConfig, override: Override, lines: tuple[str, ...]) -> bool:
        """Whether it sets what debug= leaves out; it is left out too, so that any command line can be debugged."""
        key, others = override.key_or_group, tuple(each for each in lines if not each.startswith(DEBUG))
        is_there = override.is_add() or override.is_force_add() or keys.has(config, key)
        usual = None if is_there or others == lines else self._compose(others)
        if usual is None or not keys.has(usual, key):
            return False
        self.left_out[str(override.input_line)] = next(each for each in lines if each not in others)
        return True

    def _apply(self, config: DictConfig, override: Override) -> bool:
        """Apply an override to the config; reports the fault of one that cannot be."""
        fault = keys.misfit(config, override, self.files)
        if fault is None:
            try:
                keys.apply(config, override.key_or_group, override.value(), delete=override.is_delete())
            except (OmegaConfBaseException, AssertionError) as error:
                text = str(override.input_line).partition("=")[2]
                fault = Fault(override.key_or_group, text, keys.unmerged(config, override.key_or_group, error))
        if fault:
            self._refuse(fault, override.key_or_group)
        return fault is None

"""What is wrong with a single override that Hydra can read, and which problems come from one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from kindling.config.check.files import ConfigFiles
from kindling.config.check.groups import hydra_misfit
from kindling.config.check.keys import has
from kindling.config.check.several import clash
from kindling.config.check.syntax import Parse, explain, quoted
from kindling.config.check.tree import Problem
from kindling.config.composition import Composer
from kindling.config.fault import Fault, listed, nearest


def misfit(override: Override, line: str, parse: Parse, keys: Iterable[str], *, sweep: bool) -> Fault | None:
    """What is wrong with a line as such: nobody may set its key, or it gives several values outside of a sweep."""
    key, value = override.key_or_group, line.partition("=")[2]
    if key == "paths.run":
        return Fault(key, value, "paths.logs, under which each run has a folder, or hydra.run.dir for this one")
    if (key == "sweep.params" and not override.is_delete()) or key.startswith("sweep.params."):
        return Fault(key, value, "the settings themselves, such as optimizer.lr=0.1,0.2; a YAML file for more")
    if key == "hydra":
        return Fault(key, value, "keys below it, such as hydra.verbose=true")
    if not key:
        return explain(line, "", parse, keys)
    if override.is_sweep_override() and not sweep:
        several = f"-m {line} for a sweep, {key}=[{value}] for a list"
        return Fault(key, value, "one value", f"{several}, or {quoted(key, value, parse)} for a text")
    return None


def misfits_of_choice(override: Override, composer: Composer, files: ConfigFiles) -> list[Fault]:
    """What is wrong with the choice of a group's options; none if they are there."""
    key, value = override.key_or_group, override.value()
    if key.startswith("hydra/"):
        fault = hydra_misfit(composer, key, value)
        return [fault] if fault else []
    if key not in files.groups:
        return [Fault(key, "a group that is not there", listed(files.groups), nearest(key, files.groups))]
    if override.is_delete() or override.package is not None:
        return []
    if not files.chosen(composer.name):
        settings = [f"{key}.{each}" for each in files.settings(composer.name, key)]
        allowed = listed(settings) if settings else f"no {key}=, as the checkpoint has its own"
        return [Fault(key, f"a group, of which {composer.name}.py chooses none", allowed)]
    if override.is_force_add() or (override.is_add() and key in files.top_level(composer.name)):
        without = str(override.input_line).removeprefix("+").removeprefix("+")
        return [Fault(f"+{key}", "a + on a group that is there already", "without the +", without)]
    options = value if isinstance(value, list) else [value]
    misfits = files.misfits(key, options)
    misfits += [fault for option in options for fault in files.faults(f"{key}/{option}")]
    return misfits or clash(files.file, key, options)


def placed(problem: Problem, config: DictConfig, applied: Sequence[Override], origin: Callable[[str], str]) -> Problem:
    """A fault with its file and line, if it does not come from the command line."""
    if not isinstance(problem, Fault) or problem.origin:
        return problem
    for override in applied:
        if not f"{problem.path}.".startswith(f"{override.key_or_group}."):
            continue
        if override.is_add() and problem.meant == f"~{problem.path}":
            return replace(problem, meant="")
        # What is meant is a key, or else a value.
        is_key = problem.meant and problem.path.rpartition(".")[0] in problem.meant
        added = is_key and override.is_add() and not has(config, problem.meant.lstrip("~"))
        return replace(problem, meant=f"+{problem.meant}") if added else problem
    return replace(problem, origin=origin(problem.path))

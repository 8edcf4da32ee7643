"""The arguments of a command, checked before Hydra reads them."""

import argparse
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from kindling.cli.saved_again import as_primary, is_saved
from kindling.config import composition, project
from kindling.config.check import keys
from kindling.config.check.command_line import Check, refuse
from kindling.config.check.files import ConfigFiles
from kindling.config.check.reading import not_yaml
from kindling.config.check.tree import Problem
from kindling.config.composition import Composer
from kindling.config.fault import Fault, listed, nearest
from kindling.config.left_out import leave_out
from kindling.errors import ConfigError, KindlingError
from kindling.process import signals, surroundings, terminal
from kindling.process.ranks import is_first_process

# Hydra would read serve's model=... as a choice of configs/model/.
SHORT = {"serve": {"model": "model.folder"}}
# A key, a = with blanks, and a value that is neither a setting of its own nor a flag.
APART = re.compile(r"(?:^|(?<= ))([+~]{0,2}[a-zA-Z][\w/]*(?:\.\w+)*)(?: += *|= +)([^\s=-][^\s=]*)(?![^ ])")
GROUPS_TYPED_AS_FLAGS = ("experiment", "data", "model", "optimizer", "trainer", "seed")


def checked_arguments(name: str, arguments: list[str]) -> list[str] | None:
    """The arguments for Hydra, as `check_command_line` gives them; as they are if the check itself fails.

    Raises:
        KindlingError: one line for each mistake.
        Interrupted: a signal came meanwhile.
    """
    try:
        # OmegaConf turns what a signal raises in it into an error of its own.
        with signals.not_swallowed():
            return check_command_line(name, arguments)
    except (KindlingError, OSError):
        raise
    except YAMLError as error:
        raise ConfigError(str(not_yaml(error))) from error
    except Exception as error:
        # A bug in the check is no reason not to train.
        terminal.say(f"warning: the config could not be checked ({type(error).__name__}: {error})")
        return arguments


def check_command_line(name: str, arguments: Sequence[str]) -> list[str] | None:
    """The arguments with the flags first, since Hydra's parser takes no override after a flag that follows one.

    None if they asked for what has been printed: the help or the config, for which Hydra takes twice as long.

    Raises:
        KindlingError: one line for each mistake.
    """
    arguments = in_full(name, arguments)
    parser = composition.arguments_parser()
    given, unknown = _parse(parser, name, arguments)
    if given.config_path and is_saved(Path(given.config_path), given.config_name):
        before, given.config_path = given.config_path, str(as_primary(Path(given.config_path), given.config_name, name))
        named = {before: given.config_path, f"--config-path={before}": f"--config-path={given.config_path}"}
        arguments = [named.get(each, each) for each in arguments]
    flags_first = [*(each for each in arguments if each not in given.overrides), *given.overrides]

    if given.experimental_rerun:
        raise ConfigError("--experimental-rerun: given a pickle, which may run any code; allowed: resume=<run folder>")
    if given.hydra_help or given.shell_completion:
        return flags_first

    folder = Path(given.config_path or project.current().configs).absolute()
    refuse(list(_typed_apart(arguments)))
    refuse(list(_misplaced(given, folder)))
    sweep = given.multirun or "hydra.mode=MULTIRUN" in given.overrides
    with Composer(given.config_name, folder, given.config_dir) as composer:
        if given.help:
            groups = ConfigFiles(*composer.folders).groups
            printed = composition.print_help(composer, groups, given.overrides, resolve=given.resolve)
            return None if printed else flags_first
        check = Check(composer, sweep=sweep)
        found = check.run(_without_values_of(unknown, arguments, given.overrides))
        problems = [*_flag_faults(parser, given, unknown, check), *found, *_package_faults(given, check)]
    refuse(problems)
    for line in surroundings.set_right_for(next(iter(check.configs), {}).get("trainer")):
        terminal.say(f"warning: {line}")

    _warn(given, problems, check)
    if given.cfg == "job" and not (given.package or "").startswith("hydra"):
        leave_out(check.configs[0])
        composition.print_config(check.configs[0], given.package, resolve=given.resolve)
        return None
    return [each for each in flags_first if each not in check.left_out] + check.former.overrides


def _warn(given: argparse.Namespace, problems: Sequence[Problem], check: Check) -> None:
    if not is_first_process():
        return
    # A run logs the warnings itself.
    if given.cfg or given.info:
        for problem in problems:
            terminal.say(f"warning: {problem}")
    if check.left_out:
        useless = ", ".join(check.left_out)
        terminal.say(f"warning: {next(iter(check.left_out.values()))}: has no use for {useless}; left out")
    for line in check.former.lines:
        terminal.say(f"warning: {line}")


def in_full(name: str, arguments: Sequence[str]) -> list[str]:
    """Arguments whose key has a short name, with the full one."""
    split = [argument.partition("=") for argument in arguments]
    return ["".join([SHORT.get(name, {}).get(key, key), equals, value]) for key, equals, value in split]


def _parse(parser: argparse.ArgumentParser, name: str, arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    given, unknown = parser.parse_known_intermixed_args(arguments)
    given.overrides += [argument for argument in unknown if not argument.startswith("-")]
    given.config_name = (given.config_name or name).removesuffix(".yaml")
    return given, [argument for argument in unknown if argument.startswith("-")]


def _typed_apart(arguments: Sequence[str]) -> Iterator[Fault]:
    """Settings with blanks around their =, which the shell cuts there."""
    line = " ".join(arguments)
    for found in APART.finditer(line):
        # An argument may hold blanks of its own, which a quote has kept.
        if not any(found[0] in each for each in arguments):
            yield Fault(
                found[1], "blanks around its =", "key=value, such as optimizer.lr=0.01", f"{found[1]}={found[2]}"
            )


def _misplaced(given: argparse.Namespace, folder: Path) -> Iterator[Fault]:
    """Folders that are not there, and a primary config that is not in its folder."""
    for flag, each in (("--config-path", given.config_path), ("--config-dir", given.config_dir)):
        if each and not each.startswith("pkg://") and not Path(each).is_dir():
            yield Fault(flag, f"{each}, which is not there", "a folder of configs")
            return
    primary = f"{given.config_name}.yaml"
    if (folder / primary).is_file():
        return
    further = Path(given.config_dir) if given.config_dir else folder
    if (further / primary).is_file():
        # Hydra takes options alone from there.
        meant = f"--config-path {given.config_dir} --config-name {given.config_name}"
        yield Fault("--config-dir", f"{given.config_dir} for {primary}", "a folder with further options alone", meant)
    else:
        names = [file.stem for file in folder.glob("*.yaml")]
        given_name = f"{given.config_name}, which is not in {folder}"
        yield Fault("--config-name", given_name, listed(names), nearest(given.config_name, names))


def _package_faults(given: argparse.Namespace, check: Check) -> list[Fault]:
    if given.package in (None, "_global_") or not check.configs or keys.has(check.configs[0], given.package):
        return []
    near = keys.similar(check.configs[0], given.package)
    return [Fault("--package", given.package, "a node of the config", near)]


def _without_values_of(flags: Sequence[str], arguments: Sequence[str], overrides: list[str]) -> list[str]:
    """Overrides without what stands behind an unknown flag as its value."""
    values = {value for flag, value in pairwise(arguments) if flag in flags and "=" not in flag + value}
    return [each for each in overrides if each not in values]


def _flag_faults(
    parser: argparse.ArgumentParser, given: argparse.Namespace, unknown: Sequence[str], check: Check
) -> list[Fault]:
    faults = []
    actions = [f"--{name}" for name in ("run", "multirun", "cfg", "info") if getattr(given, name)]
    if len(actions) > 1:
        faults.append(Fault(actions[1], f"beside {actions[0]}", "one of them"))
    if given.resolve and not given.cfg:
        faults.append(Fault("--resolve", "without --cfg", "--cfg job --resolve"))

    known = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    config = next(iter(check.configs), OmegaConf.create())
    return [*faults, *(_unknown_flag(flag, known, config) for flag in unknown)]


def _unknown_flag(flag: str, known: list[str], config: DictConfig) -> Fault:
    without = flag.lstrip("-")
    key = without.partition("=")[0]
    near = nearest(key, GROUPS_TYPED_AS_FLAGS)
    # As other commands have it: --batch-size=3.
    setting = keys.similar(config, key.replace("-", "_")) if len(key) > 1 and near != key else ""
    setting = setting and f"{setting}={without.partition('=')[2] or '...'}"
    meant = without if near == key else nearest(flag, known, 0.75) or setting or f"{near}=..." * bool(near)
    return Fault(flag, "an unknown flag", f"key=value, or one of {', '.join(known)}", meant)

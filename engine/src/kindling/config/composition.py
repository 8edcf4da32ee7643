"""The one place that calls Hydra: the command line's main, composing, and instantiating."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from string import Template
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kindling.config import deletions, once, project
from kindling.config.comments import with_comments, wrapped
from kindling.config.targets import check_targets
from kindling.errors import ConfigError, KindlingError

# Hydra 1.4 has no other behaviour than this, and warns of whoever asks for it.
IS_OF_1_3 = hydra.__version__.startswith("1.3.")
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if IS_OF_1_3 else {}
# It warns of targets that nobody has checked; `check_targets` has.
CHECKED: dict[str, Any] = {} if IS_OF_1_3 else {"_execution_whitelist_": hydra.utils.UNSAFE_DISABLE_EXECUTION_CHECKS}  # pyright: ignore[reportAttributeAccessIssue]

once.install()
deletions.install()


class Composer:
    """Composes <name>.yaml with overrides; Hydra has room for one composer at a time in a process.

    Args:
        name: of the primary config.
        folder: it and its groups lie in; by default the project's configs/.
        further: another folder of groups and options.
    """

    def __init__(self, name: str, folder: Path | None = None, further: str | None = None):
        self.name = name
        folder = folder or project.current().configs
        self.folders = (folder, Path(further).absolute()) if further else (folder,)

    def __enter__(self) -> "Composer":
        self._stack = ExitStack()
        self._stack.enter_context(hydra.initialize_config_dir(**VERSION_BASE, config_dir=str(self.folders[0])))
        self._parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def parse(self, line: str) -> Override:
        """
        Raises:
            HydraException: it is no override.
        """
        override = self._parser.parse_override(line)
        # glob(*) asks the loader for options.
        override.config_loader = self._parser.config_loader
        return override

    def compose(self, lines: Sequence[str]) -> DictConfig:
        """The config, with Hydra's own settings under `hydra`."""
        return hydra.compose(self.name, overrides=self._all(lines), return_hydra_config=True)

    def files(self, lines: Sequence[str]) -> list[tuple[str, str]]:
        """The name and the package of each YAML file, in the order of the merge."""
        loader = GlobalHydra.instance().config_loader()
        merged = loader.compute_defaults_list(self.name, self._all(lines), RunMode.RUN).defaults
        return [(each.config_path, each.package or "") for each in merged if each.config_path]

    def options(self, group: str) -> list[str]:
        """The options of a group of Hydra's own, such as hydra/launcher."""
        return GlobalHydra.instance().config_loader().get_group_options(group)

    def _all(self, lines: Sequence[str]) -> list[str]:
        further = [f"hydra.searchpath=[file://{folder}]" for folder in self.folders[1:]]
        return [*lines, *further]


def print_help(composer: Composer, groups: Mapping[str, Iterable[str]], lines: Sequence[str], *, resolve: bool) -> bool:
    """Print the help that a config defines, if it asks for nothing but the groups' options and the config."""
    config = composer.compose(lines)
    HydraConfig.instance().set_config(config)
    template = Template(config.hydra.help.template)
    if not {"APP_CONFIG_GROUPS", "CONFIG"} >= set(template.get_identifiers()):
        return False
    lines_of = (wrapped(f"{group}: {', '.join(sorted(groups[group]))}", "", "  ") for group in sorted(groups))
    listed = "".join(f"{line}\n" for lines in lines_of for line in lines)
    settings = OmegaConf.to_yaml(_without_hydra(config), resolve=resolve)
    file = composer.folders[0] / f"{composer.name}.yaml"
    commented = with_comments(settings, file.read_text(encoding="utf-8"))
    print(template.substitute(APP_CONFIG_GROUPS=listed, CONFIG=f"{commented}\n"))
    return True


def print_config(config: DictConfig, package: str | None, *, resolve: bool) -> None:
    """Print a config, or a node of it, as Hydra's `--cfg job` does."""
    HydraConfig.instance().set_config(config)
    shown = _without_hydra(config)
    if package not in (None, "_global_"):
        shown = OmegaConf.select(shown, package)
        if OmegaConf.is_config(shown):
            print(f"# @package {package}")
    if resolve and OmegaConf.is_config(shown):
        OmegaConf.resolve(shown)
    print(OmegaConf.to_yaml(shown).rstrip("\n") if OmegaConf.is_config(shown) else shown)


def _without_hydra(config: DictConfig) -> DictConfig:
    shown = config.copy()
    with open_dict(shown):
        del shown["hydra"]
    return shown


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message[0].lower()}{message[1:]}; see --help")


def arguments_parser() -> argparse.ArgumentParser:
    """The parser of Hydra's flags; it raises a ConfigError instead of printing its usage."""
    parser = get_args_parser()
    parser.__class__ = _Parser
    # Else --experiment would mean --experimental-rerun.
    parser.allow_abbrev = False
    return parser


def main(name: str, job: Callable[[DictConfig], Any]) -> None:
    """Let Hydra read the command line, and run the job or all jobs of a sweep."""
    hydra.main(**VERSION_BASE, config_path=str(project.current().configs), config_name=name)(job)()


def instantiate(config: Any, path: str, /, **given: Any) -> Any:
    """Build what a config describes, if every `_target_` in it is allowed.

    Args:
        config: a node of the config, or a plain one; None and nodes of None give None.
        path: of the node, for messages.
        given: further arguments, not of the config.

    Raises:
        ConfigError: a target is not allowed, or does not take an argument.
    """
    plain = to_plain(config)
    check_targets(plain, path)
    try:
        # Hydra would copy built objects into a config, not a partial.
        if given:
            return hydra.utils.instantiate({**plain, "_partial_": True}, _convert_="all", **CHECKED)(**given)
        return _with_plain_partials(hydra.utils.instantiate(plain, _convert_="all", **CHECKED))
    except Exception as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        expected = TypeError | ValueError | ImportError | InstantiationException
        if isinstance(cause, expected) or is_misconfiguration(cause):
            raise ConfigError(f"{path}: {' '.join(str(cause).split())}") from error
        raise cause from None


def _with_plain_partials(built: Any) -> Any:
    """What was built; a partial of Hydra 1.4 cannot be pickled, and Lightning's hyper-parameters would lose it."""
    if isinstance(built, dict):
        return {key: _with_plain_partials(each) for key, each in built.items()}
    if isinstance(built, list):
        return [_with_plain_partials(each) for each in built]
    return partial(built.func, *built.args, **built.keywords) if isinstance(built, partial) else built


def in_sweep() -> bool:
    """Whether this is a job of `--multirun`."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def to_plain(config: Any) -> Any:
    """A config as dict, list, str and numbers, its interpolations resolved.

    Raises:
        ConfigError: a value is missing (???) or an interpolation cannot be resolved.
    """
    if not OmegaConf.is_config(config):
        return config
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise own_error(error) or ConfigError(f"{error.full_key}: {error.msg}") from error


def own_error(error: BaseException | None) -> KindlingError | None:
    """The mistake behind an error: OmegaConf wraps what a resolver raises, Lightning has a class of its own."""
    while error is not None:
        if isinstance(error, KindlingError):
            return error
        if is_misconfiguration(error):
            return ConfigError(" ".join(str(error).split()))
        error = error.__context__ if isinstance(error, OmegaConfBaseException | HydraException) else None
    return None


def is_misconfiguration(error: BaseException) -> bool:
    """Lightning's own errors for settings, known by name and text so that nothing heavy is imported."""
    return type(error).__name__ == "MisconfigurationException" or str(error).startswith("Early stopping conditioned")

"""Groups that somebody has asked for, and that the chosen task or data does not take; and groups of Hydra's own."""

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from kindling.config.check.files import ConfigFiles
from kindling.config.composition import Composer
from kindling.config.fault import Fault, listed, nearest
from kindling.config.left_out import Untaken, untaken, value

# Options of hydra/launcher that an extra brings.
OF_LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")
HYDRA_GROUPS = ("launcher", "sweeper", "job_logging", "hydra_logging", "output", "env", "help")
# Groups whose files set keys of any other.
RECIPES = ("experiment", "debug")
DEBUG = ("debug=", "+debug=")


class Asked:
    """What a command line and its recipes ask for.

    Args:
        composer: of the primary config, entered.
        files: of the configs.
        config: as composed, with Hydra's part.
        overridden: the keys and groups that the command line names.
        lines: its choices of groups.
    """

    def __init__(
        self, composer: Composer, files: ConfigFiles, config: DictConfig, overridden: list[str], lines: tuple[str, ...]
    ):
        self.composer = composer
        self.files = files
        self.choices: Any = value(config, "hydra.runtime.choices") or {}
        self.overridden = overridden
        self.lines = lines

    def faults(self, config: DictConfig) -> Iterator[Fault]:
        """What is asked for in vain, each by name."""
        asked = [(each, given) for each in untaken(config) if (given := value(config, each.key)) is not None]
        # To merge takes time, and few have a recipe.
        has_recipe = asked and any(self.choices.get(group) for group in RECIPES)
        recipes = (
            [file for file in self.composer.files(self.lines) if file[0].partition("/")[0] in RECIPES]
            if has_recipe
            else []
        )
        defaults = self.files.default_options(self.composer.name) if asked else {}
        for each, given in asked:
            group = each.key.rpartition(".")[2]
            if not isinstance(given, DictConfig) and given == self.files.value(self.composer.name, each.key):
                continue
            origin = self.files.origin(each.key, recipes)
            default = defaults.get(group)
            # Of several options, Hydra notes none.
            chosen = group in self.files.groups and (default is None or self.choices.get(group) != default)
            if chosen or self._overridden(group, each.key) or origin:
                yield self._fault(each, group, given, origin)

    def _overridden(self, group: str, key: str) -> bool:
        return any(name in (group, key) or name.startswith(f"{key}.") for name in self.overridden)

    def _fault(self, each: Untaken, group: str, given: Any, origin: str) -> Fault:
        choice = self.choices.get(group) if group in self.files.groups else None
        named = ", ".join(map(str, given)) if isinstance(given, DictConfig) and "_target_" not in given else "settings"
        what = choice or (named if isinstance(given, DictConfig) else given)
        because = f"with {each.owner}={self.choices.get(each.owner)}, whose {each.name} takes no {each.argument}"
        none = "none" if "none" in self.files.groups.get(group, ()) else "null"
        option = none if group in self.files.groups else self.files.value(self.composer.name, each.key)
        meant = f"{each.argument} as the name of its argument {each.meant}" if each.meant else ""
        origin = "" if self._overridden(group, each.key) else origin
        return Fault(group, f"{what} {because}", f"{group}={option}", meant, origin)


def unused_beside_debug(overrides: Sequence[Override], files: ConfigFiles) -> dict[str, str]:
    """The lines that choose callbacks where debug= puts its own in their place, each with that of debug=."""
    found: dict[str, str] = {}
    for debug in overrides:
        if debug.key_or_group != "debug" or debug.is_sweep_override():
            continue
        value: Any = debug.value()
        options = value if isinstance(value, list) else [value]
        if any(files.default_options(f"debug/{each}").get("callbacks") == "none" for each in options):
            chosen = [str(each.input_line) for each in overrides if each.key_or_group == "callbacks"]
            found |= dict.fromkeys(chosen, str(debug.input_line))
    return found


def hydra_misfit(composer: Composer, group: str, option: object) -> Fault | None:
    """What is wrong with an option of a group such as hydra/launcher; None if it is there."""
    options = composer.options(group)
    if not options:
        groups = [f"hydra/{name}" for name in HYDRA_GROUPS]
        return Fault(group, "a group that is not there", listed(groups), nearest(group, groups))
    if option in OF_LAUNCHERS and option not in options:
        install = "pip install -e './engine[launchers]' -c constraints.txt"
        return Fault(group, f"{option}, which is not installed", f"{listed(options)}; or {install}")
    return None if option in options else Fault(group, repr(option), listed(options), nearest(str(option), options))


def of_debug(fault: Fault, files: ConfigFiles, option: object, typed: Sequence[str]) -> bool:
    """Whether it warns of what a debug option sets on purpose, and nobody has typed."""
    is_set = fault.warning and fault.path not in typed and option
    return bool(is_set and files.setters(fault.path, [(f"debug/{option}", "_global_")]))

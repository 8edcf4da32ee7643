"""The YAML files of the configs: which groups and options there are, what their defaults name, where a key stands."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import yaml

from kindling.config import project
from kindling.config.check.defaults import child, groups_of, is_shared, named
from kindling.config.check.reading import fault_of, parsed, shown
from kindling.config.check.several import ONE, clash_in_defaults
from kindling.config.fault import Fault, listed, nearest
from kindling.config.plain import yaml_of

GLOBAL = "_global_"
# What others choose for nothing of a group, and groups of which nothing is chosen unless somebody asks.
OFF = (None, False, {}, "none", "null", "off", "no", "false")
UNCHOSEN = ("experiment", "debug")
# Options by their names in lightning-hydra-template; what is no option here is a setting.
OTHER_NAMES = {
    "debug=fdr": "fast",
    "debug=fast_dev_run": "fast",
    "debug=detect_anomaly": "anomaly",
    "debug=nan": "anomaly",
    "debug=tune": "find_lr",
    "debug=lr_find": "find_lr",
    "debug=lr_finder": "find_lr",
    "debug=batch_size_finder": "find_batch_size",
    "debug=default": "fast",
    "debug=profiler": "profile",
    "trainer=ddp_sim": "ddp_cpu",
    "trainer=mps": "trainer.accelerator=mps",
    "callbacks=early_stopping": "default",
    "callbacks=model_checkpoint": "default",
    "logger=many_loggers": "logger=[csv,tensorboard]",
}


class ConfigFiles:
    """The groups and options below some folders; the first folder that has an option decides.

    Args:
        folders: such as configs/.
    """

    def __init__(self, *folders: Path):
        self.folders = folders
        self._trees: dict[str, yaml.Node | None] = {}

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """The options of each group."""
        return {group: self.options(group) for folder in self.folders for group in _groups(folder)}

    def options(self, group: str) -> list[str]:
        """Of one group; none of a group that is not there."""
        found = set()
        for folder in self.folders:
            for file in (folder / group).rglob("*.yaml"):
                found.add(file.relative_to(folder / group).with_suffix("").as_posix())
        return sorted(option for option in found if not is_shared(option))

    def file(self, name: str) -> Path | None:
        """The file of `group/option`, or of a primary config."""
        files = (folder / f"{name.removesuffix('.yaml').lstrip('/')}.yaml" for folder in self.folders)
        return next((file for file in files if file.is_file()), None)

    def shown(self, name: str) -> str:
        """The file of `group/option`, for a reader; "" if there is none."""
        file = self.file(name)
        return shown(file) if file else ""

    def misfit(self, group: str, option: object, path: str = "") -> Fault | None:
        """What is wrong with an option of a group; None if it is there."""
        options = self.groups[group]
        is_off = option in OFF
        none = "none" if is_off and "none" in options else ""
        without = "; leave it out for none" if is_off and not none and group in UNCHOSEN else ""
        if isinstance(option, str) and (option.removesuffix(".yaml").lstrip("/") in options or "${" in option):
            return None
        if not isinstance(option, str):
            given = "null" if option is None else repr(option)
            allowed = f"its options {listed(options)}, see --help" + without
            return Fault(path or group, f"{given} for a group", allowed, none and f"{group}={none}")
        if why := project.not_here(f"{group}={option}"):
            return Fault(path or group, f"{option!r}, and {why}", listed(options) + without)
        near = none or OTHER_NAMES.get(f"{group}={option}", "") or nearest(option, options)
        if near not in options:
            return Fault(path or group, repr(option), listed(options) + without, near)
        others = [other for other in self.groups if option in self.groups[other]]
        meant = f"{group}={near}" if near else f"{others[0]}={option}" if others else ""
        return Fault(path or group, repr(option), listed(options), meant)

    def misfits(self, group: str, options: Sequence[Any]) -> list[Fault]:
        """What is wrong with each of several options; a hint names them all."""
        by_option = [self.misfit(group, option) for option in options]
        found = [fault for fault in by_option if fault]
        if len(options) == 1 or group in ONE or not all(fault.meant for fault in found):
            # Of a list that nobody can guess, or may give, each hint is of one option.
            return found
        right, others = [], []
        for option, fault in zip(options, by_option, strict=True):
            of_group = not fault or fault.meant.startswith(f"{group}=")
            name = fault.meant.removeprefix(f"{group}=") if fault else str(option)
            (right if of_group else others).append(name)
        right = [name for name in dict.fromkeys(right) if name != "none"] or ["none"]
        whole = f"[{','.join(right)}]" if len(right) > 1 else right[0]
        return [replace(fault, meant=" ".join([f"{group}={whole}", *others])) for fault in found]

    def with_key(self, group: str, key: str) -> list[str]:
        """The options of a group that set a key; of a file that cannot be read nothing is known."""
        found = []
        for option in self.options(group):
            with suppress(yaml.YAMLError, UnicodeDecodeError):
                found += [option] * self._sets(f"{group}/{option}", key.split("."))
        return found

    def _sets(self, name: str, keys: list[str]) -> bool:
        tree, group = self.tree(name), name.rpartition("/")[0]
        entries = child(tree, "defaults")
        inherited = [each for entry in entries.value for each in named(entry, name)] if entries else []
        return reduce(child, keys, tree) is not None or any(
            self._sets(f"{group}/{option}", keys) for of, option, _ in inherited if of == group and option
        )

    def with_target(self, group: str, target: object) -> list[str]:
        """The options of a group that build the same."""
        nodes = {
            option: child(self.tree(f"{group}/{option}"), "_target_") for option in self.with_key(group, "_target_")
        }
        return [option for option, node in nodes.items() if node is not None and node.value == target]

    def faults(self, name: str, seen: set[str] | None = None) -> Iterator[Fault]:
        """What is wrong with a file's YAML and its defaults list, and with the files that this names."""
        seen = set() if seen is None else seen
        file = self.file(name)
        if file is None or name in seen:
            return
        seen.add(name)
        fault = fault_of(file)
        if fault:
            yield fault
            return
        tree = self.tree(name)
        entries = child(tree, "defaults")
        if entries is not None and not isinstance(entries, yaml.SequenceNode):
            origin = f"{shown(file)}:{entries.start_mark.line + 1}"
            yield Fault("defaults", "no list", "a list, such as [{override /model: cnn}]", origin=origin)
        for entry in entries.value if isinstance(entries, yaml.SequenceNode) else []:
            origin = f"{shown(file)}:{entry.start_mark.line + 1}"
            yield from clash_in_defaults(self.file, list(named(entry, name)), origin)
            several = [option for _, option, _ in named(entry, name)]
            for group, option, overriding in named(entry, name):
                # Of a group that is no choice here, null is none.
                fault = self._default(group, option, origin) if option or overriding else None
                if fault and fault.meant and len(several) > 1:
                    yield from (replace(fault, meant=each.meant) for each in self.misfits(group, several)[:1])
                elif fault:
                    yield fault
                elif option:
                    yield from self.faults(f"{group}/{option}" if group else option, seen)

    def _default(self, group: str, option: str | None, origin: str) -> Fault | None:
        if group.partition("/")[0] == "hydra" or (option is None and group in self.groups):
            return None
        if group in self.groups and option and is_shared(option) and self.file(f"{group}/{option}"):
            return None
        if group not in self.groups:
            last = group.rpartition("/")[2]
            near = f"/{last}" if last in self.groups else nearest(group, self.groups)
            return Fault(f"defaults: {group}", "a group that is not there", listed(self.groups), near, origin)
        fault = self.misfit(group, option, f"defaults: {group}")
        return Fault(fault.path, fault.given, fault.allowed, fault.meant, origin) if fault else None

    def origin(self, path: str, defaults: Sequence[tuple[str, str]]) -> str:
        """`configs/group/option.yaml:line` of the last file that sets a key; "" if none does.

        Args:
            path: the key, such as optimizer.lr.
            defaults: the name and the package of each file, in the order of the merge.
        """
        for name, package in reversed(defaults):
            keys = _below(package, path)
            mark = _mark(self.tree(name), keys) if keys else None
            if mark:
                return f"{self.shown(name)}:{mark.line + 1}"
        return ""

    def setters(self, path: str, defaults: Sequence[tuple[str, str]]) -> list[str]:
        """The names of the files that set a key itself, in the order of the merge."""
        below = ((name, _below(package, path)) for name, package in defaults)
        return [name for name, keys in below if keys and reduce(child, keys, self.tree(name))]

    def top_level(self, name: str) -> dict[str, bool]:
        """The keys and groups that configs/<name>.yaml has, and whether a config has to have them."""
        tree = self.tree(name)
        keys = {key.value: True for key, _ in tree.value} if isinstance(tree, yaml.MappingNode) else {}
        entries = child(tree, "defaults")
        keys |= groups_of(entries, name)
        return {key: needed for key, needed in keys.items() if key not in ("defaults", "hydra") and key.isidentifier()}

    def settings(self, name: str, key: str) -> list[str]:
        """What configs/<name>.yaml itself has below a key."""
        node = child(self.tree(name), key)
        found = [each.value for each, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        return [each for each in found if not each.startswith("_")]

    def tree(self, name: str) -> yaml.Node | None:
        """The YAML of `group/option`; None if there is no such file."""
        if name not in self._trees:
            file = self.file(name)
            self._trees[name] = parsed(file) if file else None
        return self._trees[name]

    def chosen(self, name: str) -> bool:
        """Whether configs/<name>.yaml chooses from any group but Hydra's."""
        entries = child(self.tree(name), "defaults")
        return any(group in self.groups for group in groups_of(entries, name))

    def default_options(self, name: str) -> dict[str, Any]:
        """The option of each group that configs/<name>.yaml chooses; a list if it chooses several."""
        found: dict[str, Any] = {}
        entries = child(self.tree(name), "defaults")
        for entry in entries.value if isinstance(entries, yaml.SequenceNode) else []:
            chosen = list(named(entry, name))
            for group, option, _ in chosen:
                found[group] = option if len(chosen) == 1 else [each for _, each, _ in chosen]
        return found

    def value(self, name: str, key: str) -> Any:
        """What configs/<name>.yaml itself gives a key at its top level."""
        file = self.file(name)
        return yaml_of(file).get(key) if file else None


def _groups(folder: Path) -> Iterator[str]:
    for inner in sorted(folder.rglob("*/")):
        name = inner.relative_to(folder).as_posix()
        if not any(part.startswith((".", "_")) for part in name.split("/")) and inner.is_dir():
            yield name


def _mark(node: yaml.Node | None, keys: list[str]) -> Any:
    """Where a key is set, or the nearest one above that holds it."""
    for name, value in node.value if isinstance(node, yaml.MappingNode) else []:
        if name.value == keys[0]:
            return (_mark(value, keys[1:]) if keys[1:] else None) or name.start_mark
    return None


def _below(package: str, path: str) -> list[str]:
    """A key as the keys that lead to it in a file of a package; none if it lies elsewhere."""
    inner = path if package in ("", GLOBAL) else path.removeprefix(f"{package}.")
    return re.split(r"[.\[]", inner) if inner != path or package in ("", GLOBAL) else []

"""Which key of a config an override means, and the nearest one if it is not there."""

from collections.abc import Iterable, Iterator
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, Node, OmegaConf, open_dict

from kindling.config import project
from kindling.config.check.files import ConfigFiles
from kindling.config.check.several import ONE
from kindling.config.check.tree import paths
from kindling.config.fault import Fault, listed, nearest
from kindling.config.given import GIVEN, signature_of
from kindling.config.signatures import TargetMissing, signature

# Keys by their names in other frameworks.
ALIASES = {
    "epochs": "trainer.max_epochs",
    "learning_rate": "optimizer.lr",
    "wd": "optimizer.weight_decay",
    "workers": "data.num_workers",
    "batch": "data.batch_size",
    "gpus": "trainer.devices",
    "num_processes": "trainer.devices",
    "distributed_backend": "trainer.strategy",
    "checkpoint_callback": "trainer.enable_checkpointing",
    "lr_monitor": "callbacks.learning_rate",
    "task_name": "experiment_name",
    "fp16": "trainer.precision",
}
# What others call a checkpoint, and what takes one here, the likeliest first.
CHECKPOINTS = ("ckpt_path", "checkpoint", "checkpoint_path", "resume_from_checkpoint", "resume_from")
OF_CHECKPOINTS = ("ckpt", "resume", "fork", "weights")
# Groups without whose settings no run can be described.
NEEDED = ("task", "trainer")
# What goes with a part of the engine that a project leaves out.
PART_OF = {"debug": "debug", "sweep": "sweeps", "callbacks.doctor": "doctor"}
# Options that may be named as having a key.
FEW = 4
# Whose settings foreign data lacks.
ENGINES_DATA = "kindling.data.datamodule.DataModule"
HYDRA_KEYS = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")


def has(config: DictConfig, key: str) -> bool:
    """Whether a dotted key is there, be it null, missing or an interpolation."""
    parent, _, last = key.rpartition(".")
    node: Any = _select(config, parent)
    if isinstance(node, DictConfig) and not node._is_none():
        return last in node.keys()  # noqa: SIM118  `in node` denies keys without a value
    return isinstance(node, ListConfig) and last.isdigit() and int(last) < len(node)


def arguments_of(config: DictConfig, key: str) -> list[str]:
    """The arguments that the target of a node takes from the config; none if it has no target."""
    node = _select(config, key)
    target = OmegaConf.select(node, "_target_") if isinstance(node, DictConfig) else None
    try:
        found = signature(target) if isinstance(target, str) else None
    except TargetMissing:
        return []
    return [name for name in found.annotations if key != "task" or name not in GIVEN] if found else []


def unknown(config: DictConfig, key: str, value: str, files: ConfigFiles, *, delete: bool = False) -> Fault:
    """The fault of a key that is not there; a group is a key too, even if nothing is chosen of it."""
    groups = files.groups
    part = next((part for start, part in PART_OF.items() if f"{key}.".startswith(f"{start}.")), "")
    if why := project.not_here(part):
        return Fault(key, f"a key that is not there, as {why}", listed(set(_children(config, "")) - {"hydra"}))
    if key.rpartition(".")[2] in arguments_of(config, key.rpartition(".")[0]):
        return Fault(key, "a key that the config leaves at its default", "a + before it", f"+{key}={value}")
    parent = _deepest(config, key)
    if key.rpartition(".")[2] in HYDRA_KEYS and parent and _select(config, parent) is None and not delete:
        return Fault(key, f"a key of {parent}, which is null", "a + before it", f"+{key}={value}")
    if key.rpartition(".")[2] in CHECKPOINTS:
        known = [each for each in OF_CHECKPOINTS if has(config, each)]
        # A run is resumed by its folder.
        likely = next((each for each in known if not (each == "resume" and value.endswith(".ckpt"))), "")
        return Fault(key, "a key that is not there", listed(known), likely and f"{likely}={value or '...'}")
    own = _setting_of_the_engine(config, key)
    if own:
        return Fault(key, own, listed(arguments_of(config, "data")) or "nothing, as it takes no settings")
    shown = [*_children(config, parent), *arguments_of(config, parent)]
    meant = similar(config, key, groups)
    group, _, inner = key.partition(".")
    having = files.with_key(group, inner) if parent in groups and not meant.startswith(f"{group}.") else []
    if 0 < len(having) <= FEW and not delete:
        # Several options of other groups are merged.
        line = f"{group}={having[0]} {key}={value}" if len(having) == 1 and group in ONE else ""
        allowed = f"{listed(set(shown) - set(HYDRA_KEYS))}; or one more with {group}={' or '.join(having)}"
        return Fault(key, "a key that is not there", allowed, line)
    plus = "" if not meant or has(config, meant) or meant in groups else "+"
    allowed = listed(set(shown) - {*HYDRA_KEYS, "hydra"})
    line = f"~{meant}" if delete else f"{plus}{meant}={value}"
    return Fault(key, "a key that is not there", allowed, meant and line)


def misfit(config: DictConfig, override: Override, files: ConfigFiles) -> Fault | None:
    """What is wrong with the key of an override; None if it can be applied."""
    key, value = override.key_or_group, override.value()
    text = str(override.input_line).partition("=")[2]
    there = has(config, key)
    if override.package is not None:
        return Fault(
            f"{key}@{override.package}", "a group that is not there", listed(files.groups), nearest(key, files.groups)
        )
    if not there and not override.is_add() and not override.is_force_add():
        return unknown(config, key, text, files, delete=override.is_delete())
    if there and override.is_add() and not isinstance(value, dict | list):
        return Fault(f"+{key}", "a + on a key that is there already", "without the +", f"{key}={text}")
    if override.is_delete() and value not in (None, now := OmegaConf.select(config, key)):
        return Fault(f"~{key}", text, f"its value, {now}", f"~{key}")
    return None


def _setting_of_the_engine(config: DictConfig, key: str) -> str:
    """What is given by a setting of the engine's data that foreign data does not know; "" of any other key."""
    group, _, name = key.partition(".")
    target = OmegaConf.select(config, "data._target_") if group == "data" else None
    known = signature_of(ENGINES_DATA)
    if not target or known is None or name not in known.annotations:
        return ""
    missing = "no folds" if "fold" in name else "no such setting"
    return f"a setting of the engine's data, and {str(target).rpartition('.')[2]} has {missing}"


def similar(config: DictConfig, key: str, groups: Iterable[str] = ()) -> str:
    """The key that a wrong one most likely means; "" if none is near."""
    parent = _deepest(config, key)
    rest = key.removeprefix(f"{parent}.") if parent else key
    first, _, deeper = rest.partition(".")
    hidden = ("sweep.params.",) if key.startswith("hydra") else ("hydra.", "sweep.params.")
    every = [path for path in paths(config) if not path.startswith(hidden)]
    last = key.rpartition(".")[2]
    # A logger's `name` is not that of a model.
    elsewhere = [path for path in every if not path.startswith("logger.") or not parent or _shared(path, key) > 1]
    same_name = [path for path in elsewhere if path.rpartition(".")[2] == last]
    siblings = [*_children(config, parent), *(arguments_of(config, parent) if parent else groups)]
    near = nearest(first, siblings)
    if last in ALIASES and has(config, ALIASES[last]):
        return ALIASES[last]
    # A slip in one part of the path.
    if near:
        path = f"{parent}.{near}" if parent else near
        if not deeper or has(config, f"{path}.{deeper}"):
            return f"{path}.{deeper}" if deeper else path
        return similar(config, f"{path}.{deeper}")
    # The right name at the wrong place.
    if same_name and last in HYDRA_KEYS:
        # Each node has these.
        return max(same_name, key=lambda path: (_shared(path, key), -path.count(".")))
    if same_name:
        return min(same_name, key=lambda path: (path.count("."), -_shared(path, key)))
    found = nearest(key, [path for path in elsewhere if nearest(last, [path.rpartition(".")[2]])])
    if found:
        return found
    by_name = {path.rpartition(".")[2]: path for path in sorted(elsewhere, key=lambda path: -path.count("."))}
    # Any node may match, so the name must be nearer.
    found = nearest(last, by_name, cutoff=0.75)
    return by_name[found] if found else ""


def apply(config: DictConfig, key: str, value: Any, *, delete: bool) -> None:
    """Change, add or delete a key that is known to be right, as Hydra would."""
    parent, _, last = key.rpartition(".")
    with open_dict(config):
        if delete:
            del _select(config, parent)[last]
        else:
            OmegaConf.update(config, key, value, merge=True, force_add=True)


def unmerged(config: DictConfig, key: str, error: Exception) -> str:
    """What is allowed in the place of a value that cannot be merged into a node."""
    node = _select(config, key)
    if "Cannot merge" in str(error) and isinstance(node, ListConfig):
        return "a list, such as [...]"
    if "Cannot merge" in str(error) and isinstance(node, DictConfig):
        return "settings, such as {name: value}"
    return " ".join(str(error).partition("full_key:")[0].split())


def named(override: Override) -> list[str]:
    """The key that an override names, and those of a dict that it gives."""
    value = override.value()
    inner = paths(OmegaConf.create(value)) if isinstance(value, dict) else ()
    return [override.key_or_group, *(f"{override.key_or_group}.{each}" for each in inner)]


def _select(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key, throw_on_missing=False) if key else config


def _deepest(config: DictConfig, key: str) -> str:
    """The longest part of a key that is there."""
    parent = key.rpartition(".")[0]
    while parent and not has(config, parent):
        parent = parent.rpartition(".")[0]
    return parent


def _children(config: DictConfig, key: str) -> list[str]:
    node = _select(config, key)
    return [str(child) for child in node] if isinstance(node, DictConfig) else []


def _shared(path: str, key: str) -> int:
    """How many parts two paths share."""
    return len(set(path.split(".")) & set(key.split(".")))


def _nothing_of(key: str, options: list[str] | None) -> Fault:
    if options is None:
        return Fault(key, "nothing", "a value")
    if "none" not in options:
        return Fault(key, "nothing", f"an option, {listed(options)}")
    return Fault(key, "nothing", f"an option, {listed(options)}; in a file `- override /{key}: none`", f"{key}=none")


def no_nodes(config: DictConfig, files: ConfigFiles) -> Iterator[Fault]:
    """Groups that a file gives a value of their own, in place of settings; and keys that are no texts."""
    for key in config:
        if not isinstance(key, str):
            yield Fault(str(key), "a key that is no text", "names of settings, see --help")
    for group in sorted(files.groups.keys() & config.keys()):
        node: Any = config._get_node(group)
        raw = node._value() if isinstance(node, Node) else None
        is_needed = raw is None and group in NEEDED
        if not is_needed and (isinstance(node, DictConfig) or raw is None or str(raw).startswith("${")):
            continue
        given = "null" if is_needed else "a list" if isinstance(node, ListConfig) else repr(raw)
        meant = f"`- override /{group}: {raw}` in its defaults list" if str(raw) in files.groups[group] else ""
        yield Fault(group, given, "settings below it; an option is chosen by a defaults list", meant)


def top_level_faults(config: DictConfig, files: ConfigFiles, name: str, added: set[str]) -> list[Fault]:
    """Keys that nothing reads, and those that are needed and not there.

    Args:
        added: keys that were added on purpose, with a +; they may only be of no use.
    """
    known = {**files.top_level(name), "hydra": False}
    faults = [_nothing_of(key, files.groups.get(key)) for key in sorted(known.keys() - config.keys()) if known[key]]
    for key in map(str, config):
        if key in ("experiment", "debug") and isinstance(config[key], DictConfig):
            given = f"settings below `{key}`, where nothing reads them" if config[key] else "a file without settings"
            faults.append(
                Fault(key, given, "a first line `# @package _global_`" + ", then settings" * (not config[key]))
            )
        elif key not in known:
            near = nearest(key, known, cutoff=0.75)
            only_added = not near and any(each.partition(".")[0] == key for each in added)
            faults.append(Fault(key, "a key that nothing reads", listed(known), near, warning=only_added))
    return faults

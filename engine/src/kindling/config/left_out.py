"""What a run does without: groups that its task or its data does not take, and callbacks without a metric to watch."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kindling.config.fault import Fault, nearest
from kindling.config.given import GIVEN, signature_of
from kindling.config.signatures import Signature

# Callbacks that cannot be without a metric.
WATCHERS = (
    "kindling.callbacks.deciding.EarlyStopping",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.early_stopping.EarlyStopping",
)
# What an argument that is meant for the net is often called.
NET = ("model", "network", "backbone", "module", "nett")


class Untaken(NamedTuple):
    """A key of the config that what it is for does not take.

    Args:
        argument: by which it would be taken.
        owner: the group of the class that does not take it, task or data.
        name: of that class.
        meant: the argument of that class which may be meant for it; "" if there is none.
    """

    key: str
    argument: str
    owner: str
    name: str
    meant: str = ""


def untaken(config: DictConfig) -> Iterator[Untaken]:
    """What a task and data do not take; nothing of a class whose source does not say."""
    task, found = _class(config, "task")
    if found is not None:
        for argument, key in GIVEN.items():
            if key and argument not in found.annotations:
                yield Untaken(key, argument, "task", task, _meant(argument, found))
    data, found = _class(config, "data")
    if found is not None and not found.takes_more and "transform" not in found.annotations:
        yield Untaken("data.transform", "transform", "data", data)


def leave_out(config: DictConfig) -> list[Fault]:
    """Set to null the groups that a task does not take, and callbacks without a metric; a line for each."""
    keys, lines = _to_leave_out(config)
    with open_dict(config):
        for key in keys:
            OmegaConf.update(config, key, None, merge=False)
    return lines


def settled(config: DictConfig) -> tuple[DictConfig, list[Fault]]:
    """A config as a run would have it, itself if it leaves nothing out; and the lines of `leave_out`."""
    if not _to_leave_out(config)[0]:
        return config, []
    config = config.copy()
    return config, leave_out(config)


def _to_leave_out(config: DictConfig) -> tuple[list[str], list[Fault]]:
    """Nodes that the task does not take, and callbacks that have nothing to watch; what is to be said of them."""
    nodes = [each for each in untaken(config) if each.owner == "task" and _is_node(config, each.key)]
    keys, lines = [each.key for each in nodes], []
    if nodes:
        arguments = ", ".join(each.argument for each in nodes)
        given = f"{nodes[0].name}, which takes no {arguments}; left out: {', '.join(keys)}"
        lines.append(Fault("task", given, warning=True))
    for key in _without_metric(config):
        keys.append(key)
        lines.append(
            Fault(
                key,
                "no metric to watch, as monitor is null; left out, and best.ckpt is of the last epoch; monitor=NAME "
                "watches one that is logged, such as monitor=val/loss",
                warning=True,
            )
        )
    return keys, lines


def _is_node(config: DictConfig, key: str) -> bool:
    return isinstance(node_at(config, key), DictConfig)


def _without_metric(config: DictConfig) -> list[str]:
    callbacks = node_at(config, "callbacks")
    names = [str(name) for name in callbacks] if isinstance(callbacks, DictConfig) else []
    nodes = {name: node_at(config, f"callbacks.{name}") for name in names}
    watching = {name: node for name, node in nodes.items() if isinstance(node, DictConfig) and "monitor" in node}
    return [
        f"callbacks.{name}"
        for name, node in watching.items()
        if value(node, "_target_") in WATCHERS and value(config, f"callbacks.{name}.monitor", default="") is None
    ]


def _class(config: DictConfig, key: str) -> tuple[str, Signature | None]:
    target = value(config, f"{key}._target_")
    return str(target).rpartition(".")[2], signature_of(target)


def _meant(argument: str, found: Signature) -> str:
    if argument == "net":
        return next((name for name in NET if name in found.annotations), "")
    return nearest(argument, found.annotations.keys() - GIVEN.keys(), cutoff=0.75)


def node_at(config: DictConfig, key: str) -> Any:
    """A node itself, without what its interpolations stand for."""
    node: Any = config
    for part in key.split("."):
        node = (
            node._get_node(part, validate_access=False)
            if isinstance(node, DictConfig) and not node._is_none()
            else None
        )
    return None if isinstance(node, DictConfig) and node._is_none() else node


def value(config: DictConfig, key: str, default: Any = None) -> Any:
    """The value at a dotted path; the default if it cannot be resolved."""
    try:
        return OmegaConf.select(config, key, throw_on_missing=False)
    except (OmegaConfBaseException, ValueError):
        return default


def asked_of_a_task(config: DictConfig) -> dict[str, Any]:
    """The targets of the nodes that log, as a plain config."""
    nodes = {key: node_at(config, key) for key in ("metrics", "callbacks")}
    named = {key: list(node) if isinstance(node, DictConfig) else [] for key, node in nodes.items()}
    found: dict[str, Any] = {"task": {"_target_": value(config, "task._target_")}}
    for key, names in named.items():
        targets = {name: value(config, f"{key}.{name}._target_") for name in names}
        found[key] = {name: {"_target_": target} for name, target in targets.items() if target}
    return found

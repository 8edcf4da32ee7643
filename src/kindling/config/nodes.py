"""What is wrong with the values of a composed config: targets, arguments, types, ranges, and the rules."""

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

from omegaconf import DictConfig

from kindling.config import annotations
from kindling.config.fault import Fault, listed, nearest
from kindling.config.keys import HYDRA_KEYS
from kindling.config.rules import RULES
from kindling.config.signatures import Signature, TargetMissing, signature
from kindling.config.targets import prefix_fault
from kindling.config.tree import Problem, paths, plain
from kindling.config.values import TYPES, value_fault

# Nodes of train.yaml that say what to build.
BUILT = ("data", "model", "criterion", "optimizer", "trainer", "data.augment", "trainer.profiler", "callbacks.*")
BUILT += ("logger.*", "scheduler.scheduler")


def problems_of(config: DictConfig) -> list[Problem]:
    """All problems of a composed config."""
    problems: list[Problem] = []
    values = plain(config, set(paths(config)), problems)
    is_training = "optimizer" in values or "criterion" in values
    if is_training:
        problems += [fault for pattern in BUILT for fault in _lost_targets(values, pattern)]
    problems += _node_faults(config, values, "")
    for rule in RULES:
        problems += rule(values)
    return problems


def _lost_targets(values: dict[str, Any], pattern: str) -> Iterator[Fault]:
    """Nodes that should say what to build, and do not."""
    for path, node in _nodes(values, ""):
        if fnmatch(path, pattern) and path.count(".") == pattern.count(".") and "_target_" not in node:
            group = path.partition(".")[0]
            siblings = [name for name, each in (values.get(group) or {}).items() if _is_built(each)]
            near = nearest(path.rpartition(".")[2], siblings) if "." in path else ""
            allowed = (
                "a node with _target_, the name of a class; null for none" if "." in path else "a node with _target_"
            )
            yield Fault(path, "no _target_", allowed, f"{group}.{near}" if near else "")


def _is_built(node: Any) -> bool:
    return isinstance(node, dict) and "_target_" in node


def _nodes(values: dict[str, Any], above: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in values.items():
        path = f"{above}.{key}" if above else key
        if isinstance(value, dict):
            yield path, value
            yield from _nodes(value, path)


def _node_faults(config: Any, values: Any, path: str) -> Iterator[Fault]:
    """The faults of a node and of all nodes in it."""
    if isinstance(values, list):
        for index, item in enumerate(values):
            yield from _node_faults(None, item, f"{path}[{index}]")
        return
    if not isinstance(values, dict):
        return
    known = None
    if "_target_" in values:
        fault, known = _target(values["_target_"], f"{path}._target_")
        if fault:
            yield fault
    if known:
        present = set(config) if isinstance(config, DictConfig) and not config._is_interpolation() else set(values)
        yield from _argument_faults(values, present, known, path)
    for key, value in values.items():
        where = f"{path}.{key}" if path else key
        node = config._get_node(key) if isinstance(config, DictConfig) and not config._is_interpolation() else None
        if node is None or not node._is_interpolation():  # of an interpolation, the key that it names is told
            fault = (known and _type_fault(value, known.annotations.get(key), where)) or _own_fault(value, where, known)
            if fault:
                yield fault
        yield from _node_faults(node, value, where)


def _target(target: Any, path: str) -> tuple[Fault | None, Signature | None]:
    fault = prefix_fault(target, path)
    if fault:
        return fault, None
    try:
        return None, signature(target)
    except TargetMissing as error:
        module, _, name = target.rpartition(".")
        near = nearest(name, error.names)
        what = f"{target}, which is not there"
        return Fault(path, what, f"a class or function of {module}", near and f"{module}.{near}"), None


def _argument_faults(values: dict[str, Any], present: set[Any], known: Signature, path: str) -> Iterator[Fault]:
    name = values["_target_"].rpartition(".")[2]
    takes = [*known.annotations, *HYDRA_KEYS]
    for key in values:
        if key not in takes and not known.takes_more:
            near = nearest(key, takes)
            yield Fault(
                f"{path}.{key}",
                f"an argument that {name} does not take",
                listed(known.annotations),
                f"{path}.{near}" if near else f"~{path}.{key}" if "." not in key else "",
            )
    if not values.get("_partial_") and "_args_" not in values:
        for key in sorted(known.required - present):
            yield Fault(f"{path}.{key}", "nothing", f"a value: {name} needs it")


def _type_fault(value: Any, annotation: Any, path: str) -> Fault | None:
    if annotation is None or annotations.accepts(annotation, value):
        return None
    return Fault(path, shown(value), annotations.describe(annotation))


def _own_fault(value: Any, path: str, known: Signature | None) -> Fault | None:
    """By our own tables of types and ranges."""
    if known is None:
        for pattern, annotation in TYPES.items():
            if fnmatch(path, pattern) and not annotations.accepts(annotations.parse(annotation), value):
                return Fault(path, shown(value), annotations.describe(annotations.parse(annotation)))
    return value_fault(path, value)


def shown(value: Any) -> str:
    """A value as YAML would show it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)

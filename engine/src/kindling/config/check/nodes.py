"""What is wrong with the values of a composed config: targets, arguments, types, ranges, and the rules."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import yaml
from omegaconf import DictConfig, Node

from kindling.config.check import annotations
from kindling.config.check.built import are_parts, is_built, places
from kindling.config.check.hydra_targets import targets_of_hydra
from kindling.config.check.keys import HYDRA_KEYS
from kindling.config.check.lacking import but_parts
from kindling.config.check.tree import Problem, paths, plain, source
from kindling.config.check.values import annotation_of
from kindling.config.fault import Fault, listed, nearest
from kindling.config.given import GIVEN, needed_by
from kindling.config.plain import get
from kindling.config.rules.metric_rules import OF_THE_TASK
from kindling.config.rules.run_rules import RULES
from kindling.config.signatures import Signature, TargetMissing, is_called_too_soon, signature
from kindling.config.targets import prefix_fault
from kindling.config.upgrade import name_today

# The code gives these their first argument.
PARTIAL = ("optimizer", "scheduler.scheduler")
# Whether these may be null depends on the task.
OPTIONAL = ("model", "optimizer", "data")
SCHEDULER_KEYS = ("scheduler", "interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau")


def problems_of(config: DictConfig, given: Sequence[str] = (), *, waits: bool = False) -> list[Problem]:
    """All problems of a composed config.

    Args:
        config: as it is composed.
        given: groups that need not say what to build.
        waits: whether it is not known yet which task it is for, so that nothing is said of what is logged.
    """
    problems: list[Problem] = []
    values = plain(config, set(paths(config)), problems)
    faults = list(targets_of_hydra(config))
    # Only configs of train.py have these.
    if "task" in values or "optimizer" in values:
        faults += [each for each in _unbuilt(values) if each.path.partition(".")[0] not in given]
    faults += node_faults(config, values, "")
    for rule in RULES:
        faults += rule(values) if not (waits and rule in OF_THE_TASK) else ()
    # paths.run is set when the run starts.
    faulty = {fault.path for fault in faults} | {"paths.run"}
    # A node without a value for its target has its fault.
    valueless = {each.path.removesuffix("._target_") for each in problems if isinstance(each, Fault)}
    faults = [fault for fault in faults if fault.path not in valueless]
    found = problems + [fault for fault in faults if source(config, fault.path) not in faulty]
    return but_parts(found, ("task", *OPTIONAL)) if waits else found


def _unbuilt(values: dict[str, Any]) -> Iterator[Fault]:
    """Nodes that should say what to build, and do not."""
    needed = needed_by(str(get(values, "task._target_")))
    for path, value, siblings, may_be_null in places(values):
        if not is_built(value):
            may_be_null = may_be_null or (path in OPTIONAL and path not in needed)
            if value is None and path in needed:
                task = values["task"]["_target_"].rpartition(".")[2]
                yield Fault(path, f"null, which {task} cannot do without", "a node with _target_")
            elif value is not None or not may_be_null:
                yield _no_target(path, value, siblings, may_be_null)
        elif value.get("_partial_", False) is not (path in PARTIAL):
            yield Fault(f"{path}._partial_", shown(value.get("_partial_", False)), shown(path in PARTIAL))
    schedule = values.get("scheduler")
    for key in schedule if isinstance(schedule, dict) else {}:
        if key not in SCHEDULER_KEYS:
            near = nearest(str(key), SCHEDULER_KEYS)
            yield Fault(f"scheduler.{key}", "a key that nothing reads", listed(SCHEDULER_KEYS), near)


def _no_target(path: str, value: Any, siblings: dict[str, Any], may_be_null: bool) -> Fault:
    others = [str(key) for key in value if key not in HYDRA_KEYS] if isinstance(value, dict) else []
    misspelt = nearest("_target_", others, cutoff=0.75)
    if misspelt:
        return Fault(f"{path}.{misspelt}", "a key that nothing reads", "_target_", f"{path}._target_")
    group, _, name = path.partition(".")
    near = nearest(name, [each for each in siblings if is_built(siblings[each])])
    given = "no _target_" if isinstance(value, dict) else shown(value)
    return Fault(
        path, given, f"a node with _target_{', or null for none' if may_be_null else ''}", near and f"{group}.{near}"
    )


def node_faults(config: Any, values: Any, path: str) -> Iterator[Fault]:
    """The faults of a node and of all nodes in it; without a config, also of nulls that the data is to fill."""
    if isinstance(values, list):
        for index, item in enumerate(values):
            yield from node_faults(None, item, f"{path}[{index}]")
        return
    if not isinstance(values, dict):
        return
    known = None
    if "_target_" in values:
        fault, known = _target(values["_target_"], f"{path}._target_")
        if fault:
            yield fault
    if known and path == "task":
        yield from _given_twice(values, known)
        known = _left_to_the_config(known)
    if known:
        present = set(config) if isinstance(config, DictConfig) and not config._is_interpolation() else set(values)
        yield from _argument_faults(values, present, known, path)
    for key, value in values.items():
        where = f"{path}.{key}" if path else str(key)
        if known and not known.takes_more and key not in (*known.annotations, *HYDRA_KEYS):
            # It has its fault.
            continue
        annotation = known.annotations.get(key) if known else annotation_of(where)
        is_right = are_parts(where, value) or _is_to_be_found(config, key, value)
        fault = None if is_right else _value_fault(value, annotation, where)
        if isinstance(value, dict) and not is_built(value) and not is_right and annotations.is_built(annotation):
            fault = _no_target(where, value, {}, annotations.accepts(annotation, None))
        if annotations.is_function(annotation) and is_built(value) and is_called_too_soon(value):
            called = value["_target_"].rpartition(".")[2]
            yield Fault(f"{where}._partial_", f"false, which calls {called} at once", f"true, as {key} is a function")
            continue
        if fault:
            yield _decoded(fault, config, key, annotation)
        inner = config._get_node(key) if isinstance(config, DictConfig) and not config._is_interpolation() else None
        yield from node_faults(inner, value, where)


def _decoded(fault: Fault, config: Any, key: Any, annotation: ast.expr | None) -> Fault:
    """With what a variable of the environment needs, which is a text."""
    node = config._get_node(key) if isinstance(config, DictConfig) and key in config else None
    raw = node._value() if isinstance(node, Node) else None
    if not (isinstance(raw, str) and re.fullmatch(r"\$\{oc\.env:.+\}", raw)):
        return fault
    is_right = annotations.accepts(annotation, yaml.safe_load(str(config[key])))
    return replace(fault, meant=f"'{fault.path}=\"${{oc.decode:{raw}}}\"'") if is_right else fault


def _is_to_be_found(config: Any, key: Any, value: Any) -> bool:
    """Whether a value is a setting of the data that is null until the data is read."""
    if value is not None or not isinstance(config, DictConfig) or config._is_interpolation():
        return False
    node = config._get_node(key)
    return isinstance(node, Node) and bool(re.fullmatch(r"\$\{data\.\w+\}", str(node._value())))


def _given_twice(values: dict[str, Any], known: Signature) -> Iterator[Fault]:
    """Settings of a task that are the engine's to give."""
    for key in sorted(GIVEN.keys() & values.keys() & known.annotations.keys()):
        group = GIVEN[key]
        allowed = f"{group}, at the top level" if group else "nothing here; a task is given the whole config"
        yield Fault(f"task.{key}", "an argument that the engine gives", allowed, "" if group else f"~task.{key}")


def _left_to_the_config(known: Signature) -> Signature:
    """The arguments of a task but for those that the engine gives; one of these given here has a fault of its own."""
    given = GIVEN.keys() & known.annotations.keys()
    annotations = {name: None if name in given else each for name, each in known.annotations.items()}
    return Signature(annotations, known.required - given, known.takes_more)


def _target(target: Any, path: str) -> tuple[Fault | None, Signature | None]:
    fault = prefix_fault(target, path)
    if fault:
        return fault, None
    try:
        return None, signature(target)
    except TargetMissing as error:
        module = error.module or target.rpartition(".")[0]
        today = name_today(target)
        if today:
            return Fault(path, f"{target}, which is not there", "what it is called today", today), None
        name = target.removeprefix(f"{module}.").partition(".")[0]
        near = nearest(name, error.names)
        meant = ".".join([module, near, *error.rest]) if near else ""
        return Fault(path, f"{target}, which is not there", f"a class or function of {module}", meant), None
    except SyntaxError as error:
        return Fault(path, f"{target}, whose file is no Python: {error.msg} in line {error.lineno}", "Python"), None


def _argument_faults(values: dict[str, Any], present: set[Any], known: Signature, path: str) -> Iterator[Fault]:
    name = values["_target_"].rpartition(".")[2]
    takes = [*known.annotations, *HYDRA_KEYS]
    for key in values:
        if key not in takes and not known.takes_more:
            # Names of arguments share words.
            near = nearest(key, takes, cutoff=0.65)
            yield Fault(
                f"{path}.{key}",
                f"an argument that {name} does not take",
                listed(_settable(known, path)),
                f"{path}.{near}" if near else f"~{path}.{key}",
                untaken_by=path,
            )
    if not values.get("_partial_") and "_args_" not in values:
        for key in sorted(known.required - present):
            # Without takes_more, a misspelt key has its fault above.
            near = nearest(key, set(map(str, values)) - set(takes)) if known.takes_more else ""
            if near:
                yield Fault(f"{path}.{near}", f"but no {key}, which {name} needs", key, f"{path}.{key}")
            else:
                lacks = "" if "." in path else f"{path}.{key}"
                yield Fault(f"{path}.{key}", "nothing", f"a value: {name} needs it", lacks=lacks, needed_by=name)


def _settable(known: Signature, path: str) -> list[str]:
    return [name for name in known.annotations if path != "task" or name not in GIVEN]


def _value_fault(value: Any, annotation: ast.expr | None, path: str) -> Fault | None:
    """What is wrong with a value by itself: its type, or what it may be of that type."""
    if annotation is None:
        return None
    if annotations.accepts(annotation, value):
        bounds = annotations.beyond(annotation, value)
        return Fault(path, str(value), bounds) if bounds else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    meant = f"\"{path}='{value}'\" for a text" if is_number and annotations.accepts(annotation, str(value)) else ""
    names = [annotations.in_yaml(choice) for choice in annotations.choices(annotation)]
    return Fault(path, shown(value), annotations.describe(annotation), meant or nearest(str(value), names))


def shown(value: Any) -> str:
    """A value as YAML would show it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)

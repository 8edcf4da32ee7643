"""JSON schemas of the YAML files, for editors: `make schema` writes them, each YAML file names its own."""

import ast
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kindling.config import project
from kindling.config.bounds import Bound, Multiple
from kindling.config.check import annotations
from kindling.config.check.files import ConfigFiles
from kindling.config.check.keys import HYDRA_KEYS
from kindling.config.check.several import targets_in
from kindling.config.check.values import annotation_of
from kindling.config.given import GIVEN
from kindling.config.plain import yaml_of
from kindling.config.signatures import signature

Schema = dict[str, Any]
# A reference ${...}, or ??? for a missing value.
REFERENCE: Schema = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}
JSON_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "Path": "string", "None": "null"}
# Groups whose files name several nodes.
NAMED = ("callbacks", "logger", "metrics", "transform")
# Entries whose files choose from no group; a project may have left some out.
VERBS = ("evaluate", "export", "predict", "serve")
# Groups whose files override any other.
WHOLE = ("experiment", "debug", "sweep")


def schemas() -> dict[str, Schema]:
    """The schema of each kind of file, by name: config (train.yaml, recipes), one a further verb, and one a group."""
    configs = project.current().configs
    files = ConfigFiles(configs)
    groups = {name: _group(name, files) for name in files.groups if name not in WHOLE}
    there = [name for name in VERBS if (configs / f"{name}.yaml").is_file()]
    verbs = {name: yaml_of(configs / f"{name}.yaml") for name in there}
    return {
        "config": _whole(files, list(groups)),
        **{name: _plain(_without(found, ("defaults", "trainer"))) for name, found in verbs.items()},
        **groups,
    }


def schema_of(file: Path) -> str:
    """The name of the schema of a YAML file."""
    if "# @package _global_" in file.read_text(encoding="utf-8") or file.stem == "train":
        return "config"
    return file.stem if file.parent == project.current().configs else file.parent.name


def _without(values: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _whole(files: ConfigFiles, groups: list[str]) -> Schema:
    train = yaml_of(project.current().configs / "train.yaml")
    whole = _plain(_without(train, ("defaults",)))
    whole["properties"] |= {name: {"$ref": f"{name}.json"} for name in groups}
    may_be_null = [name for name in groups if (name in train and train[name] is None) or "none" in files.groups[name]]
    whole["properties"] |= {name: {"anyOf": [{"$ref": f"{name}.json"}, {"type": "null"}]} for name in may_be_null}
    if {"data", "transform"} <= set(groups):
        # What a file of `transform` sets of the data beside it.
        beside = {"transform": {"$ref": "transform.json"}, "augment": {"type": "object"}}
        changed = {"type": "object", "properties": beside, "required": ["transform"], "additionalProperties": False}
        whole["properties"]["data"] = {"anyOf": [whole["properties"]["data"], changed]}
    options = {name: {"enum": [*found, None]} for name, found in files.groups.items()}
    overrides = {f"override /{name}": each for name, each in options.items()}
    entry = {"anyOf": [{"type": "string"}, {"type": "object", "properties": options | overrides}]}
    whole["properties"]["defaults"] = {"type": "array", "items": entry}
    return whole


def _plain(values: dict[str, Any], above: str = "") -> Schema:
    """Of a mapping without a target: its keys, with the types of our own table."""
    properties = {}
    for key, value in values.items():
        path = f"{above}{key}"
        if key == "hydra":
            properties[key] = {"type": "object"}
        elif isinstance(value, dict):
            properties[key] = _plain(value, f"{path}.")
        else:
            properties[key] = _value(annotation_of(path))
    properties |= {"trainer": {"type": "object"}, "defaults": {"type": "array"}} if not above else {}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _group(name: str, files: ConfigFiles) -> Schema:
    """Of the files of a group, by the targets that they name."""
    targets: dict[str, list[str]] = {}
    for option in files.groups[name]:
        file = files.file(f"{name}/{option}")
        if file is None or schema_of(file) == "config":
            continue
        for path, target in targets_in(yaml_of(file), name):
            # The command names what is missing here.
            if target != "???":
                targets.setdefault(path, []).append(target)
    if name in NAMED:
        known = sorted({target for found in targets.values() for target in found})
        node = {"anyOf": [_node(known), {"type": "null"}]}
        return {"type": "object", "properties": {"defaults": {"type": "array"}}, "additionalProperties": node}
    if name == "scheduler":
        keys = {"interval": None, "frequency": None, "monitor": None}
        plain = _plain(keys, "scheduler.")
        plain["properties"]["scheduler"] = _node(sorted(set(targets["scheduler.scheduler"])))
        return plain
    if name == "task":
        return _task(targets)
    return _node(sorted(set(targets[name])))


def _task(targets: dict[str, list[str]]) -> Schema:
    """Of the files of the group `task`, and of the nodes in them."""
    whole = _node(sorted(set(targets["task"])))
    within = {path: found for path, found in targets.items() if path.count(".") == 1}
    inner = {path.partition(".")[2]: _node(sorted(set(found))) for path, found in within.items()}
    for case in whole["allOf"]:
        taken: Schema = {name: each for name, each in case["then"]["properties"].items() if name not in GIVEN}
        taken |= {name: {"anyOf": [each, REFERENCE, {"type": "null"}]} for name, each in inner.items() if name in taken}
        case["then"]["properties"] = taken
    return whole


def _node(targets: list[str]) -> Schema:
    """Of a node with a target: its arguments if it is known, any of another; without, those of all known ones."""
    arguments = {target: _arguments(target) for target in targets}
    named = {target: {"properties": {"_target_": {"const": target}}, "required": ["_target_"]} for target in targets}
    cases = [{"if": named[target], "then": arguments[target]} for target in targets]
    every = {name: each for found in arguments.values() for name, each in found["properties"].items()}
    more = any(found["additionalProperties"] for found in arguments.values())
    unnamed = {"not": {"required": ["_target_"]}}
    cases.append({"if": unnamed, "then": {"properties": every, "additionalProperties": more}})
    return {"type": "object", "properties": {"_target_": {"type": "string", "examples": targets}}, "allOf": cases}


def _arguments(target: str) -> Schema:
    found = signature(target)
    assert found, f"{target} is written in Python"
    properties: Schema = {name: _value(each) for name, each in found.annotations.items()}
    properties |= {key: {} for key in (*HYDRA_KEYS, "defaults")}
    return {"properties": properties, "additionalProperties": found.takes_more}


def _value(annotation: ast.expr | None) -> Schema:
    options = [_type(part) for part in annotations.options(annotation)] if annotation else []
    if not options or {} in options:
        return {}
    return {"anyOf": [*options, REFERENCE, {"type": "object", "required": ["_target_"]}]}


def _type(annotation: ast.expr) -> Schema:
    inner, bounds = annotations.unwrapped(annotation)
    found = _unbounded(inner)
    for bound in bounds if found.get("type") in ("integer", "number") else []:
        found |= _limits(bound)
    return found


def _limits(bound: Bound) -> Schema:
    if isinstance(bound, Multiple):
        return {"multipleOf": bound.of}
    low = "exclusiveMinimum" if bound.open in ("low", "both") else "minimum"
    high = "exclusiveMaximum" if bound.open in ("high", "both") else "maximum"
    return {key: end for key, end in ((low, bound.low), (high, bound.high)) if math.isfinite(end)}


def _unbounded(annotation: ast.expr) -> Schema:
    name = annotations.name_of(annotation)
    if name == "Literal" and isinstance(annotation, ast.Subscript):
        return {"enum": annotations.literals(annotation)}
    if name in annotations.LISTS:
        items = annotations.arguments(annotation)[:1] if isinstance(annotation, ast.Subscript) else []
        return {"type": "array", **({"items": _value(items[0])} if items else {})}
    if name in annotations.MAPPINGS:
        return {"type": "object"}
    if name in annotations.BUILT:
        return {"type": "object", "required": ["_target_"]}
    return {"type": JSON_TYPES[name]} if name in JSON_TYPES else {}

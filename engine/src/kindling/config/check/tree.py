"""A composed config as plain values, and its paths."""

import os
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from kindling.config.composition import own_error
from kindling.config.fault import Fault, nearest
from kindling.errors import KindlingError

Problem = Fault | KindlingError
# What a YAML file may call as ${name:...}.
FUNCTIONS = ("oc.env", "oc.decode", "oc.select", "oc.create", "oc.dict.keys", "oc.dict.values", "now")


def path_of(problem: Problem) -> str:
    """The key that its line begins with."""
    return str(problem).partition(":")[0]


def paths(config: DictConfig, above: str = "") -> Iterator[str]:
    """All dotted paths, of nodes and of values."""
    for key in config:
        path = f"{above}.{key}" if above else str(key)
        yield path
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            yield from paths(node, path)


def plain(config: DictConfig, known: set[str], problems: list[Problem]) -> dict[str, Any]:
    """The config without Hydra's part as dict, list, str and numbers; what cannot be resolved goes to `problems`.

    Args:
        known: all paths that an interpolation may name.
    """
    return {
        str(key): value
        for key in config
        if key != "hydra" and (value := _value(config, key, str(key), known, problems)) is not Fault
    }


def _plain(node: Any, path: str, known: set[str], problems: list[Problem]) -> Any:
    if isinstance(node, DictConfig):
        pairs = ((key, f"{path}.{key}" if path else str(key)) for key in node)
        values = {key: _value(node, key, where, known, problems) for key, where in pairs}
        return {key: value for key, value in values.items() if value is not Fault}
    items = [_value(node, index, f"{path}[{index}]", known, problems) for index in range(len(node))]
    return [item for item in items if item is not Fault]


def _value(parent: DictConfig | ListConfig, key: Any, path: str, known: set[str], problems: list[Problem]) -> Any:
    """The value of a key, or Fault itself if there is none."""
    child = parent._get_node(key)
    raw = child._value() if child is not None else None  # pyright: ignore[reportAttributeAccessIssue]
    if OmegaConf.is_missing(parent, key):
        problems.append(Fault(path, "no value (???)", f"a value: {path}=..."))
        return Fault
    if isinstance(child, DictConfig | ListConfig) and not isinstance(raw, str) and raw is not None:
        return _plain(child, path, known, problems)
    try:
        value = parent[key]
        if OmegaConf.is_config(value):
            return OmegaConf.to_container(value, resolve=True)
        # A notebook may give a Path.
        return str(value) if isinstance(value, PurePath) else value
    except InterpolationToMissingValueError:
        # The missing key has a fault of its own.
        return Fault
    except (OmegaConfBaseException, ValueError) as error:
        # Only the job itself knows ${hydra:...}; a key that is referred to has a fault of its own.
        refers = re.fullmatch(r"\$\{([\w.]+)\}", str(raw))
        if "HydraConfig was not set" not in str(error) and not (refers and refers[1] in known):
            problems.append(own_error(error) or _broken(path, str(raw), error, known))
        return Fault


def _broken(path: str, raw: str, error: Exception, known: set[str]) -> Fault:
    """What is wrong with an interpolation."""
    for name in re.findall(r"\$\{([\w.]+)\}", raw):
        if name not in known:
            # A key of another group is seldom meant, and may be the one that refers.
            same = [each for each in known if each.partition(".")[0] == name.partition(".")[0]]
            near = nearest(name, same, cutoff=0.7) if same else nearest(name, known - {path})
            # What names of one group share says little.
            near = near if not same or nearest(*_but_shared(_last(name), _last(near)), cutoff=0.65) else ""
            given, meant = f"{raw}, where {name} is not there", near and f"${{{near}}}"
            return Fault(path, given, "the name of a key", meant, lacks=name, needed_by=path.partition(".")[0])
    kind = re.search(r"\$\{([\w.]+):", raw)
    if kind and not OmegaConf.has_resolver(kind[1]):
        near = nearest(kind[1], FUNCTIONS)
        meant = near and raw.replace(f"${{{kind[1]}:", f"${{{near}:")
        return Fault(path, f"{raw}, where {kind[1]} is no function", ", ".join(FUNCTIONS), meant)
    variable = re.search(r"\$\{oc\.env:(\w+)\}", raw)
    if variable and variable[1] not in os.environ:
        near = nearest(variable[1], os.environ, cutoff=0.8)
        allowed = f"a variable that is set; export {variable[1]}=..., or ${{oc.env:{variable[1]},DEFAULT}}"
        return Fault(path, f"{raw}, and {variable[1]} is not set", allowed, near and f"${{oc.env:{near}}}")
    reason = " ".join(str(error).partition("full_key")[0].split())
    return Fault(path, raw, reason or "an interpolation such as ${data.num_classes}")


def _but_shared(one: str, other: str) -> tuple[str, list[str]]:
    """Two names, the second in a list, without the words that both have; whole if one has no more."""
    words, others = one.split("_"), other.split("_")
    rests = ["_".join(word for word in of if word not in but) for of, but in ((words, others), (others, words))]
    return (rests[0], rests[1:]) if all(rests) else (one, [other])


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def source(config: DictConfig, path: str) -> str:
    """The key whose value a key takes over, such as data.channels for "${data.channels}"; "" if it has its own."""
    raw = OmegaConf.to_container(config, resolve=False)
    for key in re.split(r"[.\[]", path.replace("]", "")):
        raw = raw[int(key)] if isinstance(raw, list) else raw.get(key) if isinstance(raw, dict) else None
    found = re.fullmatch(r"\$\{([\w.]+)\}", raw) if isinstance(raw, str) else None
    return found[1] if found else ""

"""Checkpoints and configs of older formats, with the names of today."""

from pathlib import Path
from typing import Any

from kindling.config import project
from kindling.config.fault import nearest
from kindling.config.plain import get, map_targets
from kindling.config.processes import PER_PROCESS
from kindling.config.renames import FORMAT, RENAMES, Renames
from kindling.config.signatures import TargetMissing, signature

ENGINE = project.ENGINE
SOURCE = Path(__file__).parents[1]
# Characters that file systems take in a name.
LONGEST_NAME = 200
# The second is there if a run averages its weights.
WEIGHTS = ("state_dict", "current_model_state")
# What the sums of training were before they had names.
SUMS = ("loss", "accuracy", "num")
FORMAT_OF_NAMED_SUMS = 4
# Before it, data.batch_size was that of each process.
FORMAT_OF_SHARED_BATCHES = 7
# Before it, names of the engine began at the dot too.
FORMAT_OF_WHOLE_NAMES = 3


def upgrade(config: dict[str, Any], written: int) -> dict[str, Any]:
    """A plain config of a checkpoint or a run folder that was written in an older format."""
    before = config
    if written < FORMAT_OF_WHOLE_NAMES:
        config = map_targets(config, _from_package)
    for renames in _since(written):
        config = map_targets(config, lambda name, renames=renames: _renamed(name, renames.targets))
        for old, new in renames.keys.items():
            config = _with_key_moved(config, old.split("."), new.split("."))
        for beside, added in renames.added.items():
            for key, value in added.items():
                # A resume may have been killed after it rewrote config.yaml.
                if _has(config, beside) and not _has(before, key):
                    config = _with(config, key.split("."), value)
        for (place, target), today in renames.nodes.items():
            node = get(config, place)
            if isinstance(node, dict) and node.get("_target_") == target:
                config = _with(config, place.split("."), _as_today(node, today))
    if written < FORMAT_OF_SHARED_BATCHES and get(config, "data.batch_size") and _may_be_several(config):
        config = config | {PER_PROCESS: True}
    return config


def _may_be_several(config: dict[str, Any]) -> bool:
    """Whether a run may have had several processes; how many, only its machine knows."""
    return (get(config, "trainer.devices") or 1, get(config, "trainer.num_nodes") or 1) not in ((1, 1), ("1", 1))


def _as_today(node: dict[str, Any], today: dict[str, Any]) -> dict[str, Any]:
    """A node with a target and keys of today; it keeps what it says of them."""
    gone = [key for key, value in today.items() if value is None]
    changed = today | node | {key: value for key, value in today.items() if key == "_target_"}
    return {key: value for key, value in changed.items() if key not in gone}


def upgrade_states(saved: dict[str, Any], written: int) -> dict[str, Any]:
    """A checkpoint with the keys of its callbacks' states and of its weights as they are today."""
    if written < FORMAT_OF_NAMED_SUMS and isinstance(saved.get("train_sums"), list):
        saved = saved | {"train_sums": [each and dict(zip(SUMS, each, strict=True)) for each in saved["train_sums"]]}
    for renames in _since(written):
        tables = {"callbacks": renames.callbacks} | dict.fromkeys(WEIGHTS, renames.weights)
        for name, table in tables.items():
            if table and isinstance(saved.get(name), dict):
                renamed = {_with_start(key, table): value for key, value in saved[name].items()}
                saved = saved | {name: renamed}
    return saved


def name_today(target: object) -> str:
    """What a class or function of an older version is called today; "" if it is not there, or was never ours."""
    if not isinstance(target, str) or not target.startswith((f"{ENGINE}.", f"{project.current().package}.")):
        return ""
    name = _from_package(target)
    for renames in _since(1):
        name = _renamed(name, renames.targets)
    name = f"{project.current().package}{name}" if name.startswith(".") else name
    try:
        return name if name != target and signature(name) else ""
    except TargetMissing as error:
        module, _, last = name.rpartition(".")
        near = nearest(last, error.names) if error.module == module and name != target else ""
        return f"{module}.{near}" if near else ""
    except SyntaxError:
        return ""


def _since(written: int) -> list[Renames]:
    return [RENAMES[number] for number in range(written, FORMAT) if number in RENAMES]


def _from_package(name: str) -> str:
    """A name of ours from the package on, as in checkpoints of format 2; config.yaml had it in full."""
    first, _, rest = name.partition(".")
    # A resume was killed after it rewrote config.yaml.
    if first == ENGINE and _is_in_engine(rest):
        return name
    return f".{rest}" if first in (ENGINE, project.current().package) else name


def _is_in_engine(rest: str) -> bool:
    module = SOURCE.joinpath(*(part[:LONGEST_NAME] for part in rest.split(".")[:-1]))
    old = f".{rest}".rpartition(".")[0]
    return module.with_suffix(".py").is_file() and all(old not in each.targets for each in RENAMES.values())


def _renamed(name: str, table: dict[str, str]) -> str:
    """By the longest part of a dotted name, from its start, that has a new one."""
    head, tail = name, ""
    while head:
        if head in table:
            return table[head] + tail
        head, dot, last = head.rpartition(".")
        tail = f"{dot}{last}{tail}"
    return name


def _with_start(key: str, table: dict[str, str]) -> str:
    old = next((each for each in table if key.startswith(each)), None)
    return key if old is None else table[old] + key.removeprefix(old)


def _with_key_moved(config: dict[str, Any], old: list[str], new: list[str]) -> dict[str, Any]:
    moved, missing = dict(config), object()
    value: Any = moved
    for key in old:
        value = value.get(key, missing) if isinstance(value, dict) else missing
    if value is missing:
        return config
    return _with(_without(moved, old), new, value)


def _has(config: dict[str, Any], key: str) -> bool:
    first, dot, rest = key.partition(".")
    return first in config and (not dot or (isinstance(config[first], dict) and _has(config[first], rest)))


def _without(config: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    first, *rest = keys
    if rest:
        return config | {first: _without(config[first], rest)}
    return {key: value for key, value in config.items() if key != first}


def _with(config: dict[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    first, *rest = keys
    inner = config.get(first)
    return config | {first: _with(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}

"""What a sweep searches: its space as the command line and `sweep.params` of a YAML file give it together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from kindling.config.fault import Fault, nearest
from kindling.config.space import EmptyError, Param, param_of, plain, text_of
from kindling.errors import ConfigError
from kindling.files.redaction import redact_text

# Of the sweep itself, or the same for all trials.
NOT_OF_A_TRIAL = ("sweep.", "hydra.", "paths.", "monitor.", "monitor_mode.", "resume.", "train.")
SHAPE = "values with commas between, a list of them, an interval, or {space: ..., when: {...}}"
# An override of a line; None if its fault is known already.
Parse = Callable[[str], Override | None]


def space_of(parse: Parse, sweep: Mapping[str, Any], overrides: Sequence[Override]) -> list[Param]:
    """The parameters, each behind those that its condition names; the command line's values count.

    Args:
        parse: reads an override.
        sweep: the node of the config.
        overrides: of the command line.

    Raises:
        ConfigError: all that is wrong with them, each in a line.
    """
    faults: list[str] = []
    space: list[Param] = []
    is_known = False
    given = {each.get_key_element() for each in overrides}
    for spec in _written(sweep.get("params")):
        if isinstance(spec, Fault):
            faults.append(str(spec))
        elif spec[0] not in given:
            override = parse(f"{spec[0]}={spec[1]}")
            is_known = is_known or override is None
            if override:
                _add(space, faults, override, spec[2], f"sweep.params.{spec[0]}")
    for override in overrides:
        if override.is_sweep_override():
            _add(space, faults, override, {}, override.get_key_element())
    faults += [str(Fault(key, " and ".join(lines), "once")) for key, lines in _twice(overrides)]
    fixed = {each.get_key_element(): plain(each.value()) for each in overrides if not _is_open(each)}
    space = _settled(space, fixed, faults) if not faults else []
    if not (space or faults or is_known):
        faults.append("sweep: given no setting with several values; allowed: seed=0,1,2, or an interval")
    if not faults:
        faults += map(str, _start_faults(space, sweep.get("start")))
    if faults:
        raise ConfigError("\n".join(faults))
    return space


def _twice(overrides: Sequence[Override]) -> Iterator[tuple[str, list[str]]]:
    """Settings that are given more than once, and once with several values."""
    for key in {each.get_key_element(): None for each in overrides if each.is_sweep_override()}:
        same = [str(each.input_line).partition("=")[2] for each in overrides if each.get_key_element() == key]
        if len(same) > 1:
            yield key, same


def _is_open(override: Override) -> bool:
    return override.is_sweep_override() or override.is_delete()


def _written(params: Any) -> Iterator[tuple[str, str, dict[str, Any]] | Fault]:
    """The key, the text of the values and the condition of each setting of sweep.params."""
    if not isinstance(params, dict | None):
        yield Fault("sweep.params", text_of(params), "settings with their values, such as optimizer.lr: 0.1, 0.2")
        return
    for name, value in (params or {}).items():
        path, when = f"sweep.params.{name}", {}
        if isinstance(value, dict):
            unknown = [str(key) for key in value if key not in ("space", "when")]
            if unknown or "space" not in value:
                meant = f"{name}.{unknown[0]}: ..." if unknown and "space" not in value else ""
                yield Fault(path, text_of(value), SHAPE, meant)
                continue
            value, when = value["space"], value.get("when") or {}
        if not isinstance(when, dict):
            yield Fault(f"{path}.when", text_of(when), "settings of the space, each with one value")
        elif isinstance(value, list) and len(value) > 1:
            yield str(name), ",".join(map(text_of, value)), when
        elif isinstance(value, str):
            yield str(name), value, when
        else:
            yield Fault(path, text_of(value), SHAPE)


def _add(space: list[Param], faults: list[str], override: Override, when: Mapping[str, Any], path: str) -> None:
    key, text = override.get_key_element(), str(override.input_line).partition("=")[2]
    try:
        if not override.is_sweep_override():
            faults.append(str(Fault(path, text, SHAPE)))
        elif f"{key.lstrip('+~')}.".startswith(NOT_OF_A_TRIAL):
            faults.append(str(Fault(path, text, "one value, for all trials of a sweep")))
        elif redact_text(f"{key}={text}") != f"{key}={text}":
            faults.append(str(Fault(path, "a secret with several values", "one value")))
        else:
            space.append(param_of(override, when))
    except (HydraException, ValueError) as error:
        text = f"{text}, which is nothing" if isinstance(error, EmptyError) else text
        faults.append(str(Fault(path, text, " ".join(str(error).split()))))


def _settled(space: Sequence[Param], fixed: Mapping[str, Any], faults: list[str]) -> list[Param]:
    """The parameters in order; those that a fixed setting leaves no room for are left out."""
    by_key = {param.key: param for param in space}
    kept = []
    for param in space:
        conditions = [each for each in param.when if each[0] in by_key or each[0] not in fixed]
        if all(text_of(fixed[key]) == text_of(value) for key, value in param.when if (key, value) not in conditions):
            found = [_condition(param.key, each, by_key, faults) for each in conditions]
            kept.append(param._replace(when=tuple(each for each in found if each)))
    return ordered(kept, faults) if not faults else []


def _condition(
    of: str, condition: tuple[str, Any], space: Mapping[str, Param], faults: list[str]
) -> tuple[str, str] | None:
    key, value = condition
    choices = {name: param for name, param in space.items() if param.choices and name != of}
    path = f"sweep.params.{of}.when"
    if key not in choices:
        allowed = ", ".join(choices) or "a setting of the space, which has no other"
        faults.append(str(Fault(path, key, allowed, nearest(key, choices))))
        return None
    spelled = choices[key].spelled(value)
    if spelled is None:
        faults.append(str(Fault(f"{path}.{key}", text_of(value), choices[key].text)))
        return None
    return key, spelled


def ordered(space: Sequence[Param], faults: list[str]) -> list[Param]:
    """The parameters, each behind those that its condition names."""
    left = {param.key: param for param in space}
    found: list[Param] = []
    while left:
        # What a condition names may be left out itself.
        ready = next((param for param in left.values() if not any(key in left for key, _ in param.when)), None)
        if ready is None:
            faults.append(str(Fault("sweep.params", f"conditions in a circle: {', '.join(left)}", "one that has none")))
            return []
        found.append(left.pop(ready.key))
    return found


def _start_faults(space: Sequence[Param], starts: Any) -> Iterator[Fault]:
    """What of the trials to begin with is not in the space."""
    params = {param.key: param for param in space}
    # A rule says what else it has to be.
    for start in starts if isinstance(starts, list) else []:
        for key, value in start.items() if isinstance(start, dict) else ():
            if key not in params:
                yield Fault(f"sweep.start: {key}", text_of(value), ", ".join(params), nearest(str(key), params))
            elif params[key].spelled(value) is None:
                yield Fault(f"sweep.start: {key}", text_of(value), params[key].text)

"""Keys that a file of a group does not have and others ask for, and parts that a program may yet give."""

import re
from collections.abc import Sequence

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from kindling.config.check.files import ConfigFiles
from kindling.config.check.tree import Problem, paths
from kindling.config.fault import Fault, nearest
from kindling.config.left_out import node_at, value

# A key so near to one that is there is misspelt where it is asked for.
SAME = 0.85
# Keys that nobody wants to write one by one.
MANY = 4
MISSING = re.compile(r"^[^:]+: given (no value \(\?\?\?\)|null, which)")


def by_file(
    problems: Sequence[Problem], files: ConfigFiles, config: DictConfig, overrides: Sequence[Override]
) -> list[Problem]:
    """The problems, with one in place of all those that a file's missing keys have caused.

    Args:
        overrides: of the command line, whose own mistakes stay as they are.
    """
    choices = value(config, "hydra.runtime.choices") or {}
    given = [each.key_or_group for each in overrides]
    ours = {each.partition(".")[0] for each in given if each.endswith("._target_")}
    deleted = {each.key_or_group.partition(".")[0] for each in overrides if each.is_delete()}
    faults = [each for each in problems if isinstance(each, Fault) and each.lacks and each.path not in given]
    required = {each.lacks for each in faults if each.path == each.lacks}
    known = list(paths(config)) if faults else []
    found: dict[str, list[Fault]] = {}
    for fault in faults:
        group = fault.lacks.partition(".")[0]
        target = value(config, f"{group}._target_") if group in ours else None
        file = str(target).rpartition(".")[2] if target else files.shown(f"{group}/{choices.get(group)}")
        # Without a node there is one fault, of another kind.
        if (
            file
            and group not in deleted
            and isinstance(node_at(config, group), DictConfig)
            and (fault.lacks in required or not nearest(fault.lacks, known, cutoff=SAME))
        ):
            found.setdefault(file, []).append(fault)
    # One key alone that a class lacks has the better line.
    found = {origin: group for origin, group in found.items() if "/" in origin or len(group) > 1}
    merged = {id(each) for group in found.values() for each in group}
    rest = [each for each in problems if id(each) not in merged]
    targets = {file: value(config, f"{group[0].lacks.partition('.')[0]}._target_") for file, group in found.items()}
    lacking = (_lacking(file, group, files, targets[file], in_file="/" in file) for file, group in found.items())
    return [*lacking, *rest]


def is_of_nothing(problem: Problem) -> bool:
    """Whether it is that a key has no value."""
    return isinstance(problem, Fault) and problem.given.startswith(("no value", "nothing", "null"))


def but_parts(problems: Sequence[Problem], groups: Sequence[str]) -> list[Problem]:
    """The problems without those of parts that a program may yet give; else they are said once it trains."""
    parts = tuple(f"{group}{end}" for group in groups for end in (".", ":"))
    missing = [each for each in problems if str(each).startswith(parts) and MISSING.search(str(each))]
    waiting = {str(each).partition(":")[0].partition(".")[0] for each in missing}
    return [
        each
        for each in problems
        if each not in missing
        and not str(each).startswith("monitor_mode:")
        and not (isinstance(each, Fault) and each.lacks.partition(".")[0] in waiting)
    ]


def _lacking(origin: str, faults: list[Fault], files: ConfigFiles, target: object, *, in_file: bool) -> Fault:
    """One fault for all keys that a file, or a class that the command line names, is without."""
    group = faults[0].lacks.partition(".")[0]
    keys = list(dict.fromkeys(each.lacks.removeprefix(f"{group}.") for each in faults))
    askers = list(dict.fromkeys(each.needed_by for each in faults))
    required = any(each.path == each.lacks for each in faults)
    in_it = [f"a line in it for {'each' if len(keys) > 1 else keys[0]}"] * in_file
    ways = [*in_it, *[f"+{group}.KEY=... for each"] * (required and not in_file)]
    allowed = ", or ".join([*ways, *[f"another {' and '.join(askers)}"] * (not required)])
    given = f"{origin} without {'' if len(keys) < MANY else f'{len(keys)} keys: '}{', '.join(keys)}"
    same = files.with_target(group, target) if in_file and len(keys) >= MANY else []
    whole = [each for each in same if all(each in files.with_key(group, key) for key in keys)]
    meant = f"`defaults: [{whole[0]}, _self_]` as its first line" if whole else ""
    return Fault(group, given, f"{allowed}; asked for by {', '.join(askers)}", meant)

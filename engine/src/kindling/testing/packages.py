"""Which distributions others need, in this environment."""

from functools import cache
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@cache
def wanted_by(name: str) -> list[Requirement]:
    return [Requirement(each) for each in metadata.requires(name) or []]


def needed(*names: str) -> set[str]:
    """The distributions that these need in this environment, and they themselves."""
    found, waiting = set(), [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, *wanted.extras) in found:
            continue
        found.add((name, *wanted.extras))
        waiting += [
            each
            for each in wanted_by(name)
            if not each.marker or any(each.marker.evaluate({"extra": extra}) for extra in wanted.extras or {""})
        ]
    return {name for name, *_ in found}

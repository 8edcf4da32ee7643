"""Weights that were trained with other names than the data has, in as many places: of classes, columns, characters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kindling.console import shown, warn
from kindling.errors import OtherDataError

# The facts that say what inputs and outputs mean.
NAMES = ("classes", "columns", "vocabulary")


class Origin(NamedTuple):
    """What weights were trained with.

    Attributes:
        path: the checkpoint.
        facts: of its data, without those of a last layer that is new.
    """

    path: Path
    facts: Mapping[str, Any]


def hold_against(origin: Origin, facts: Mapping[str, Any], *, trains: bool) -> None:
    """Warn of other names in the data.

    Raises:
        OtherDataError: there are, and nothing is trained, so that what is measured would mean nothing.
    """
    for name in NAMES:
        known, found = origin.facts.get(name), facts.get(name)
        # Anybody may have written a checkpoint.
        if not (known and isinstance(known, Sequence) and found and isinstance(found, Sequence)):
            continue
        known, found = list(known), list(found)
        if known == found:
            continue
        told = f"weights: given {shown(origin.path)}, trained with {differences(name, known, found)}"
        if not trains:
            raise OtherDataError(f"{told}; allowed with train=false: those of the weights, in their order")
        warn(f"{told}; they are trained on as they are; rename or order those of the data if they mean the same")


def differences(name: str, known: list[Any], found: list[Any]) -> str:
    """`other classes: 2 of 10 differ, the first is 'cat' (0), and 'dog' in the data`."""
    kind = (
        f"other {name}" if sorted(map(str, known)) != sorted(map(str, found)) else f"the same {name} in another order"
    )
    differ = [place for place, pair in enumerate(zip(known, found, strict=False)) if pair[0] != pair[1]]
    if not differ:
        return f"{len(known)} {name}, and the data has {len(found)}"
    first = differ[0]
    return (
        f"{kind}: {len(differ)} of {len(known)} differ, the first is {known[first]!r} ({first}), and {found[first]!r} "
        "in the data"
    )

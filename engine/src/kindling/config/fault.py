"""One mistake in a config, in one line, with the nearest right name."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

# Nobody reads a longer list.
MOST_NAMES = 16
SEPARATORS = re.compile(r"[-_. ]")


@dataclass(frozen=True)
class Fault:
    """`path: given ...; allowed: ...; did you mean ...? (file:line)`; only a warning if the run can still be right."""

    path: str
    given: str
    allowed: str = ""
    meant: str = ""
    origin: str = ""
    warning: bool = False
    # The dotted key that is not there, and who asks for it.
    lacks: str = ""
    needed_by: str = ""
    # Of a setting that its class does not take: the node.
    untaken_by: str = ""

    def __str__(self) -> str:
        parts = [f"given {self.given}"]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.meant:
            parts.append(f"did you mean {self.meant}?")
        where = f" ({self.origin})" if self.origin else ""
        return f"{self.path}: {'; '.join(parts)}{where}".replace("\n", "\\n")


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """The name that a misspelt one most likely means; "" if none is near."""
    lowered = {each.lower(): each for each in names}
    found = difflib.get_close_matches(name.lower(), lowered, n=MOST_NAMES, cutoff=cutoff)
    # A name cut short, as resnext50 of resnext50_32x4d, is nearer to that than to resnet50.
    short = SEPARATORS.sub("", name.lower())
    begun = [each for each in found if SEPARATORS.sub("", each).startswith(short)]
    return lowered[min(begun, key=lambda each: (len(each), each)) if begun else found[0]] if found else ""


def listed(names: Iterable[str]) -> str:
    """Names for `allowed`, or how many there are."""
    names = sorted(names)
    return ", ".join(names) if len(names) <= MOST_NAMES else f"{len(names)} names"

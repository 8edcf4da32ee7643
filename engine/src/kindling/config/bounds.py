"""What bounds a number, as the classes of annotated-types say it."""

import math
from typing import NamedTuple


class Range(NamedTuple):
    """Numbers from `low` to `high`, which themselves are allowed unless `open`."""

    low: float
    high: float = math.inf
    # Ends that are left out: "low", "high" or "both".
    open: str = ""

    def __contains__(self, value: object) -> bool:
        if isinstance(value, list | tuple):
            return all(item in self for item in value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            # A wrong type is a fault of its own.
            return True
        above = value > self.low if self.open in ("low", "both") else value >= self.low
        below = value < self.high if self.open in ("high", "both") else value <= self.high
        return above and below and math.isfinite(value)

    def __and__(self, other: "Range") -> "Range":
        """The numbers that lie in both."""
        low, low_is_open = max((each.low, each.open in ("low", "both")) for each in (self, other))
        high, high_is_closed = min((each.high, each.open not in ("high", "both")) for each in (self, other))
        open_ends = {(True, True): "both", (True, False): "low", (False, True): "high", (False, False): ""}
        return Range(low, high, open_ends[low_is_open, not high_is_closed])

    def __str__(self) -> str:
        low = f"more than {self.low}" if self.open in ("low", "both") else f"{self.low} or more"
        high = f"less than {self.high}" if self.open in ("high", "both") else f"{self.high} or less"
        if math.isinf(self.low) or math.isinf(self.high):
            return high if math.isinf(self.low) else low
        return f"{low} and {high}"


class Multiple(NamedTuple):
    """Numbers that another one divides."""

    of: float

    def __contains__(self, value: object) -> bool:
        if isinstance(value, list | tuple):
            return all(item in self for item in value)
        return isinstance(value, bool) or not isinstance(value, int | float) or value % self.of == 0

    def __str__(self) -> str:
        return f"a multiple of {self.of}"


Bound = Range | Multiple


def bound(name: str, values: list[float | None], named: dict[str, float | None]) -> Bound | None:
    """What `Ge(0)` or `Interval(ge=0, le=1)` allows; None if it bounds no number."""
    key = {"Ge": "ge", "Gt": "gt", "Le": "le", "Lt": "lt", "MultipleOf": "multiple_of"}.get(name)
    if key and len(values) == 1:
        named = {key: values[0]}
    given = {each: value for each, value in named.items() if value is not None}
    if key == "multiple_of":
        return Multiple(given[key]) if given.get(key) else None
    if not given or not given.keys() <= {"ge", "gt", "le", "lt"} or (key is None and name != "Interval"):
        return None
    found = Range(-math.inf)
    for each, value in given.items():
        ends = (value, math.inf) if each in ("ge", "gt") else (-math.inf, value)
        found &= Range(*ends, {"gt": "low", "lt": "high"}.get(each, ""))
    return found

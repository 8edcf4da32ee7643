"""Which jobs of a sweep are checked: each of a few; of many, enough to see each value once."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod

from hydra.core.override_parser.types import Override

# Jobs of which each is checked.
MOST_JOBS = 64


def jobs(each: Sequence[Sequence[Override]], when: Mapping[str, Sequence[Override]]) -> list[list[Override]]:
    """The overrides of each job that is to be checked.

    Args:
        each: the values of each setting, as overrides.
        when: by setting, those under which it is there at all.
    """
    if not when and prod(map(len, each)) <= MOST_JOBS:
        return [list(job) for job in product(*each)]
    return list(_singles([values for values in each if values], when))


def _singles(each: Sequence[Sequence[Override]], when: Mapping[str, Sequence[Override]]) -> Iterator[list[Override]]:
    """Jobs whose number is the sum of values, and not the product: each value beside the first of the others."""
    first = [values[0] for values in each if not when.get(values[0].key_or_group)]
    yield first
    for values in each:
        condition = when.get(values[0].key_or_group, [])
        for value in values if condition else values[1:]:
            own = [*condition, value]
            given = {override.key_or_group for override in own}
            yield [*(override for override in first if override.key_or_group not in given), *own]

"""Which cases of a dear test are quick; the others are part of the long run."""

from collections.abc import Iterable
from typing import Any

import pytest


def some(cases: Iterable[Any], *quick: Any) -> list[Any]:
    """Each of `cases`, marked as slow if it is not one of `quick`."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=[pytest.mark.slow] * (case not in quick))
        for case in cases
    ]

"""What every data set of configs/data keeps; tests of your own sets go below."""

import pytest

from kindling.testing.data import *  # noqa: F403
from kindling.testing.sets import DATA, read, written


@pytest.mark.parametrize("name", [name for name in DATA if "torchvision_sets" in str(written(name).get("_target_"))])
def test_torchvisions_sets_are_not_skipped_above_for_want_of_files(name, offline):
    assert len(read(name, offline).splits.test)

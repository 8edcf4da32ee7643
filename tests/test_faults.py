"""Each fault of scripts/faults.py can be planted; those of files that are gone are left out."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LISTS = runpy.run_path(str(ROOT / "scripts" / "faults.py"))


@pytest.mark.parametrize("name", ["FAULTS", "CONTRACT_FAULTS"])
def test_each_fault_to_plant_is_a_line_of_the_code(name):
    there = [fault for fault in LISTS[name] if (ROOT / fault[0]).is_file()]
    for file, right, wrong in there:
        assert (ROOT / file).read_text().count(right) == 1, (file, right)
        assert right != wrong

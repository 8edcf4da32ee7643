"""What the engine's scripts say of themselves is true."""

import re
from pathlib import Path

import pytest

from bench_root import REPOSITORY

pytestmark = pytest.mark.usefixtures("scripts")


def test_each_fault_to_plant_is_a_line_of_the_code():
    import plant_faults

    faults = plant_faults.FAULTS + plant_faults.CONTRACT_FAULTS
    # A project may have left out a part of the engine.
    for fault in (each for each in faults if (REPOSITORY / each.file).is_file()):
        text = (REPOSITORY / fault.file).read_text()
        assert text.count(fault.right) == 1, fault
        assert fault.right != fault.wrong


def test_each_fault_to_plant_has_a_nearest_test_file():
    import plant_faults

    tests = {Path(each).stem for each in plant_faults.suite(REPOSITORY, "engine/tests")}
    for fault in plant_faults.FAULTS:
        is_there = fault.file.startswith("engine/src/") and (REPOSITORY / fault.file).is_file()
        assert not is_there or set(plant_faults.nearest(fault)) <= tests, fault


def test_a_benchmark_knows_its_names(monkeypatch):
    import benchmark

    monkeypatch.setattr("sys.argv", ["benchmark.py", "setp"])
    with pytest.raises(SystemExit, match="given 'setp'; allowed: step, validation, mlp"):
        benchmark.main()
    assert set(re.findall(r"^    python engine/scripts/benchmark.py (\w+)", str(benchmark.__doc__), re.MULTILINE)) == {
        *benchmark.TABLES,
        *benchmark.OF_OVERRIDES,
    }

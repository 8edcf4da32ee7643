"""Plant one-line faults in a copy of the project, one by one, and print which test catches each.

A fault that no test catches is a test that is missing. Run: python engine/scripts/plant_faults.py --help
"""

import argparse
import importlib
import multiprocessing
import os
import re
import runpy
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torchvision  # noqa: F401  these are imported once, for all the forks

from faults import CONTRACT_FAULTS, FAULTS, Fault
from nearest import NEAREST

SUITES = ("engine/tests", "tests")
PROJECT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "engine", "configs", "tests", "scripts", "docs")
FILES = (
    "train.py",
    "evaluate.py",
    "predict.py",
    "export.py",
    "serve.py",
    "pyproject.toml",
    "Makefile",
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="plant the faults whose file name holds this, and trust the tests")
    parser.add_argument(
        "--contracts", action="store_true", help="classical bugs, and the contracts of the project alone"
    )
    parser.add_argument("--nearest", action="store_true", help="run only the test files likeliest to catch a fault")
    given = parser.parse_args()
    only = given.only
    faults = [
        each for each in all_faults(contracts=given.contracts) if only in each.file and (PROJECT / each.file).is_file()
    ]
    if given.contracts:
        # Imported once for all forks: no contract is about imports.
        importlib.import_module("lightning.pytorch")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in FOLDERS:
            shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        # A project may have left out a command.
        for name in filter(lambda each: (PROJECT / each).is_file(), FILES):
            shutil.copy(PROJECT / name, copy / name)
        trusted = only or given.nearest or given.contracts
        if not trusted and (
            catcher := next(filter(None, (caught_by(copy, suite(copy, each)) for each in SUITES)), None)
        ):
            print(f"a test fails without any fault: {catcher}; mend it first")
            return 1
        missed = 0
        for number, fault in enumerate(faults, start=1):
            several = len(nearest(fault)) if given.nearest else None
            tests = contracts(copy) if given.contracts else tests_for(fault, copy)[:several]
            missed += plant(copy, number, fault, tests)
    print(f"{len(faults) - missed} of {len(faults)} faults caught")
    return int(missed > 0)


def all_faults(*, contracts: bool) -> list[Fault]:
    """Those of the engine, and those that scripts/faults.py of the project names."""
    file = PROJECT / "scripts" / "faults.py"
    own = runpy.run_path(str(file)) if file.is_file() else {}
    name = "CONTRACT_FAULTS" if contracts else "FAULTS"
    ours = CONTRACT_FAULTS if contracts else FAULTS
    return [*ours, *(Fault(*each) for each in own.get(name, ()))]


def plant(copy: Path, number: int, fault: Fault, tests: list[str]) -> bool:
    """Whether no test catches the fault; prints two lines."""
    file = copy / fault.file
    text = file.read_text()
    assert text.count(fault.right) == 1, f"{fault.file} holds {fault.right!r} {text.count(fault.right)} times"
    file.write_text(text.replace(fault.right, fault.wrong))
    started = time.perf_counter()
    catcher = caught_by(copy, tests)
    file.write_text(text)
    print(f"{number:2} {fault.file}: {fault.wrong.strip() or 'line removed'}")
    print(f"   {catcher or 'MISSED'}  ({time.perf_counter() - started:.0f} s)", flush=True)
    return catcher is None


def suite(copy: Path, folder: str) -> list[str]:
    """The test files of a folder, the slow ones last."""
    slow = ("test_configs", "test_crash", "test_entries", "test_processes")
    files = sorted(copy.glob(f"{folder}/test_*.py"), key=lambda file: (file.stem in slow, file.stem))
    return [str(file) for file in files]


def tests_for(fault: Fault, copy: Path) -> list[str]:
    """The tests of the engine or of the project, the files likeliest to catch the fault first."""
    first = nearest(fault)
    tests = suite(copy, "engine/tests" if fault.file.startswith("engine/") else "tests")
    return sorted(tests, key=lambda test: first.index(Path(test).stem) if Path(test).stem in first else len(first))


def nearest(fault: Fault) -> list[str]:
    """The names of the test files that are likeliest to catch it."""
    stem = Path(fault.file).stem
    return [f"test_{each}" for each in NEAREST.get(stem, stem).split()]


def contracts(copy: Path) -> list[str]:
    return [str(copy / "tests" / f"test_{kind}.py") for kind in ("data", "models", "tasks", "recipes")]


def caught_by(copy: Path, tests: list[str]) -> str | None:
    """The first test that fails, or None if all pass; in a forked process, which need not import torch again."""
    output = copy / "output"
    process = multiprocessing.get_context("fork").Process(target=run_tests, args=(copy, tests, output))
    process.start()
    process.join()
    if process.exitcode == 0:
        return None
    text = output.read_text()
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    return failed[1] if failed else f"exit {process.exitcode}: {text.strip().splitlines()[-1]}"


def run_tests(copy: Path, tests: list[str], output: Path) -> None:
    with output.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.chdir(copy)
    source = [str(copy / "engine" / "src"), str(copy / "src")]
    sys.path[:0] = source
    # Commands that tests start import the copy too.
    os.environ["PYTHONPATH"] = os.pathsep.join(source)
    sys.dont_write_bytecode = True
    # This test compares code and list: it catches every fault.
    others = ["-k", "not each_fault_to_plant"]
    sys.exit(int(pytest.main(["-x", "-p", "no:cacheprovider", *others, *tests])))


if __name__ == "__main__":
    sys.exit(main())

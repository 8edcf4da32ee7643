"""Where the rest of the time goes: by package, in a step, in the start of a run, in an evaluation."""

import cProfile
import os
import pstats
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path

import torch

from benchmarks.commands import PROJECT, SHORT, TRAIN, wall
from benchmarks.fitting import defaults
from benchmarks.loop import step_of
from benchmarks.table import Row

# Packages in the table of each profile.
SHOWN = 6

Seconds = dict[str, float]


def profile() -> list[Row]:
    """Shares of own time; a function of Python itself counts for the package that called it."""
    return [*step(), *start(), *evaluation()]


def step() -> list[Row]:
    torch.set_num_threads(1)
    # The first call also pays for late imports.
    step_of(defaults)
    profiler = cProfile.Profile()
    profiler.runcall(partial(step_of, defaults))
    return shares("a small step", by_package(pstats.Stats(profiler)))


def start() -> list[Row]:
    """Own seconds of each package's imports, in a run of 20 steps."""
    with tempfile.TemporaryDirectory() as logs:
        command = [sys.executable, "-X", "importtime", TRAIN, *SHORT, f"paths.logs={logs}"]
        done = subprocess.run(command, capture_output=True, text=True)
    seconds: Seconds = defaultdict(float)
    for micros, package in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\w+)", done.stderr, re.MULTILINE):
        seconds[package] += int(micros) / 1e6
    return shares("the imports of a run", seconds)


def evaluation() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        wall(TRAIN, *SHORT, f"paths.logs={folder}")
        (run,) = Path(folder).glob("*/*/run.json")
        output = f"{folder}/profile"
        wall("-m", "cProfile", "-o", output, str(PROJECT / "evaluate.py"), f"run={run.parent}")
        return shares("an evaluation", by_package(pstats.Stats(output)))


def by_package(stats: pstats.Stats) -> Seconds:
    """Own seconds of each package."""
    seconds: Seconds = defaultdict(float)
    for (file, _, name), (_, _, own, _, callers) in stats.stats.items():  # pyright: ignore[reportAttributeAccessIssue]
        # Python's own functions, such as isinstance.
        if file == "~" and not re.search("torch|Tensor|Engine", name):
            for (caller_file, _, _), (_, _, share, _) in callers.items():
                seconds[package_of(caller_file)] += share
        else:
            seconds["torch, compiled" if file == "~" else package_of(file)] += own
    return seconds


def package_of(file: str) -> str:
    if "importlib" in file:
        return "importing"
    found = re.search(r"(?:site-packages|src)/([^/.]+)", file.replace(os.sep, "/"))
    return found[1] if found else "Python"


def shares(what: str, seconds: Seconds) -> list[Row]:
    total, slowest = sum(seconds.values()), sorted(seconds, key=lambda name: -seconds[name])[:SHOWN]
    return [Row(f"{what}: {name}", 100 * seconds[name] / total, "%") for name in slowest]

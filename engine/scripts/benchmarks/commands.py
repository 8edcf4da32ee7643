"""Whole commands, from the shell's view: start, sweep, compile, memory. Each runs in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.measured import PROJECT
from benchmarks.table import ROUNDS, Row, least

TRAIN = str(PROJECT / "train.py")
SHORT = ["model=mlp", "trainer.max_epochs=1", "trainer.limit_train_batches=20"]
TINY = ["data=fake", "data.num_images=64", "model=mlp", "trainer.max_epochs=1"]
# Runs train.py, and prints the instant at which its first training step begins.
FIRST_STEP = f"""
import sys, time
sys.path.insert(0, {str(PROJECT)!r})
import train
from kindling.cli.entry import entry
from kindling.process.start_and_end import importing
from kindling.run_folders.lifecycle import recorded

def main(cfg):
    with recorded(cfg):
        with importing():
            import kindling.train
        from kindling.training.task import Task
        step = Task.training_step
        def first_step(self, batch, batch_idx):
            print("INSTANT", time.time())
            Task.training_step = step
            return step(self, batch, batch_idx)
        Task.training_step = first_step
        return train.main(cfg)

entry({TRAIN!r}, main)
"""
IMPORTED = "import lightning, time; print('INSTANT', time.time())"


def start() -> list[Row]:
    """Answers against `import hydra`, runs against `import lightning`; each from the command on."""
    with tempfile.TemporaryDirectory() as folder:
        logs = f"paths.logs={folder}"
        seconds = least(
            {
                "hydra": lambda: wall("-c", "import hydra"),
                "config": lambda: wall(TRAIN, "experiment=cnn", "--cfg", "job"),
                "mistake": lambda: wall(TRAIN, "experiment=cnn", "trainer.max_epoch=3", code=2),
                "help": lambda: wall(TRAIN, "--help"),
                "imported": lambda: until_instant("-c", IMPORTED),
                "first step": lambda: until_instant("-c", FIRST_STEP, "experiment=cnn", "trainer.max_epochs=1", logs),
                "lightning": lambda: wall("-c", "import lightning"),
                "short run": lambda: wall(TRAIN, *SHORT, logs),
            }
        )
    answers = [
        Row(f"{what}, against `import hydra`", seconds[name] / seconds["hydra"], "times", bar)
        for name, what, bar in (
            ("config", "--cfg job", "<= 3"),
            ("mistake", "a config error", "<= 3"),
            ("help", "--help", "<= 3.5"),
        )
    ]
    return [
        Row("`import hydra`, from command to exit", seconds["hydra"], "s"),
        *answers,
        Row("`import lightning`, to the end of the import", seconds["imported"], "s"),
        Row("command to first step, against that", seconds["first step"] / seconds["imported"], "times", "<= 0.95"),
        Row("`import lightning`, from command to exit", seconds["lightning"], "s"),
        Row(
            "20 steps, validation and test, against that",
            seconds["short run"] / seconds["lightning"],
            "times",
            "<= 0.85",
        ),
    ]


def sweep() -> list[Row]:
    """Further tiny jobs of a sweep, Hydra's and ours, against a process of their own: CPU seconds and wall seconds."""
    ours = ("-m", "sweep=random", "optimizer.lr=interval(0.001,0.01)")
    # From eight trials on, all pictures are drawn at the end: not by the jobs that are measured.
    few, many = 8, 16
    with tempfile.TemporaryDirectory() as folder:
        tiny, names = [TRAIN, *TINY], count()

        def spent(*further: str) -> Spent:
            return spend(*tiny, f"paths.logs={folder}/{next(names)}", *further)

        found = least_of_each(
            {
                "one process": lambda: spent(),
                "hydra few": lambda: spent("-m", f"seed=range({few})"),
                "hydra many": lambda: spent("-m", f"seed=range({many})"),
                "forked few": lambda: spent(*ours, f"sweep.n_trials={few}"),
                "forked many": lambda: spent(*ours, f"sweep.n_trials={many}"),
            }
        )
    one = found["one process"]
    rows = [Row("a tiny run in a process of its own", one.cpu_s, "CPU s"), Row("the same", one.wall_s, "s")]
    for name, what in (("hydra", "without sweep="), ("forked", "with sweep=random")):
        less, more = found[f"{name} few"], found[f"{name} many"]
        cpu_s, wall_s = (more.cpu_s - less.cpu_s) / (many - few), (more.wall_s - less.wall_s) / (many - few)
        rows += [
            Row(f"each further job {what}", cpu_s, "CPU s"),
            Row("the same", wall_s, "s"),
            Row("CPU seconds against a process", cpu_s / one.cpu_s, "times", "<= 0.06"),
            Row("wall seconds against a process", wall_s / one.wall_s, "times"),
        ]
    return rows


def compiled() -> list[Row]:
    """torch.compile of the CNN, with an empty cache and then with what that run left."""
    run = ["experiment=cnn", "compile=default", "trainer.max_epochs=1"]
    ratios, first = [], float("inf")
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            cache = f"paths.cache={folder}/cache"
            seconds = [trained(*run, cache).facts["timings"]["fit_s"] for _ in range(2)]
        ratios.append(seconds[1] / seconds[0])
        first = min(first, seconds[0])
    return [
        Row("the first compiled run: one epoch", first, "s"),
        Row("the second, against the first", min(ratios), "times", "<= 0.1"),
    ]


def memory() -> list[Row]:
    """Peak memory of processes that train the same network on the same images."""
    with tempfile.TemporaryDirectory() as folder:
        command = [TRAIN, "experiment=cnn", "trainer.max_epochs=2", f"paths.logs={folder}"]
        mebibytes = least(
            {
                "bare": lambda: peak_mebibytes(str(Path(__file__).with_name("bare.py"))),
                "kindling": lambda: peak_mebibytes(*command),
            },
            rounds=3,
        )
    return [
        Row("a bare loop", mebibytes["bare"], "MiB"),
        Row("experiment=cnn", mebibytes["kindling"], "MiB"),
        Row("experiment=cnn, against the bare loop", mebibytes["kindling"] / mebibytes["bare"], "times", "<= 1.3"),
    ]


def wall(*arguments: str, code: int | None = 0) -> float:
    """Seconds of a Python command from start to exit, with the expected exit code."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if code is not None and done.returncode != code:
        sys.exit(f"{arguments} ended with {done.returncode}:\n{done.stderr}")
    return seconds


class Spent(NamedTuple):
    """What a command took, with all processes that it waited for."""

    cpu_s: float
    wall_s: float


def spend(*arguments: str) -> Spent:
    """Run a Python command to its end."""
    started, process = time.perf_counter(), subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{arguments} ended with {process.returncode}")
    return Spent(usage.ru_utime + usage.ru_stime, time.perf_counter() - started)


def least_of_each(variants: dict[str, Callable[[], Spent]]) -> dict[str, Spent]:
    """The least CPU seconds and the least wall seconds of each variant, over rounds in which each has its turn."""
    found: dict[str, list[Spent]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, measure in variants.items():
            found[name].append(measure())
    return {name: Spent(*map(min, zip(*each, strict=True))) for name, each in found.items()}


def until_instant(*arguments: str) -> float:
    """Seconds from the start of a Python command to the instant that it prints."""
    started = time.time()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    instants = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("INSTANT")]
    if done.returncode or len(instants) != 1:
        sys.exit(f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return float(instants[0]) - started


def peak_mebibytes(*arguments: str) -> float:
    """Largest resident memory of a Python command."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{arguments} ended with {process.returncode}")
    return usage.ru_maxrss / 2**10


def ratio(command: list[str], reference: list[str]) -> float:
    """The least seconds of a Python command over those of another, whatever their exit codes."""
    seconds = least({"command": lambda: wall(*command, code=None), "reference": lambda: wall(*reference)})
    return seconds["command"] / seconds["reference"]


class Record(NamedTuple):
    """What a run left: run.json, and the weights of its last checkpoint."""

    facts: dict[str, Any]
    weights: dict[str, torch.Tensor]
    wall_s: float


def trained(*overrides: str) -> Record:
    """Run train.py and read what it left."""
    with tempfile.TemporaryDirectory() as logs:
        seconds = wall(TRAIN, *overrides, f"paths.logs={logs}")
        (file,) = Path(logs).rglob("run.json")
        saved = torch.load(file.parent / "checkpoints" / "last.ckpt", weights_only=True)
        return Record(json.loads(file.read_text(encoding="utf-8")), saved["state_dict"], seconds)

"""Sweeps that are killed anywhere and given again, against one that was not: python engine/tests/sweeps.py

Each command is forked from this process, which has imported everything.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench_root import PROJECT

os.environ["OMP_NUM_THREADS"] = "1"

import kindling.train  # noqa: F401
from kindling.run_folders.record import RunRecord
from kindling.run_folders.trials import ENDS, read_trials
from kindling.sweeps import claims
from kindling.sweeps import sweep as loop
from kindling.sweeps.pruning import Pruning
from kindling.sweeps.sweep import Sweep
from kindling.testing.commands import Fork

# The trials to begin with: the fifth is pruned, the sixth becomes NaN, the seventh raises; the eighth is asked for.
LOSSES = "{},{optimizer.lr:0.001},{optimizer.lr:0.003},{optimizer.lr:0.01},{optimizer.lr:0.0001},{optimizer.lr:1e30}"
COMMAND = (
    *("-m", "sweep=optuna", "sweep.n_trials=8", "sweep.pruner=median", "sweep.max_failed=1"),
    f"sweep.start=[{LOSSES},{{callbacks.raising.epoch:3}}]",
    *("data=fake", "data.image_size=16", "model=mlp", "trainer=cpu", "trainer.max_epochs=5", "test=false"),
    *("callbacks.resume_checkpoint.every_n_steps=3", "logger=csv", "trainer.log_every_n_steps=1"),
    *("optimizer.lr=choice(0.0001,0.001,0.003,0.01,1e30)", "optimizer.weight_decay=interval(0.01,0.1)"),
    "+callbacks.raising={_target_:bench.raising.Raising,epoch:-1}",
    "callbacks.raising.epoch=choice(-1,-2,-3,3)",
)


class Point(NamedTuple):
    """Where a command kills itself: before or after the n-th call of a function, in whatever process that is."""

    owner: Any
    name: str
    is_before: bool
    nth: int = 1

    def __str__(self) -> str:
        return f"{'before' if self.is_before else 'after'} {self.name} {self.nth}"


POINTS = (
    # Claimed, and nothing asked for; asked for, and not started; started.
    Point(claims, "write_trial", True),
    Point(claims, "write_trial", False, 2),
    Point(Sweep, "_wait", True),
    # Of a trial: before it has a run.json, with one, at a report, before and after its end.
    Point(RunRecord, "start", True),
    Point(RunRecord, "start", False),
    Point(Pruning, "decide", False, 2),
    Point(RunRecord, "end", True),
    Point(RunRecord, "end", False),
    # Ended, and not looked at; of all trials.
    Point(Sweep, "_end", True, 2),
    Point(Sweep, "_end", False),
    Point(loop, "conclude", True),
)
assert all(hasattr(each.owner, each.name) for each in POINTS)


class Command(Fork):
    """The sweep in a folder, which a signal may end at a point."""

    def __init__(self, logs: Path, *further: str, point: Point | None = None, signum: int = signal.SIGKILL):
        logs.mkdir(exist_ok=True)
        self.point, self.signum = point, signum
        # Further ones of the same folder have files of their own.
        self.place = logs / f"command_{len(list(logs.glob('command_*')))}"
        self.place.mkdir()
        super().__init__(self.place, "train.py", *COMMAND, f"paths.logs={logs}", *further)

    def _run(self, script: str, arguments: tuple[str, ...]) -> None:
        os.chdir(PROJECT)
        if self.point is not None:
            kill_at(self.point, self.signum)
        super()._run(script, arguments)


def kill_at(point: Point, signum: int) -> None:
    function: Callable[..., Any] = getattr(point.owner, point.name)
    sweep, calls = os.getpid(), multiprocessing.Value("i", 0)

    def killing(*given: Any, **named: Any) -> Any:
        with calls.get_lock():
            calls.value += 1
        is_due = calls.value == point.nth
        if is_due and point.is_before:
            os.kill(sweep, signum)
        result = function(*given, **named)
        if is_due and not point.is_before:
            os.kill(sweep, signum)
        return result

    setattr(point.owner, point.name, killing)


def outcome(logs: Path) -> dict[int, Any]:
    """By trial: its parameters, its state and reason, and the bytes of its metrics.csv."""
    folder, found = logs / "sweeps" / "default_optuna", {}
    for trial in read_trials(folder) if folder.is_dir() else []:
        table = trial.folder / "metrics.csv"
        found[trial.number] = trial.params, trial.state, trial.reason, table.read_bytes() if table.is_file() else b""
    return found


def kill_until_done(logs: Path, chance: random.Random, points: list[Point], whole_s: float) -> tuple[int, list[str]]:
    """Give the command again and again, each time but the last killed; the last exit code, and what was killed."""
    killed = []
    for point in (*points, None, None):
        signum = chance.choice([signal.SIGKILL, signal.SIGTERM])
        command = Command(logs, point=point, signum=signum)
        if point is None:
            command.process.join(chance.uniform(0.3, whole_s * 0.7))
            if command.process.is_alive():
                os.kill(command.process.pid or 0, signum)
        command.process.join(100)
        killed.append(f"{signum.name} {point or 'anywhere'}: {command.process.exitcode}")
    return Command(logs).result(timeout_s=300).returncode, killed


def compare(folder: Path, *, sweeps: int, seed: int) -> int:
    """How many killed sweeps differ from an undisturbed one."""
    started = time.monotonic()
    code = Command(folder / "whole").result().returncode
    whole_s, expected = time.monotonic() - started, outcome(folder / "whole")
    states = sorted(each[1] for each in expected.values())
    print(f"undisturbed, {whole_s:.0f} s: exit code {code}, {', '.join(states)}", flush=True)
    wrong = int(code != 1 or len(expected) != 8 or "pruned" not in states)
    other = folder / "other_seed"
    Command(other, "sweep.seed=1").result()
    differs = [number for number, each in outcome(other).items() if each != expected.get(number)]
    print(f"another seed: trials {differs} differ", flush=True)
    wrong += not differs
    for number in range(sweeps):
        logs, chance = folder / f"killed{number}", random.Random(seed + number)
        points = [POINTS[(2 * number + each) % len(POINTS)] for each in range(2)]
        found, killed = kill_until_done(logs, chance, points, whole_s)
        got = outcome(logs)
        differs = [name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name)]
        wrong += bool(differs) or found != code
        print(f"sweep {number}: {'; '.join(killed)}: exit code {found}, {len(differs)} trials differ", flush=True)
        for name in sorted(differs):
            print("  ", name, str(expected.get(name))[:300], "|", str(got.get(name))[:300])
    return wrong + of_two(folder, expected, random.Random(seed), whole_s)


def of_two(folder: Path, expected: dict[int, Any], chance: random.Random, whole_s: float) -> int:
    """Whether two processes on one sweep, of which one is killed, leave each trial once, and the other one ends it."""
    logs = folder / "two"
    one, other = Command(logs), Command(logs)
    time.sleep(chance.uniform(0.3, 0.5) * whole_s)
    os.kill(one.process.pid or 0, signal.SIGKILL)
    one.process.join()
    done, got = other.result(), outcome(logs)
    # What is pruned and what is asked for depends on who was first.
    wrong = [number for number in range(4) if got.get(number) != expected[number]]
    whole = sorted(got) == sorted(expected) and all(each[1] in ENDS for each in got.values())
    print(f"two processes, one killed: exit code {done.returncode}, {len(got)} trials, {len(wrong)} of 4 differ")
    return int(not whole or bool(wrong) or done.returncode != 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        wrong = compare(Path(folder), sweeps=given.sweeps, seed=given.seed)
    print(f"{given.sweeps} sweeps, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

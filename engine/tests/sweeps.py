"""Sweeps that are killed anywhere and given again, against one that was not: python engine/tests/sweeps.py"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench_root import PROJECT

# The trials to begin with: the fifth is pruned, the sixth becomes NaN, the seventh raises; three more are asked for.
LOSSES = "{},{optimizer.lr:0.001},{optimizer.lr:0.003},{optimizer.lr:0.01},{optimizer.lr:0.0001},{optimizer.lr:1e30}"
COMMAND = (
    *(
        "-m",
        "sweep=optuna",
        "sweep.n_trials=10",
        "sweep.pruner=median",
        "sweep.max_failed=1",
        f"sweep.start=[{LOSSES},{{callbacks.raising.epoch:3}}]",
        "data=fake",
        "model=mlp",
    ),
    *("trainer.accelerator=cpu", "trainer.max_epochs=6", "callbacks.resume_checkpoint.every_n_steps=3", "logger=csv"),
    *("optimizer.lr=choice(0.0001,0.001,0.003,0.01,1e30)",),
    "+callbacks.raising={_target_:bench.raising.Raising,epoch:-1}",
    *("callbacks.raising.epoch=choice(-1,-2,-3,3)", "test=false"),
)


def start(logs: Path, *further: str) -> subprocess.Popen[bytes]:
    with open(logs.parent / f"{logs.name}.txt", "ab") as output:
        command = [sys.executable, "train.py", *COMMAND, f"paths.logs={logs}", *further]
        return subprocess.Popen(command, cwd=PROJECT, stdout=output, stderr=output, start_new_session=True)


def outcome(logs: Path) -> dict[str, Any]:
    """By trial: its parameters, its state and reason, and the bytes of its metrics.csv."""
    found = {}
    for file in (logs / "sweeps" / "default_optuna").glob("*/trial.json"):
        trial, facts = json.loads(file.read_text()), file.parent / "run.json"
        run = json.loads(facts.read_text()) if facts.is_file() else {}
        table = file.parent / "metrics.csv"
        state = trial["outcome"].get("state") or run.get("status"), run.get("reason")
        found[file.parent.name] = (trial["params"], state, table.read_bytes() if table.is_file() else b"")
    return found


def kill_until_done(logs: Path, chance: random.Random, kills: int) -> tuple[int, list[str]]:
    """Give the command again and again, each time but the last killed; the last exit code, and what was killed."""
    killed = []
    for _ in range(kills):
        process = start(logs)
        wait_s = chance.uniform(2, 14)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            signum = chance.choice([signal.SIGKILL, signal.SIGTERM])
            os.kill(process.pid, signum)
            killed.append(f"{signum.name} after {wait_s:.1f} s: {process.wait()}")
            # Forked trials end with the sweep, after a checkpoint.
            time.sleep(1)
    return start(logs).wait(), killed


def compare(folder: Path, *, sweeps: int, kills: int, seed: int) -> int:
    """How many killed sweeps differ from an undisturbed one."""
    whole, wrong = folder / "whole", 0
    code = start(whole).wait()
    expected = outcome(whole)
    print(
        f"undisturbed: exit code {code}, {', '.join(sorted(state for _, (state, _), _ in expected.values()))}",
        flush=True,
    )
    for number in range(sweeps):
        logs = folder / f"killed{number}"
        found, killed = kill_until_done(logs, random.Random(seed + number), kills)
        got = outcome(logs)
        differs = [name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name)]
        wrong += bool(differs) or found != code
        print(f"sweep {number}: {'; '.join(killed)}: exit code {found}, {len(differs)} trials differ", flush=True)
        for name in sorted(differs):
            print("  ", name, str(expected.get(name))[:300], "|", str(got.get(name))[:300])
        if found != code:
            print((folder / f"{logs.name}.txt").read_text()[-1500:])
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=10)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        wrong = compare(Path(folder), sweeps=given.sweeps, kills=given.kills, seed=given.seed)
    print(f"{given.sweeps} sweeps, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

"""Randomly changed checkpoints and run folders, given to each verb: no code runs, nothing is written outside, no hang.

    python engine/tests/fuzz.py                              500 a verb, and 50 as commands of their own
    python engine/tests/fuzz.py --number 20 --only evaluate  a few, of the verbs whose names hold the word
    python engine/tests/fuzz.py --seed 7 --only evaluate --one 123       one of them again, with what it printed

Each is forked from this process, which has imported everything. `attempts` takes other mutators and verbs too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

from attacks import HOSTILE, SMALL
from attempts import Found, Verb, attempt, make_world, wrong_words
from bench_root import PROJECT
from kindling.cli import entry
from kindling.evaluate import evaluate
from kindling.export import export
from kindling.predict import predict
from kindling.train import train
from mutators import MUTATORS, WEIGHTS, Mutator

TRAIN = (*SMALL, "trainer.max_epochs=2", "paths.logs={home}/logs")
FILE = "ckpt={home}/run/checkpoints/last.ckpt"
VERBS = {
    "train resume": Verb(train, "train", (*TRAIN, "resume={home}/run")),
    "train resume=auto": Verb(train, "train", (*TRAIN, "resume=auto")),
    "train fork": Verb(train, "train", (*TRAIN, "fork={home}/run")),
    "train weights": Verb(train, "train", (*TRAIN, "weights={home}/run")),
    "evaluate": Verb(evaluate, "evaluate", ("run={home}/run", "trainer.accelerator=cpu", "paths.logs={home}/logs")),
    "predict": Verb(predict, "predict", (FILE, "input={home}/images", "output={home}/predictions.csv", "device=cpu")),
    "export": Verb(export, "export", (FILE, "format=torchscript", "benchmark=false", "paths.logs={home}/logs")),
}


def attempts(
    verbs: Mapping[str, Verb], mutators: Mapping[str, Mutator], weights: Mapping[str, int], number: int, seed: int
) -> dict[str, dict[int, tuple[str, Found]]]:
    """So many attempts of each verb: the mutator and what was found, by the number of the attempt."""
    found: dict[str, dict[int, tuple[str, Found]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        honest = honest_run(Path(folder))
        for name, verb in verbs.items():
            found[name] = {}
            started = time.monotonic()
            for each in range(number):
                chosen = Random(f"{seed} {each}").choices(list(weights), list(weights.values()))[0]
                one = attempt(verb, mutators[chosen], seed * 100_000 + each, Path(folder) / "world", honest)
                found[name][each] = chosen, one
                if one.fault:
                    print(f"{name} {each} ({chosen}): {one.fault[:300]}", flush=True)
            print(row(name, found[name], time.monotonic() - started), flush=True)
    return found


def row(name: str, found: dict[int, tuple[str, Found]], wall_s: float) -> str:
    each = [one for _, one in found.values()]
    codes = Counter(one.code for one in each)
    faults = sum(bool(one.fault) for one in each)
    most_s, most = max(one.seconds for one in each), max(one.num_bytes for one in each)
    ended = ", ".join(f"{codes[code]} x {code}" for code in sorted(codes))
    return f"| {name} | {len(each)} | {faults} | {ended} | {most_s:.1f} | {most / 1e6:.0f} | {wall_s:.0f} |"


def honest_run(folder: Path) -> Path:
    cfg = entry.compose([*SMALL, "trainer.max_epochs=1", f"paths.logs={folder}/honest"])
    train(cfg)
    return Path(cfg.paths.run)


def commands(number: int, seed: int) -> int:
    """The same as commands, each in a process that imports what it needs."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        honest = honest_run(Path(folder))
        for each in range(number):
            random = Random(f"{seed} command {each}")
            name, verb = random.choice([*VERBS.items()])
            world = make_world(Path(folder) / "world", honest, verb)
            chosen = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            with suppress(Exception):
                MUTATORS[chosen](world, random)
            arguments = [argument.format(home=world.home) for argument in verb.arguments]
            command = [sys.executable, str(PROJECT / f"{verb.name}.py"), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | HOSTILE)
            fault = "code was run" if world.executed.exists() else wrong_words(done.returncode, done.stderr)
            if fault or done.returncode not in (0, 1, 2):
                wrong += 1
                print(f"command {each}, {name} ({chosen}): exit {done.returncode}, {fault}", flush=True)
    print(f"{number} commands, {wrong} with a fault")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--commands", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--one", type=int)
    given = parser.parse_args()
    verbs = {name: verb for name, verb in VERBS.items() if given.only in name}
    verbs = {given.only: VERBS[given.only]} if given.only in VERBS else verbs
    if given.one is not None:
        with tempfile.TemporaryDirectory() as folder:
            (verb,) = verbs.values()
            chosen = Random(f"{given.seed} {given.one}").choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            number = given.seed * 100_000 + given.one
            one = attempt(verb, MUTATORS[chosen], number, Path(folder) / "world", honest_run(Path(folder)))
            print(chosen, one.fault, one.code, one.printed[-5000:], sep="\n")
            return bool(one.fault)
    print("| verb | attempts | faults | ended with | most processor s | most MB | s |\n|---|---|---|---|---|---|---|")
    found = attempts(verbs, MUTATORS, WEIGHTS, given.number, given.seed)
    wrong = sum(bool(one.fault) for each in found.values() for _, one in each.values())
    return int(wrong + commands(given.commands, given.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())

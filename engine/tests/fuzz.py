"""Randomly changed checkpoints, run and model folders, given to each verb: no code, no write outside, no hang.

    python engine/tests/fuzz.py                              500 a verb, and 50 as commands of their own
    python engine/tests/fuzz.py --number 20 --only evaluate  a few, of the verbs whose names hold the word
    python engine/tests/fuzz.py --seed 7 --only evaluate --one 123       one of them again, with what it printed

Each is forked from this process, which has imported everything.
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
from folder_mutators import FOLDER_MUTATORS, FOLDER_WEIGHTS
from kindling.cli import entry
from kindling.evaluate import evaluate
from kindling.export import export
from kindling.predict import predict
from kindling.train import train
from mutators import MUTATORS, WEIGHTS, Mutator
from one_answer import serve

TRAIN = (*SMALL, "trainer.max_epochs=2", "paths.logs={home}/logs")
FILE = "ckpt={home}/run/checkpoints/last.ckpt"
FILE_TO = ("input={home}/images", "output={home}/predictions.csv", "device=cpu")
VERBS = {
    "train resume": Verb(train, "train", (*TRAIN, "resume={home}/run")),
    "train resume=auto": Verb(train, "train", (*TRAIN, "resume=auto")),
    "train fork": Verb(train, "train", (*TRAIN, "fork={home}/run")),
    "train weights": Verb(train, "train", (*TRAIN, "weights={home}/run")),
    "evaluate": Verb(evaluate, "evaluate", ("run={home}/run", "trainer.accelerator=cpu", "paths.logs={home}/logs")),
    "predict": Verb(predict, "predict", (FILE, *FILE_TO)),
    "predict run": Verb(predict, "predict", ("run={home}/run", *FILE_TO)),
    "serve run": Verb(serve, "serve", ("run={home}/run", "port=0")),
    "serve model": Verb(serve, "serve", ("model.folder={home}/run/export/onnx", "port=0")),
    "export": Verb(export, "export", (FILE, "format=torchscript", "benchmark=false", "paths.logs={home}/logs")),
}


def mutators_of(name: str) -> tuple[Mapping[str, Mutator], Mapping[str, int]]:
    """What changes the files that a verb reads, and how often each is chosen."""
    if name == "serve model":
        return FOLDER_MUTATORS, FOLDER_WEIGHTS
    if name == "serve run":
        return MUTATORS | FOLDER_MUTATORS, WEIGHTS | FOLDER_WEIGHTS
    return MUTATORS, WEIGHTS


def chosen_for(name: str, random: Random) -> tuple[str, Mutator]:
    mutators, weights = mutators_of(name)
    (chosen,) = random.choices(list(weights), list(weights.values()))
    return chosen, mutators[chosen]


def attempts(verbs: Mapping[str, Verb], number: int, seed: int) -> dict[str, dict[int, tuple[str, Found]]]:
    """So many attempts of each verb: the mutator and what was found, by the number of the attempt."""
    found: dict[str, dict[int, tuple[str, Found]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        honest = honest_run(Path(folder))
        for name, verb in verbs.items():
            found[name] = {}
            started = time.monotonic()
            for each in range(number):
                chosen, mutator = chosen_for(name, Random(f"{seed} {each}"))
                one = attempt(verb, mutator, seed * 100_000 + each, Path(folder) / "world", honest)
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
            # A server does not end by itself.
            name, verb = random.choice([each for each in VERBS.items() if not each[0].startswith("serve")])
            world = make_world(Path(folder) / "world", honest, verb)
            chosen, mutator = chosen_for(name, random)
            with suppress(Exception):
                mutator(world, random)
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
            ((name, verb),) = verbs.items()
            chosen, mutator = chosen_for(name, Random(f"{given.seed} {given.one}"))
            number = given.seed * 100_000 + given.one
            one = attempt(verb, mutator, number, Path(folder) / "world", honest_run(Path(folder)))
            print(chosen, one.fault, one.code, one.printed[-5000:], sep="\n")
            return bool(one.fault)
    print("| verb | attempts | faults | ended with | most processor s | most MB | s |\n|---|---|---|---|---|---|---|")
    found = attempts(verbs, given.number, given.seed)
    wrong = sum(bool(one.fault) for each in found.values() for _, one in each.values())
    return int(wrong + commands(given.commands, given.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())

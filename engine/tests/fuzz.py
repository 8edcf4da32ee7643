"""Randomly changed checkpoints and run folders, given to each verb: no code runs, nothing is written outside, no hang.

    python engine/tests/fuzz.py                              500 a verb, and 50 as commands of their own
    python engine/tests/fuzz.py --number 20 --only evaluate  a few, of the verbs whose names hold the word
    python engine/tests/fuzz.py --seed 7 --only evaluate --one 123       one of them again, with what it printed

Each is forked from this process, which has imported everything. `attempts` takes other mutators and verbs too.
"""

import argparse
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

from attacks import HOSTILE, SMALL, World, in_record, write_tree
from bench_root import PROJECT
from kindling.cli import entry, resolvers
from kindling.cli import outcome as ending
from kindling.evaluate import evaluate
from kindling.export import export
from kindling.predict import predict
from kindling.run_folders import record
from kindling.run_folders.resumption import newest_unfinished
from kindling.train import train
from mutators import MUTATORS, WEIGHTS, Mutator

# Processor time of one, its memory beyond that of this process, and the time after which it is ended.
MOST_S, MOST_BYTES, END_S = 10, 2_000_000_000, 60
# Of addresses; a process with more is refused memory, so that this machine lives on.
LIMIT = 9_000_000_000
WRITES = os.O_WRONLY | os.O_RDWR
HARMFUL = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "urllib.Request", "socket.connect")
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")


class Verb(NamedTuple):
    """A command: its function, its config's name and its arguments."""

    run: Callable[[Any], object]
    name: str
    arguments: tuple[str, ...]


class Found(NamedTuple):
    """What an attempt came to."""

    fault: str
    code: int
    seconds: float
    num_bytes: int
    printed: str


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


def attempt(verb: Verb, mutators: Mapping[str, Mutator], chosen: str, seed: int, base: Path, honest: Path) -> Found:
    """One changed world, and what the verb makes of it in a process of its own."""
    random = Random(seed)
    world = make_world(base, honest, verb)
    try:
        mutators[chosen](world, random)
    except Exception as error:
        # Not every value can be changed in every way.
        return Found("", -1, 0, 0, f"not made: {error!r}")
    outside = listing(world)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pid = os.fork()
    if pid == 0:
        inside(verb, world, base)
    status, used = waited(pid)
    code = os.waitstatus_to_exitcode(status)
    printed = (base / "2").read_text(errors="replace")
    seconds, num_bytes = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 - before
    faults = [
        "code was run" if world.executed.exists() else "",
        "wrote outside" if listing(world) != outside else "",
        (base / "harm").read_text() if (base / "harm").exists() else "",
        f"ended by signal {-code}" if code < 0 else "",
        f"took {seconds:.0f} s" if seconds > MOST_S else "",
        f"took {num_bytes / 1e9:.1f} GB" if num_bytes > MOST_BYTES else "",
        wrong_words(code, printed),
    ]
    return Found("; ".join(filter(None, faults)), code, seconds, num_bytes, printed)


def make_world(base: Path, honest: Path, verb: Verb) -> World:
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    world = World(base / "home", honest, "")
    in_record(status="failed")(world)
    (world.home / "pipe").unlink(missing_ok=True)
    os.mkfifo(world.home / "pipe")
    if verb.name == "predict":
        write_tree(world.images)
    if "resume=auto" in verb.arguments:
        logs = world.home / "logs" / "default"
        logs.mkdir(parents=True)
        shutil.copytree(world.run, logs / "whole")
        world.run.rename(logs / "changed")
        world.run.symlink_to(logs / "changed")
        world.run = logs / "changed"
    return world


def listing(world: World) -> dict[str, Any]:
    """What no verb may touch."""
    found = [*world.precious.parent.rglob("*"), *world.home.glob("*")]
    own = {"run", "logs", "predictions.csv", "cache", "executed"}
    return {
        str(f): f.read_bytes() if f.is_file() else None
        for f in found
        if f.name not in own and "predictions" not in f.name
    }


def waited(pid: int) -> tuple[int, Any]:
    until = time.monotonic() + END_S
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            return status, used
        if time.monotonic() > until:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            until += 1000
        time.sleep(0.005)


def inside(verb: Verb, world: World, base: Path) -> None:
    """The command, in a forked process that does not come back."""
    os.setpgid(0, 0)
    os.environ |= HOSTILE
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for descriptor in (1, 2):
        os.dup2(os.open(base / str(descriptor), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    record.git_state, os.fsync = lambda: None, lambda descriptor: None
    resolvers.stamp.cache_clear()
    newest_unfinished.cache_clear()
    logging.captureWarnings(True)
    watch(world, base / "harm")
    code = 1
    try:
        verb.run(entry.compose([each.format(home=world.home) for each in verb.arguments], verb.name))
        code = 0
    except Exception as error:
        ending.report(error, full_trace=False)
        code = ending.exit_code(error)
    except SystemExit as error:
        code = 1 if error.code else 0
    finally:
        os._exit(code)


def watch(world: World, harm: Path) -> None:
    """Note what is started, asked for, or written elsewhere."""
    allowed = tuple(map(str, (world.run, world.home / "logs", world.home / "predictions", world.home / ".predictions")))
    allowed += ("/dev/null", str(Path.home() / ".cache"), "/tmp/torchinductor", str(PROJECT / "data" / "cache"))
    is_noting = []

    def seen(event: str, arguments: tuple[Any, ...]) -> None:
        if is_noting or (event != "open" and event not in HARMFUL and event not in CHANGES):
            return
        is_noting.append(1)
        try:
            path = os.path.realpath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes | Path) else ""
            writes = event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES)
            if event in HARMFUL or (path and writes and not path.startswith(allowed) and "tmp" not in path[:5] + "x"):
                harm.open("a").write(f"{event} {arguments[:1]} ")
        finally:
            is_noting.clear()

    sys.addaudithook(seen)


def wrong_words(code: int, printed: str) -> str:
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    if "Traceback" in printed:
        return "a traceback: " + printed.strip().splitlines()[-1][:150]
    return "" if code < 0 or len(errors) == (code != 0) else f"{len(errors)} lines of error with exit code {code}"


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
                one = attempt(verb, mutators, chosen, seed * 100_000 + each, Path(folder) / "world", honest)
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
            one = attempt(verb, MUTATORS, chosen, number, Path(folder) / "world", honest_run(Path(folder)))
            print(chosen, one.fault, one.code, one.printed[-5000:], sep="\n")
            return bool(one.fault)
    print("| verb | attempts | faults | ended with | most processor s | most MB | s |\n|---|---|---|---|---|---|---|")
    found = attempts(verbs, MUTATORS, WEIGHTS, given.number, given.seed)
    wrong = sum(bool(one.fault) for each in found.values() for _, one in each.values())
    return int(wrong + commands(given.commands, given.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())

"""One attempt of a verb on files that were changed at random: in a forked process, which is watched."""

import logging
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from attacks import HOSTILE, World, in_record
from bench_root import PROJECT
from kindling.cli import entry, resolvers
from kindling.cli import outcome as ending
from kindling.run_folders import record
from kindling.run_folders.resumption import newest_unfinished
from mutators import Mutator

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


def attempt(verb: Verb, mutator: Mutator, seed: int, base: Path, honest: Path) -> Found:
    """One changed world, and what the verb makes of it in a process of its own.

    Args:
        verb: what is run.
        mutator: changes files in the world's `home`, whose run is a copy of the honest one.
        seed: of the change.
        base: a folder that is made anew.
        honest: a run folder.
    """
    random = Random(seed)
    world = make_world(base, honest, verb)
    try:
        mutator(world, random)
    except Exception as error:
        # Not every value can be changed in every way.
        return Found("", -1, 0, 0, f"not made: {error!r}")
    outside = listing(world)
    pid = os.fork()
    if pid == 0:
        inside(verb, world, base)
    status, used = waited(pid)
    code = os.waitstatus_to_exitcode(status)
    printed = (base / "2").read_text(errors="replace")
    seconds, num_bytes = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
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
    in_record(status="failed", started_at="2001-01-01T00:00:00+00:00")(world)
    (world.home / "pipe").unlink(missing_ok=True)
    os.mkfifo(world.home / "pipe")
    if "resume=auto" in verb.arguments:
        logs = world.home / "logs" / "default"
        logs.mkdir(parents=True)
        shutil.copytree(world.run, logs / "whole")
        # The newest one, which is looked at first.
        in_record(started_at="2002-01-01T00:00:00+00:00")(world)
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
            path = os.path.realpath(place_of(event, arguments)) if isinstance(arguments[0], str | bytes | Path) else ""
            writes = event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES)
            if event in HARMFUL or (path and writes and not path.startswith(allowed) and "tmp" not in path[:5] + "x"):
                harm.open("a").write(f"{event} {arguments[:1]} ")
        finally:
            is_noting.clear()

    sys.addaudithook(seen)


def place_of(event: str, arguments: tuple[Any, ...]) -> str:
    """The path of an event of the audit; what removes a tree names a folder by its descriptor."""
    name, folder = os.fsdecode(arguments[0]), arguments[-1]
    if event not in ("os.remove", "os.rmdir") or not isinstance(folder, int) or folder < 0:
        return name
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)


def wrong_words(code: int, printed: str) -> str:
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    if "Traceback" in printed:
        return "a traceback: " + printed.strip().splitlines()[-1][:150]
    return "" if code < 0 or len(errors) == (code != 0) else f"{len(errors)} lines of error with exit code {code}"

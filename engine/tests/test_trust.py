"""No command runs code from a checkpoint, a run folder, a data folder or an address, and each attack ends in one line.

The proof of execution is a folder that every payload would make. A forked command reads its command line once, and
does its work for each attack, on files that are made anew.
"""

import gc
import importlib
import json
import multiprocessing
import os
import pickle
import runpy
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import kindling.evaluate
import kindling.train
from attacks import (
    CHECKPOINT,
    DOORS,
    HOSTILE,
    PREDICT,
    SECRET,
    SETTINGS,
    SMALL,
    WRITTEN,
    YAML_TAGS,
    Attack,
    Evil,
    Outcome,
    World,
    attacks_through,
    best_model,
    in_record,
    in_yaml,
    link,
    text,
    write_tree,
)
from bench_root import PROJECT
from hostile_folders import MARKER
from kindling.checkpoints.checkpoint import WholeCheckpointIO
from kindling.cli import entry, resolvers
from kindling.cli import outcome as ending
from kindling.config.check.tree import paths
from kindling.config.check.values import TYPES
from kindling.config.composition import Composer
from kindling.config.extras import has_room
from kindling.errors import CheckpointError
from kindling.run_folders import record
from kindling.testing.commands import Done, Fork
from kindling.train import train
from long_run import some

# Once for all processes that are forked.
if has_room("export"):
    importlib.import_module("kindling.export")


def serve(base: Path, honest: Path, door: str, attacks: dict[str, Attack]) -> None:
    """Come to where the command's work begins, and do it once for each attack; the outcomes go into a file."""
    home = base / "world"
    os.environ |= HOSTILE | {"PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    World(home, honest, door)
    script = door.partition(" ")[0]
    logs = [] if script in ("predict.py", "serve.py") else [f"paths.logs={home}/logs"]
    sys.argv = [str(PROJECT / script), *logs, *(each.format(home=home) for each in DOORS[door])]
    start = entry.entry

    def start_each(name: str, task: Callable[[Any], Any]) -> None:
        def task_of_each(cfg: Any) -> Any:
            outcomes = {}
            for attack in attacks:
                world = World(home, honest, door)
                attacks[attack].do(world)
                before = world.files()
                for descriptor in (1, 2):
                    os.dup2(os.open(base / str(descriptor), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
                code = exit_code(task, cfg.copy())
                outcomes[attack] = outcome(code, base, world, before)
            (base / "outcomes.json").write_text(json.dumps(outcomes))

        start(name, task_of_each)

    entry.entry = start_each
    # What costs time and reads nothing of an attack.
    record.git_state, os.fsync = lambda: None, lambda descriptor: None
    kindling.train.check_config = lambda cfg, **_: []  # the command line was checked
    if script == "serve.py":
        end_once_loaded()
    gc.freeze()
    warnings.simplefilter("default")
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    runpy.run_path(sys.argv[0], run_name="__main__")


def end_once_loaded() -> None:
    """Let a server end as soon as its model is there or has failed."""
    from kindling.inference.serving.served import Models

    def start(self: Models, failed: Callable[[], object]) -> None:
        try:
            self._load()
        except Exception as error:
            self.failure = error
        failed()

    Models.start = start


def exit_code(task: Callable[[Any], Any], cfg: Any) -> int:
    """As the command ends that has only this to do."""
    try:
        task(cfg)
    except Exception as error:
        ending.report(error, full_trace=False)
        return ending.exit_code(error)
    return 0


def outcome(code: int, base: Path, world: World, before: dict[Path, bytes]) -> Outcome:
    after = world.files()
    gone = [str(file) for file in before if not os.path.lexists(file)]
    changed = [str(file) for file in before if file in after and after[file] != before[file]]
    told = [path for path in base.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    stderr = (base / "2").read_text(errors="replace")
    return Outcome(code, stderr, any(base.rglob(MARKER)), gone, changed, [str(path) for path in told])


def faults(attack: Attack, found: Outcome) -> Iterator[str]:
    """What should not have come of an attack."""
    if found.executed:
        yield "executed"
    yield from (f"leaked into {file}" for file in found.leaks)
    yield from (f"removed {file}" for file in found.gone)
    spared = [file for file in found.changed if "/outside/" in file or not attack.trains]
    yield from (f"changed {file}" for file in spared if Path(file).name not in WRITTEN or "/outside/" in file)
    errors = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
    told = len(errors) == (found.code != 0) and "Traceback" not in found.stderr
    if found.code not in attack.codes or not told or not any(attack.says in line for line in errors or [""]):
        yield f"exit {found.code}: {found.stderr[-1500:]}"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody has tampered with."""
    cfg = entry.compose([*SMALL, "trainer.max_epochs=1", f"paths.logs={tmp_path_factory.mktemp('honest')}"])
    train(cfg)
    return Path(cfg.paths.run)


QUICK = ("train.py weights",)  # what is asked of each commit; the others take half a minute


@pytest.mark.parametrize("door", [pytest.param(d, marks=[pytest.mark.slow] * (d not in QUICK)) for d in DOORS])
def test_nothing_of_an_attack_is_executed_and_it_ends_in_one_line(tmp_path, honest, door):
    attacks = attacks_through(door)
    resolvers.stamp.cache_clear()
    process = multiprocessing.get_context("fork").Process(target=serve, args=(tmp_path, honest, door, attacks))
    with warnings.catch_warnings():  # newer Pythons warn of forks in a process with threads
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    process.join()
    outcomes = {name: Outcome(*each) for name, each in json.loads((tmp_path / "outcomes.json").read_text()).items()}
    assert outcomes.keys() == attacks.keys()
    wrong = [f"{name}: {fault}" for name, found in outcomes.items() for fault in faults(attacks[name], found)]
    assert wrong == [], "\n".join(wrong)


# What is decided before a command's work begins


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, under an environment that loosens what it can."""
    resolvers.stamp.cache_clear()
    monkeypatch.chdir(tmp_path)
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def errors_of(done: Done) -> list[str]:
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def paths_taken_by(command: str) -> set[str]:
    """The arguments of a command that are paths."""
    name = command.removesuffix(".py")
    with Composer(name) as composer:
        cfg = composer.compose(["data=image_folder", "data.root=x"] if name == "train" else [])
    optional_texts = [pattern for pattern, annotation in TYPES.items() if annotation == "str | None"]
    return {path for path in paths(cfg) if any(fnmatch(path, pattern) for pattern in optional_texts)}


# Only written to, a mere name, or set by the run itself; resume=last and auto look through paths.logs, see below.
OUTPUT = {
    "train.py": {"paths.run", "paths.logs", "experiment_name", "monitor"},
    "evaluate.py": {"paths.logs"},
    "predict.py": {"output"},
    "export.py": {"paths.logs", "output"},
    "serve.py": set(),
}


def test_each_command_has_an_attack_through_each_path_that_it_takes():
    # runs.py takes no config; its test lists the folders of all attacks.
    commands = {file.name for file in PROJECT.glob("*.py") if "entry(" in file.read_text()}
    attacked: dict[str, set[str]] = {}
    for door in DOORS:
        command, _, argument = door.partition(" ")
        assert attacks_through(door)
        attacked.setdefault(command, set()).add(argument)
    assert commands == attacked.keys(), "a command was added or removed: so must its doors be"
    for command, arguments in attacked.items():
        assert paths_taken_by(command) - OUTPUT[command] - {"paths.data"} <= arguments
    assert sum(len(attacks_through(door)) for door in DOORS) > 200


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()
        thread.join()


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize(
    "door", some([*CHECKPOINT, "train.py data.root"], "train.py resume", "train.py data.root", "serve.py ckpt")
)
def test_no_address_is_asked_for_anything(hostile, server, monkeypatch, door):
    """All addresses in one command, of which each makes a job."""
    address, asked = server
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.delenv(name)
    command, _, argument = door.partition(" ")
    addresses = [f"{address}/x.ckpt", f"file://{hostile}/x.ckpt", "s3://bucket/x.ckpt"]
    (hostile / "x.ckpt").write_bytes(pickle.dumps(Evil(hostile / "executed")))
    folder = ["data=image_folder", "data.num_classes=2", "data.channels=1", "data.image_size=8"]
    given = folder if argument == "data.root" else ["data=fake"]
    given = given if command == "train.py" else []
    done = Fork(hostile, command, "-m", *given, f"{argument}={','.join(addresses)}").result()
    told = [line for line in errors_of(done) if line.startswith(f"error: {argument}: ")]
    assert told == [
        f"error: {argument}: given {each}; allowed: a path on this machine; download what lies there"
        for each in addresses
    ]
    assert asked == []
    assert {path.name for path in hostile.iterdir()} == {"x.ckpt", "stdout", "stderr"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "door",
    some([*CHECKPOINT, "train.py data.root"], "train.py resume", "train.py data.root", "export.py run", "serve.py run"),
)
def test_a_link_to_itself_is_answered_in_one_line(hostile, door):
    command, _, argument = door.partition(" ")
    loop = hostile / "loop"
    loop.symlink_to(loop)
    settings = [*SETTINGS, "data=image_folder"] if argument == "data.root" else SMALL
    given = settings if command == "train.py" else []
    logs = ["port=0"] if command == "serve.py" else [f"paths.logs={hostile}/logs"]
    given = PREDICT if command == "predict.py" else [*given, *logs]
    write_tree(hostile / "images")
    done = Fork(hostile, command, *(each.format(home=hostile) for each in given), f"{argument}={loop}").result()
    (error,) = errors_of(done)
    assert str(loop) in error


@pytest.mark.parametrize("command", [each for each in OUTPUT if (PROJECT / each).is_file()])
def test_a_command_is_not_repeated_from_a_pickle(hostile, command):
    (hostile / "config.pickle").write_bytes(pickle.dumps(Evil(hostile / "executed")))
    done = Fork(hostile, command, "--experimental-rerun", str(hostile / "config.pickle")).result()
    assert errors_of(done) == [
        "error: --experimental-rerun: given a pickle, which may run any code; allowed: resume=<run folder>"
    ]
    assert not (hostile / "executed").exists()


@pytest.mark.parametrize("given", some(["last", "auto"], "auto"))
def test_runs_that_are_looked_through_for_one_to_go_on_with_run_nothing(hostile, honest, given):
    logs = hostile / "logs" / "default"
    logs.mkdir(parents=True)
    attacks = {
        "a": text("run.json", "[" * 100_000),
        "b": link("run/run.json", "{itself}"),
        "c": in_yaml(YAML_TAGS[0]),
    }
    for name, attack in attacks.items():
        world = World(hostile / name, honest, "train.py resume")
        in_record(status="failed", started_at=name)(world)
        attack(world)
        world.run.rename(logs / name)
    settings = [*SMALL, "trainer.max_epochs=1", f"paths.logs={logs.parent}"]
    done = Fork(hostile, "train.py", *settings, f"resume={given}").result()
    assert not list(hostile.rglob("executed"))
    if given == "auto":
        assert done.returncode == 0, done.stderr
    else:
        (error,) = errors_of(done)
        assert f"resume: given {logs}/c, whose config.yaml holds no config" in error


def test_a_log_that_links_elsewhere_is_not_written_to(hostile, honest):
    world = World(hostile / "world", honest, "train.py resume")
    link("run/train.log", "{home}/outside/precious.ckpt")(world)
    done = Fork(hostile, "train.py", *SMALL, "trainer.max_epochs=2", f"resume={world.run}").result()
    (error,) = errors_of(done)
    assert "whose train.log is a link; allowed: a file; remove the link" in error
    assert world.precious.read_text() == "irreplaceable"


def test_results_of_an_evaluation_that_link_elsewhere_are_replaced(hostile, honest):
    world = World(hostile / "world", honest, "evaluate.py run")
    folder = world.run / "evaluation" / "test"
    folder.mkdir(parents=True)
    for name in ("metrics.json", "confusion_matrix.png", "mistakes.png"):
        link(f"run/evaluation/test/{name}", "{home}/outside/precious.ckpt")(world)
    done = Fork(hostile, "evaluate.py", f"run={world.run}", "trainer.accelerator=cpu").result()
    assert done.returncode == 0, done.stderr
    assert world.precious.read_text() == "irreplaceable"
    assert not any(file.is_symlink() for file in folder.iterdir())


# The files of a callback, wherever its folder is


def kept_at(world: World, dirpath: Path, **state: str) -> dict[str, Any]:
    """What is loaded of the state of the callback that keeps the best checkpoint, if its folder is another."""
    files = {"best_model_path": f"{dirpath}/best.ckpt", "kth_best_model_path": f"{dirpath}/best.ckpt", **state}
    best_model(dirpath=str(dirpath), last_model_path="", **files)(world)
    loaded = WholeCheckpointIO().load_checkpoint(world.run / "checkpoints" / "step_000000002.ckpt")
    return next(state for key, state in loaded["callbacks"].items() if key.startswith("ModelCheckpoint"))


@pytest.mark.parametrize(
    "path", ["{kept}/../outside/precious.ckpt", "{kept}/..", "{kept}", "http://x/y.ckpt", "best.ckpt", "/etc"]
)
def test_a_checkpoint_cannot_have_files_deleted_that_are_not_its_own(tmp_path, honest, path):
    world = World(tmp_path / "world", honest, "train.py resume")
    kept = world.home / "kept"
    with pytest.raises(CheckpointError, match=rf"as a file of ModelCheckpoint; allowed: one of its own in {kept}"):
        kept_at(world, kept, kth_best_model_path=path.format(kept=kept))


@pytest.mark.parametrize("name", ["best.ckpt", "epoch=0-val/loss=0.1.ckpt"])
def test_a_callback_keeps_its_own_files_and_finds_them_in_a_run_that_was_moved(tmp_path, honest, name):
    world = World(tmp_path / "world", honest, "train.py resume")
    elsewhere = world.home / "kept"
    for dirpath, now in ((elsewhere, elsewhere), (Path("/old/checkpoints"), world.run / "checkpoints")):
        keys = ("best_model_path", "kth_best_model_path")
        state = kept_at(world, dirpath, **dict.fromkeys(keys, f"{dirpath}/{name}"))
        assert [state[key] for key in keys] == [f"{now}/{name}"] * 2
        assert list(state["best_k_models"]) == [f"{now}/{name}"]
        assert state["dirpath"] == str(now)

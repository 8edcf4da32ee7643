"""Runs that are killed and resumed, compared by hash with runs that never were.

    python engine/tests/crash.py                the long form: about half an hour on two cores, and the table of
                                         engine/docs/reliability.md
    python engine/tests/crash.py --only kills   the parts whose names hold the word

Each run is forked from this process, which has imported everything, so that one takes a second or two.
"""

import argparse
import ctypes
import hashlib
import inspect
import json
import multiprocessing
import os
import re
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, reduce
from itertools import cycle
from operator import add
from pathlib import Path
from random import Random
from signal import SIGINT, SIGTERM
from typing import Any
from unittest.mock import patch

from bench_root import PROJECT
from heed_signals import heed_signals

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import torch
from PIL import Image

import foreign_runs
from kindling.checkpoints import checkpoint, resume_files
from kindling.cli.entry import compose
from kindling.process.cores import available_cores
from kindling.run_folders.leftovers import remove_leftovers
from kindling.train import train
from kindling.training.task import Task

AUGMENTED = [
    "+data.augment={_target_: kindling.images.augment.Augment, crop_padding: 1, padding_mode: constant, "
    "horizontal_flip: 0.5, alternating_flip: false, rotation: 5, random_erasing: 0.1}"
]
SMALL = [
    *("data=fake", "data.image_size=8", "data.num_images=176", "data.batch_size=16", "data.num_classes=4"),
    *("model=mlp", "model.hidden=[8]", "model.dropout=0.2", "trainer=cpu", "trainer.max_epochs=4"),
    *("trainer.log_every_n_steps=1", "logger=csv", "trainer.enable_model_summary=false"),
    "callbacks.early_stopping.patience=3",
    *AUGMENTED,
]
# Each has about 44 optimizer steps, in epochs of 11 batches.
SCENARIOS: dict[str, list[str]] = {
    "plain": [],
    "uneven accumulation": ["trainer.accumulate_grad_batches=4", "trainer.max_epochs=15"],
    "max_steps": ["trainer.max_steps=42", "trainer.max_epochs=-1"],
    "one cycle": ["scheduler=onecycle", "optimizer=sgd", "optimizer.lr=0.1"],
    "plateau": ["scheduler=plateau", "scheduler.scheduler.patience=0", "optimizer=sgd", "optimizer.lr=1"],
    "validation inside an epoch": ["trainer.val_check_interval=4", "optimizer.lr=0.02"],
    "three of the best, accumulation by a table": [
        *("callbacks.best_checkpoint.save_top_k=3", "trainer.val_check_interval=4", "trainer.max_epochs=9"),
        "+callbacks.table={_target_: lightning.pytorch.callbacks.GradientAccumulationScheduler, "
        "scheduling: {0: 3, 7: 2}}",
    ],
    "EMA and early stopping": [
        *("callbacks=ema", "callbacks.ema.decay=0.8", "callbacks.early_stopping.patience=1"),
        *("trainer.max_epochs=9", "optimizer.lr=2"),
    ],
    "ten techniques": [
        *(
            "model=cnn",
            "model.channels=[4,8]",
            "model.norm=group",
            "model.checkpoint_activations=true",
        ),
        *("mix=mixup_cutmix", "transform=trivial", "data.balanced_sampling=true", "data.fold=1", "data.num_folds=3"),
        *(
            "task.criterion.class_weights=balanced",
            "task.criterion.label_smoothing=0.1",
            "task.criterion.focal_gamma=1",
        ),
        *("layer_lr_decay=0.8", "init=orthogonal", "callbacks=[ema,finetune,tensorboard]", "callbacks.ema.decay=0.8"),
        *(
            "callbacks.finetuning.head_epochs=1",
            "callbacks.finetuning.epochs_per_layer=1",
            "trainer.max_epochs=9",
            "optimizer.lr=0.01",
        ),
        *("trainer.gradient_clip_val=0.5", "trainer.accumulate_grad_batches=2", "trainer.precision=bf16-mixed"),
    ],
    "SWA": ["callbacks=swa", "callbacks.swa.start_epoch=1", "optimizer.lr=0.02"],
    "image folder, 2 workers": ["data=image_folder", "data.in_memory=false", "data.num_workers=2", "data.image_size=8"],
    "random crops of pictures on disk, 2 workers": [
        *("data=image_folder", "data.cache=disk", "data.num_workers=2", "data.image_size=8"),
        "transform=[resized_crop,color_jitter]",
    ],
}
# Modules of bench/foreign; 48 optimizer steps of two optimizers, or 24 of one.
FOREIGN = {
    "GAN of Lightning's documentation": foreign_runs.lines("GAN", "trainer.max_epochs=4"),
    "several loaders of Lightning's demos": foreign_runs.lines("several loaders", "trainer.max_epochs=4"),
}
SHORT = ["trainer.max_epochs=4", "logger=csv", "trainer.enable_model_summary=false"]
# Tasks without images.
TASKS = {
    name: [f"experiment={recipe}", "data.batch_size=4", "trainer=cpu", "trainer.log_every_n_steps=1", *SHORT]
    for name, recipe in {"a number for each row": "sum", "the letter that follows": "next"}.items()
}
OTHERS = FOREIGN | TASKS
EVERY_STEP = ["callbacks.resume_checkpoint.every_n_steps=1", "callbacks.resume_checkpoint.every_minutes=null"]


@dataclass(frozen=True)
class Result:
    """How many cases were tried, and what went wrong in which."""

    number: int
    wrong: list[str]

    def __add__(self, other: "Result") -> "Result":
        return Result(self.number + other.number, self.wrong + other.wrong)


def overrides_of(scenario: str, home: Path) -> list[str]:
    """The overrides of a scenario, whose runs lie below `home`."""
    if scenario in OTHERS:
        return OTHERS[scenario]
    given = [*SMALL, *SCENARIOS[scenario]]
    if "model=cnn" in given:
        given.remove("model.hidden=[8]")
    if "data=image_folder" in given:
        given = [each for each in given if not each.startswith(("data.num_", "+data")) or "workers" in each]
        given = [*given, *AUGMENTED_FOLDER, f"data.root={image_tree(home)}", f"data.cache_dir={home}/cache"]
    return given


AUGMENTED_FOLDER = ["data.augment.crop_padding=1", "data.augment.rotation=5", "data.augment.random_erasing=0.1"]


def image_tree(home: Path) -> Path:
    """A class-per-folder tree with 176 training images."""
    root = home / "images"
    if not root.exists():
        rng = np.random.default_rng(0)
        for split, number in (("train", 44), ("val", 8), ("test", 8)):
            for name in "abcd":
                (root / split / name).mkdir(parents=True)
                for index in range(number):
                    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(root / split / name / f"{index:03}.png")
    return root


def fork(function: Callable[[], Any], output: Path) -> int:
    """Run a function in a forked process with a session of its own; what it prints goes into a file."""
    sys.stdout.flush()
    with warnings.catch_warnings():  # newer Pythons warn of forks in a process with threads
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        for descriptor in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        function()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def command(*overrides: str) -> int:
    """What `python train.py` does, in a forked process that never returns."""
    sys.argv = [str(PROJECT / "train.py"), *overrides]
    runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


def run_here(folder: Path, overrides: Sequence[str]) -> None:
    """Train in this process, in this folder."""
    cfg = compose([*overrides, f"paths.logs={folder.parent}"])
    cfg.paths.run = str(folder)
    train(cfg)


def log_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def run(folder: Path, overrides: Sequence[str]) -> dict[str, str]:
    """The digest of a run that nothing disturbs."""
    code = wait(fork(lambda: run_here(folder, overrides), log_of(folder)))
    assert code == 0, log_of(folder).read_text()
    return digest(folder)


def resume(folder: Path, overrides: Sequence[str]) -> int:
    """The exit code of a forked process that resumes a run."""
    return wait(fork(lambda: run_here(folder, [*overrides, f"resume={folder}"]), log_of(folder)))


def digest(folder: Path) -> dict[str, str]:
    """A hash of each thing that a run leaves, but for times and paths."""
    files = resume_files.newest_first(folder)
    best = folder / "checkpoints" / "best.ckpt"
    record = json.loads((folder / "run.json").read_text())
    with (folder / "timings.csv").open() as stream:
        epochs = [line.partition(",")[0] for line in stream]
    return {
        "last": hash_of(plain(torch.load(files[0], weights_only=True))),
        "best": hash_of(plain(torch.load(best, weights_only=True))) if best.exists() else "",
        "metrics.csv": hash_of((folder / "metrics.csv").read_text()),
        "run.json": hash_of([record["status"], record["metrics"], record["best"]]),
        "timings.csv": hash_of(epochs),
    }


def plain(value: Any) -> Any:
    """A checkpoint's content, its paths relative to the run, and without the config, which tells the command."""
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items() if key != "config"}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), value.contiguous().reshape(-1, 1).view(torch.uint8).tolist()]
    return re.sub(r"^/.*/checkpoints\b", "", value) if isinstance(value, str) else repr(value)


def hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def differences(folder: Path, expected: dict[str, str]) -> list[str]:
    """What differs from a run that was never killed."""
    record = json.loads((folder / "run.json").read_text())
    if record["status"] != "finished":
        return [f"{record['status']}: {log_of(folder).read_text()[-300:]}"]
    found = digest(folder)
    leftovers = [str(file) for file in folder.rglob(".*.tmp")]
    return [name for name in expected if found[name] != expected[name]] + leftovers


def left_of(session: int) -> list[int]:
    """The processes of a session that are alive."""
    alive = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                alive.append(int(file.parent.name))
    return alive


def none_left(session: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while left_of(session) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not left_of(session)


# A checkpoint at each step, each resumed


def train_with_snapshots(folder: Path, overrides: Sequence[str], every: int) -> list[Path]:
    """Train once, and copy the run folder as each checkpoint finds it: what a kill at that moment would leave."""
    snapshots = folder.with_name(f"{folder.name}-snapshots")

    def run() -> None:
        name_last = resume_files.name_last

        def copy(file: Path) -> None:
            name_last(file)
            if int(file.stem[5:]) % every == 0:
                shutil.copytree(folder, snapshots / file.stem)

        resume_files.name_last = copy
        run_here(folder, [*overrides, *EVERY_STEP])

    code = wait(fork(run, log_of(folder)))
    assert code == 0, log_of(folder).read_text()
    return sorted(snapshots.iterdir())


def every_step(home: Path, scenario: str, every: int = 1) -> Result:
    """Resume from each checkpoint of a scenario."""
    overrides, folder = overrides_of(scenario, home), home / "run"
    snapshots = train_with_snapshots(folder, overrides, every)
    expected = digest(folder)

    def check(snapshot: Path) -> list[str]:
        resume(snapshot, [*overrides, *EVERY_STEP])
        return differences(snapshot, expected)

    return check_all(check, snapshots)


# SIGKILL


def kill_three_times(folder: Path, overrides: Sequence[str], random: Random, seconds: float) -> list[str]:
    """Start a run, kill it after a random time, resume it, three times; then let it end. Says what went wrong."""
    wrong = []
    for _ in range(3):
        given = [*overrides, f"resume={folder}"] if (folder / "run.json").exists() else overrides
        pid = fork(lambda given=given: run_here(folder, given), log_of(folder))
        time.sleep(random.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        wait(pid)
        if not none_left(pid):
            wrong.append(f"left: {left_of(pid)}")
    resume(folder, overrides) if (folder / "run.json").exists() else run(folder, overrides)
    return wrong


def random_kills(home: Path, scenario: str, number: int, seed: int = 0) -> Result:
    """Kill runs of a scenario three times each."""
    overrides = [*overrides_of(scenario, home), "callbacks.resume_checkpoint.every_n_steps=3"]
    started = time.monotonic()
    expected = run(home / "run", overrides)
    seconds = time.monotonic() - started

    def check(index: int) -> list[str]:
        folder = home / f"killed-{index}"
        wrong = kill_three_times(folder, overrides, Random(seed + index), seconds)
        return wrong + differences(folder, expected)

    return check_all(check, range(number))


def kill_decoding(home: Path, number: int, seed: int = 0) -> Result:
    """Kill runs three times each that decode into a cache of their own, most of which lasts as long as the training."""
    scenario = "random crops of pictures on disk, 2 workers"
    plain = [each for each in overrides_of(scenario, home) if not each.startswith("data.cache_dir")]
    plain.append("callbacks.resume_checkpoint.every_n_steps=3")
    with patch("kindling.images.store.PART", 1):
        started = time.monotonic()
        expected = run(home / "run", [*plain, f"data.cache_dir={home}/cache"])
        seconds = time.monotonic() - started

        def check(index: int) -> list[str]:
            folder, overrides = home / f"killed-{index}", [*plain, f"data.cache_dir={home}/cache-{index}"]
            wrong = kill_three_times(folder, overrides, Random(seed + index), seconds)
            stores = [sorted((home / name).glob("*.pictures")) for name in ("cache", f"cache-{index}")]
            same = [each.read_bytes() for each in stores[0]] == [each.read_bytes() for each in stores[1]]
            return wrong + differences(folder, expected) + ["the cache differs"] * (not same)

        return check_all(check, range(number))


def kill_command(home: Path, number: int, seed: int = 0) -> Result:
    """Kill `python train.py ... resume=auto` three times each, imports and all; the same command again takes it up."""
    overrides = [*overrides_of("plain", home), "callbacks.resume_checkpoint.every_n_steps=3", "trainer.max_epochs=12"]
    started = time.monotonic()
    expected = run(home / "run", overrides)
    seconds = time.monotonic() - started + 3  # of imports

    def check(index: int) -> list[str]:
        logs, random, wrong = home / f"killed-{index}", Random(seed + index), []
        line = [sys.executable, str(PROJECT / "train.py"), *overrides, "resume=auto", f"paths.logs={logs}"]
        for attempt in range(4):
            with log_of(logs).open("a") as output:
                process = subprocess.Popen(line, stdout=output, stderr=output, start_new_session=True)
            with suppress(subprocess.TimeoutExpired):
                process.wait(random.uniform(0, seconds) if attempt < 3 else 200)
            process.kill()
            process.wait()
            if not none_left(process.pid):
                wrong.append(f"left: {left_of(process.pid)}")
        folder = max(logs.glob("default/*/run.json")).parent
        return wrong + differences(folder, expected)

    return check_all(check, range(number))


def kill_writes(home: Path, number: int, seed: int = 0) -> Result:
    """Kill a process while it writes a checkpoint of 8 MB, with $TMPDIR on another file system."""
    content = {"state_dict": {"weight": torch.rand(2_000_000)}}
    checkpoint.describe(content, {"model": {}}, {})
    io = checkpoint.WholeCheckpointIO()

    def write(folder: Path) -> None:
        os.environ["TMPDIR"] = "/dev/shm"
        for step in range(1000):
            (folder / "begun").write_text(str(step))
            file = folder / "checkpoints" / f"step_{step:09}.ckpt"
            io.save_checkpoint(content | {"global_step": step}, file)
            resume_files.name_last(file)
            for old in resume_files.newest_first(folder)[3:]:
                old.unlink()

    def check(index: int) -> list[str]:
        folder = home / f"killed-{index}"
        (folder / "checkpoints").mkdir(parents=True)
        pid = fork(lambda: write(folder), log_of(folder))
        while len(resume_files.newest_first(folder)) < 2:
            time.sleep(0.001)
        time.sleep(Random(seed + index).uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        wait(pid)
        begun = int((folder / "begun").read_text() or 0)
        remove_leftovers(folder)
        newest = resume_files.newest_whole(folder)
        last = checkpoint.load(folder / "checkpoints" / "last.ckpt")
        wrong = []
        if newest is None or newest.content["global_step"] < begun - 1:
            wrong.append(f"writing {begun}, found {newest and newest.content['global_step']}")
        if not torch.equal(last["state_dict"]["weight"], content["state_dict"]["weight"]):
            wrong.append("last.ckpt holds something else")
        if list(folder.rglob(".*.tmp")):
            wrong.append("left a temporary file")
        shutil.rmtree(folder)
        return wrong

    return check_all(check, range(number))


# Disks that are full, folders that cannot be written

DISKS = ("full", "limited", "read-only")


def full_disk(home: Path, kind: str, after: int) -> Result:
    """A disk that takes no more after so many checkpoints: one line, exit 1, and the old files whole."""
    folder = home / f"{kind}-{after}"
    overrides = [*overrides_of("plain", home), *EVERY_STEP, f"paths.logs={folder}"]
    folder.mkdir()
    mounted = kind == "full" and _mount(folder)
    if kind == "full" and not mounted:  # only root may
        return Result(0, [])
    folder.chmod(0o777)

    def run() -> None:
        name_last, saved = resume_files.name_last, []

        def count(file: Path) -> None:
            name_last(file)
            saved.append(file)
            if len(saved) == after:
                _refuse(kind, file.parent)

        obey_modes()
        if after == 0:
            _refuse(kind, folder)
        resume_files.name_last = count
        command(*overrides)

    code = wait(fork(run, log_of(folder)))
    shown = ("mlp on fake, ", "data: ", "cpu (", "4 epochs of ", "epoch ", "saved at ")
    lines = [line for line in log_of(folder).read_text().splitlines() if not line.startswith(shown)]
    wrong = [] if code == 1 else [f"exit {code}"]
    if len(lines) != 1 or not lines[0].startswith("error: "):
        wrong.append(" | ".join(lines)[:1500])
    kept = list(folder.rglob("step_*.ckpt"))
    for file in folder.rglob("*.ckpt"):
        checkpoint.load(file)
    if len(kept) < min(after, 3):  # the oldest may have become undeletable
        wrong.append(f"kept {kept}")
    wrong += [f"{file}: {error}" for file in folder.rglob("run.json") if (error := _misread(file))]
    wrong += [f"{file}: running" for file in folder.rglob("run.json") if mounted and '"running"' in file.read_text()]
    if mounted:
        subprocess.run(["umount", folder], check=True)
    return Result(1, [f"{kind} after {after}: {each}" for each in wrong])


def obey_modes() -> None:
    """Take from root what lets it write into read-only folders: CAP_DAC_OVERRIDE, see capabilities(7)."""
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    libc.capget(header, sets)
    sets[0] &= ~0b10
    libc.capset(header, sets)


def _mount(folder: Path) -> bool:
    return (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True).returncode == 0
    )


def _misread(file: Path) -> str:
    try:
        json.loads(file.read_bytes())
    except ValueError as error:
        return str(error)
    return ""


def _refuse(kind: str, folder: Path) -> None:
    if kind == "full":
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
    elif kind == "limited":  # no file may grow beyond
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, resource.RLIM_INFINITY))
    else:
        for each in (folder, *folder.rglob("*/")):
            each.chmod(0o555)


# Damage


def damage(content: bytes, how: str, random: Random) -> bytes:
    position = random.randrange(len(content))
    if how == "a flipped bit":
        return content[:position] + bytes([content[position] ^ 1 << random.randrange(8)]) + content[position + 1 :]
    if how == "cut":
        return content[:position]
    if how == "a zeroed block":
        start = position // 512 * 512
        return content[:start] + bytes(len(content[start : start + 4096])) + content[start + 4096 :]
    return random.choice([b"", b"hello", content[::-1], random.randbytes(len(content)), b"PK\x03\x04" + bytes(100)])


def damaged(home: Path, number: int, resumed: int, seed: int = 0) -> Result:
    """Damage the newest checkpoint of a run in many ways; a few are resumed to the end."""
    overrides, folder = overrides_of("plain", home), home / "run"
    snapshot = train_with_snapshots(folder, overrides, 20)[0]
    expected, file = digest(folder), resume_files.newest_first(snapshot)[0]
    content, right = file.read_bytes(), hash_of(plain(checkpoint.load(file)))
    before = hash_of(plain(checkpoint.load(resume_files.newest_first(snapshot)[1])))

    def check(index: int) -> list[str]:
        how = ["a flipped bit", "cut", "a zeroed block", "another file"][index % 4]
        copy = home / f"damaged-{index}"
        shutil.copytree(snapshot, copy)
        broken = resume_files.newest_first(copy)[0]
        broken.write_bytes(damage(content, how, Random(seed + index)))
        wrong = []
        told: list[str] = []
        with patch.object(resume_files.log, "warning", lambda message, *values: told.append(message % values)):
            found = resume_files.newest_whole(copy)
        if found is None or hash_of(plain(found.content)) != (right if found.path == broken else before):
            wrong.append(f"{how}: loaded wrongly")
        elif found.path != broken and not any(str(broken) in line for line in told):
            wrong.append(f"{how}: not named")
        if index < resumed:
            resume(copy, [*overrides, *EVERY_STEP])
            wrong += differences(copy, expected)
        shutil.rmtree(copy)
        return wrong

    return check_all(check, range(number))


# Signals

# Where a signal comes: the function during whose call it does, and which call of the n-th run.
PLACES: dict[str, tuple[Any, str, Callable[[int], int]]] = {
    "training": (Task, "training_step", lambda n: 5 + 4 * n),
    "validation": (Task, "validation_step", lambda n: 4 + n),
    "accumulation": (Task, "training_step", lambda n: 6 + 4 * n),
    "saving": (checkpoint, "damaged_record", lambda n: 1 + n),
    "first batch": (Task, "training_step", lambda n: 1),
    "sanity check": (Task, "validation_step", lambda n: 1),
}


def signal_at(place: str, signum: int, number: int) -> None:
    """Send this process a signal when it comes to a place."""
    target, name, call = PLACES[place]
    original, calls = getattr(target, name), []

    def signalling(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == call(number):
            os.kill(os.getpid(), signum)
        return original(*arguments, **named)

    signalling.__signature__ = inspect.signature(original)  # pyright: ignore[reportFunctionMemberAccess]
    setattr(target, name, signalling)


def count_batches(file: Path) -> None:
    """Write down each batch that this process trains on."""
    step = Task.training_step

    def counted(self: Task, batch: Any, batch_idx: int) -> Any:
        with file.open("a") as stream:
            stream.write(f"{self.current_epoch} {batch_idx}\n")
        return step(self, batch, batch_idx)

    Task.training_step = counted  # pyright: ignore[reportAttributeAccessIssue]


def signals(
    home: Path,
    number: int,
    places: Iterable[str] = tuple(PLACES),
    signums: Iterable[signal.Signals] = (SIGINT, SIGTERM),
) -> Result:
    """Send each signal at each place, so many times, then resume and compare."""
    overrides = [*overrides_of("uneven accumulation", home), "callbacks.resume_checkpoint.every_n_steps=4"]
    expected = run(home / "run", overrides)

    def check(case: tuple[str, signal.Signals, int]) -> list[str]:
        place, signum, index = case
        folder = home / f"{place} {signum.name} {index}".replace(" ", "-")
        batches = folder.with_suffix(".batches")

        def signalled() -> None:
            count_batches(batches)
            signal_at(place, signum, index)
            command(*overrides, f"paths.logs={home}", f"hydra.run.dir={folder}")

        def resumed() -> None:
            count_batches(batches)
            command(*overrides, f"paths.logs={home}", f"resume={folder}")

        code = wait(fork(signalled, log_of(folder)))
        record = json.loads((folder / "run.json").read_text())
        wrong = [] if code == 128 + signum else [f"exit {code}: {log_of(folder).read_text()[-300:]}"]
        if record["status"] != "interrupted":
            wrong.append(record["status"])
        wait(fork(resumed, log_of(folder)))
        trained = batches.read_text().splitlines()
        if len(trained) != len(set(trained)):
            wrong.append(f"{len(trained) - len(set(trained))} batches were repeated")
        return wrong + differences(folder, expected)

    cases = [(place, signum, n) for n in range(number) for place in places for signum in signums]
    return check_all(check, cases)


# Workers


def workers(home: Path, numbers: Sequence[int] = (1, 2, 4), every: int = 10) -> Result:
    """No, 1, 2 and 4 workers, and a change between them at a resume, give one hash."""
    overrides = overrides_of("image folder, 2 workers", home)

    def with_workers(number: int) -> list[str]:
        return [*overrides, f"data.num_workers={number}", *EVERY_STEP]

    expected = run(home / "0", with_workers(0))

    def check(number: int) -> list[str]:
        found = run(home / str(number), with_workers(number))
        return [name for name in expected if found[name] != expected[name]]

    alone = check_all(check, numbers)
    snapshots = train_with_snapshots(home / "snapshots", with_workers(2), every)

    def change(case: tuple[Path, int]) -> list[str]:
        resume(case[0], with_workers(case[1]))
        return differences(case[0], expected)

    return alone + check_all(change, list(zip(snapshots, cycle((0, 1, 4)), strict=False)))


# All of them


def check_all(check: Callable[[Any], list[str]], cases: Sequence[Any]) -> Result:
    """Check all cases, as many at a time as there are cores; each in a forked process that may fork others."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def share(index: int) -> None:
        for case in cases[index::num_cores]:
            try:
                wrong = check(case)
            except Exception:
                wrong = [traceback.format_exc()]
            results.put([f"{case}: {each}" for each in wrong])

    num_cores = min(available_cores(), len(cases))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        processes = [context.Process(target=share, args=(index,)) for index in range(num_cores)]
        for process in processes:
            process.start()
    found = [results.get() for _ in cases]
    for process in processes:
        process.join()
    return Result(len(cases), [line for lines in found for line in lines])


def parts() -> Mapping[str, Callable[[Path], Result]]:
    """The long form: the name of each part, and what makes it."""
    every = {
        f"a checkpoint at each step, each resumed: {scenario}": partial(every_step, scenario=scenario)
        for scenario in (*SCENARIOS, *OTHERS)
    }
    disks = [(kind, after) for kind in DISKS for after in (0, 1, 3, 5)]
    return every | {
        "SIGKILL at random times, three a run: in memory": partial(random_kills, scenario="plain", number=90),
        "SIGKILL at random times, three a run: 2 workers": partial(
            random_kills, scenario="image folder, 2 workers", number=90
        ),
        **{
            f"SIGKILL at random times, three a run: {scenario}": partial(random_kills, scenario=scenario, number=15)
            for scenario in OTHERS
        },
        "SIGKILL of runs that decode into a cache, three a run": partial(kill_decoding, number=20),
        "SIGKILL of the command, three a run": partial(kill_command, number=20),
        "SIGKILL during the write, $TMPDIR on another file system": partial(kill_writes, number=100),
        "disk full or folder read-only": lambda home: reduce(add, (full_disk(home, *case) for case in disks)),
        "damaged checkpoints": partial(damaged, number=320, resumed=12),
        "SIGTERM and SIGINT in training, validation, accumulation, saving, first batch, sanity check": partial(
            signals, number=4
        ),
        "0, 1, 2, 4 workers, and a change at a resume": workers,
    }


def main() -> None:
    heed_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a word in the names of the parts to run")
    chosen = {name: part for name, part in parts().items() if parser.parse_args().only in name}
    total: list[str] = []
    print("| test | cases | wrong | seconds |\n|---|---|---|---|")
    for name, part in chosen.items():
        with tempfile.TemporaryDirectory(prefix="crash-") as home:
            os.chmod(home, 0o755)
            started = time.monotonic()
            result = part(Path(home))
        total += result.wrong
        print(f"| {name} | {result.number} | {len(result.wrong)} | {time.monotonic() - started:.0f} |", flush=True)
        for line in result.wrong[:5]:
            print(f"    {line[:2000]}", file=sys.stderr)
    sys.exit(bool(total))


if __name__ == "__main__":
    main()

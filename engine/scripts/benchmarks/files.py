"""A set of very many files: how soon a run of it starts, and whether an epoch of it grows in memory."""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measured import PROJECT
from benchmarks.table import Row

NUM_FILES, NUM_OF_EPOCH = 1_000_000, 100_000
NUM_CLASSES, NUM_WORKERS = 100, 2
# Names that a file may have; ext4 has up to 65,000.
MOST_LINKS = 50_000
SIDE, BATCH = 16, 256
# What a process does that has never seen the set, or has: from the settings to the first batch.
START = """
import sys, json, time
sys.path[:0] = [{scripts!r}]
from benchmarks import files
print(json.dumps(files.started({root!r}, {cache!r}, until={until!r})))
"""
BEFORE = ("settings", "listed and checked", "first batch")


def files() -> list[Row]:
    """A million files, which are links to a few pictures, and an epoch of a tenth of them."""
    with tempfile.TemporaryDirectory(dir=PROJECT / "data") as folder:
        root, cache = Path(folder, "images"), Path(folder, "cache")
        make(root, NUM_FILES)
        # Folders that have just changed are not trusted.
        time.sleep(3)
        first, warm = (in_a_process(root, cache, until="first batch") for _ in range(2))
        parts = ", ".join(f"{name} {warm[name]:.1f}" for name in BEFORE)
        few = Path(folder, "few")
        make(few, NUM_OF_EPOCH)
        grown = in_a_process(few, Path(folder, "cache of few"), until="end of epoch")
    first_s, warm_s = (sum(each[name] for name in BEFORE) for each in (first, warm))
    million, epoch = f"{NUM_FILES:,} files", f"{NUM_OF_EPOCH:,} files, {NUM_WORKERS} workers"
    return [
        Row(f"{million}: first start, every folder listed, every file's ends read", first_s, "s"),
        Row(f"{million}: start when warm, from settings to the first batch ({parts})", warm_s, "s", "<= 5"),
        Row(f"{million}: memory of that process beyond its imports", warm["memory"], "MB"),
        Row(f"{epoch}: memory after a tenth of an epoch", grown["early"], "MB"),
        Row(f"{epoch}: growth from there to half of it", grown["half"] - grown["early"], "MB"),
        Row(f"{epoch}: growth from half of it to its end", grown["late"] - grown["half"], "MB", "<= 10"),
    ]


def make(root: Path, num: int) -> None:
    """A tree of `num` names of a few pictures."""
    sources = root.with_name(f"{root.name} sources")
    sources.mkdir(parents=True)
    for place in range(-(-num // MOST_LINKS)):
        pixels = np.random.default_rng(place).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        written = io.BytesIO()
        Image.fromarray(pixels).save(written, "JPEG")
        (sources / str(place)).write_bytes(written.getvalue())
    each = num // NUM_CLASSES
    for label in range(NUM_CLASSES):
        folder = root / f"class_{label:03}"
        folder.mkdir(parents=True)
        for index in range(each):
            os.link(sources / str((label * each + index) // MOST_LINKS), folder / f"{index:06}.jpg")


def in_a_process(root: Path, cache: Path, until: str) -> dict[str, float]:
    code = START.format(scripts=str(Path(__file__).parents[1]), root=str(root), cache=str(cache), until=until)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def started(root: str, cache: str, until: str) -> dict[str, float]:
    """Seconds of each part of a start, and megabytes."""
    import kindling.images.image_folder

    # Imports are of every run, whatever its data.
    import kindling.train  # noqa: F401
    from kindling.cli.entry import compose
    from kindling.config.composition import instantiate

    before, found, at = memory(), {}, time.perf_counter()

    def note(name: str) -> None:
        nonlocal at
        found[name], at = time.perf_counter() - at, time.perf_counter()

    given = [f"data.root={root}", f"data.cache_dir={cache}", "data.cache=none", f"data.batch_size={BATCH}"]
    cfg = compose(["data=image_folder", *given, f"data.num_workers={NUM_WORKERS}"])
    note("settings")
    data: Any = instantiate(cfg.data, "data")
    data.setup("fit")
    note("listed and checked")
    batches = iter(data.train_dataloader())
    next(batches)
    note("first batch")
    found["memory"] = memory() - before
    if until == "end of epoch":
        found |= over_an_epoch(batches)
    return found


def over_an_epoch(batches: Any) -> dict[str, float]:
    """Megabytes after a tenth of an epoch, at its half, and at its end."""
    num = int(0.8 * NUM_OF_EPOCH) // BATCH
    marks = {num // 10: "early", num // 2: "half", num - 1: "late"}
    return {marks[place]: memory() for place, _ in enumerate(batches, start=2) if place in marks}


def memory() -> float:
    """Megabytes of this process and its workers, those that they share counted once."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return sum(map(pss, ["self", *children]))


def pss(process: str) -> float:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000

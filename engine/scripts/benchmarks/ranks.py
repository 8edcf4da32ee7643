"""What a second process on the same machine brings and costs: time, memory, communication."""

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.commands import TRAIN
from benchmarks.table import Row

# A step of tens of milliseconds, for which nothing is read: 0.4 million weights.
SETTINGS = (
    *("model=vit", "model.dim=96", "model.depth=4", "data=fake", "data.image_size=28", "data.num_images=2048"),
    *("trainer.max_epochs=4", "test=false", "logger=csv", "callbacks.early_stopping=null", "callbacks.summary=null"),
    *("callbacks.doctor=null", "callbacks.resume_checkpoint.every_minutes=null", "trainer.num_sanity_val_steps=0"),
)
BATCH = 128
# 176 MiB of images in memory, of which little is trained on: what is measured is where they lie.
HELD = (
    *("data.image_size=32", "data.channels=3", "data.num_images=40000", f"data.batch_size={BATCH}"),
    *("trainer.limit_train_batches=20", "trainer.limit_val_batches=1"),
)
ROUNDS = 2
# Readings of memory before the end.
NUM_LAST = 8
# The sum over two processes of so many bytes as the gradients have, as DDP computes it: the median of many.
ALL_REDUCE = """
import statistics, sys, time, torch, torch.distributed as group
rank, store, num = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
group.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
gradients, seconds = torch.ones(num), []
for _ in range(200):
    group.barrier()
    started = time.perf_counter()
    group.all_reduce(gradients)
    seconds.append(time.perf_counter() - started)
print(1000 * statistics.median(seconds[20:]))
"""


class Measured(NamedTuple):
    """Milliseconds of a step, and MiB of memory that all processes have together, what they share counted once.

    The most of it, and as training ends.
    """

    step_ms: float
    memory_mib: float
    at_last_mib: float


def ranks() -> list[Row]:
    """A step of one process and of two with the same batch; and of two that have nothing to do with each other."""
    one = (f"data.batch_size={BATCH}", "trainer=cpu")
    half = (f"data.batch_size={BATCH // 2}", "trainer=cpu")
    both = (f"data.batch_size={BATCH}", "trainer=ddp_cpu")
    variants = {"one thread": ([one], 1), "one": ([one], 2), "two": ([both], 2), "apart": ([half, half], 1)}
    found: dict[str, list[Measured]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, (commands, threads) in variants.items():
            found[name].append(measured(commands, threads))
    best = {name: min(each) for name, each in found.items()}
    # Memory is the same each time.
    one_holds, two_hold = (measured([(f"trainer={name}", *HELD)], 1).at_last_mib for name in ("cpu", "ddp_cpu"))
    two, apart, num = best["two"].step_ms, best["apart"].step_ms, num_gradients()
    return [
        Row(f"a step of {BATCH} images, one process with one thread", best["one thread"].step_ms, "ms"),
        Row("one process with two threads", best["one"].step_ms, "ms"),
        Row("two processes with a thread each", two, "ms"),
        Row("two that do half of it each and have nothing to do with each other", apart, "ms"),
        Row("two processes, against one with one thread", best["one thread"].step_ms / two, "times as fast"),
        Row("communication and waiting, of a step of two processes", (two - apart) / two),
        Row("gradients that each process sends and gets in a step", num * 4 / 2**20, "MiB"),
        Row("the sum of them over two processes, by itself", min(all_reduce_ms(num) for _ in range(ROUNDS)), "ms"),
        Row("memory of one process", best["one"].memory_mib, "MiB"),
        Row("memory of two processes", best["two"].memory_mib, "MiB"),
        Row("of one with 176 MiB of images, as it trains", one_holds, "MiB"),
        Row("of two with 176 MiB of images, as they train", two_hold, "MiB"),
    ]


def measured(commands: Sequence[Sequence[str]], threads: int) -> Measured:
    """The mean step of the quickest epoch but the first, and the most memory, of commands that run side by side."""
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                [sys.executable, TRAIN, *SETTINGS, *command, f"hydra.run.dir={folder}/{number}"],
                env=with_threads(threads),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number, command in enumerate(commands)
        ]
        seen = [0.0]
        while any(each.poll() is None for each in started):
            seen.append(sum(memory_mib(pid) for each in started for pid in family(each.pid)))
            time.sleep(0.5)
        assert not any(each.returncode for each in started)
        steps = [max(steps_a_second(Path(folder, str(number)))) for number in range(len(commands))]
    return Measured(1000 / min(steps), max(seen), statistics.median(seen[-NUM_LAST:]))


def with_threads(number: int) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(number), "CUDA_VISIBLE_DEVICES": ""}


def steps_a_second(run: Path) -> list[float]:
    with (run / "timings.csv").open() as stream:
        return [float(row["steps_per_s"]) for row in csv.DictReader(stream)][1:]


def family(pid: int) -> Iterator[int]:
    """A process and those that it has started."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def memory_mib(pid: int) -> float:
    """The proportional set size: a page that n processes share counts 1/n."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def num_gradients() -> int:
    """Of a ring of two: each process sends as many as there are, and gets as many."""
    from kindling.cli.entry import compose
    from kindling.config.composition import instantiate

    cfg = compose([each for each in SETTINGS if each.startswith(("model", "data"))])
    net: torch.nn.Module = instantiate(cfg.model, "model")
    return sum(each.numel() for each in net.parameters())


def all_reduce_ms(num: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        commands = [[sys.executable, "-c", ALL_REDUCE, rank, f"{folder}/store", str(num)] for rank in "01"]
        pair = [subprocess.Popen(each, stdout=subprocess.PIPE, env=with_threads(1)) for each in commands]
        printed = [each.communicate()[0] for each in pair]
    assert not any(each.returncode for each in pair)
    return max(map(float, printed))

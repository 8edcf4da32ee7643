"""Tries each launcher of several processes by its real command, and prints what was seen as rows of a table.

    python engine/scripts/launchers.py                    Lightning's own, ddp_spawn, torchrun, and srun if it is there
    python engine/scripts/launchers.py torchrun srun      these

Each trains two epochs as one process does; then a process is killed, told to end, or stopped, and the run is given
again. Minutes each.
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

PROJECT = Path(__file__).resolve().parents[2]
OWN = [sys.executable, "train.py"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--shutdown-timeout=10", "train.py"]
LAUNCHERS = {
    "python": OWN,
    "ddp_spawn": [*OWN, "trainer.strategy=ddp_spawn"],
    "torchrun": TORCHRUN,
    "srun": ["srun", "--ntasks-per-node=2", "--kill-on-bad-exit=1", *OWN],
}
SILENCE_S = 60
SETTINGS = [
    *("model=mlp", "model.hidden=[16]", "model.dropout=0", "data=fake", "data.num_images=352", "data.num_classes=4"),
    *("data.image_size=8", "data.batch_size=16", "logger=csv", "callbacks.early_stopping=null", "test=false"),
    *("trainer.max_epochs=40", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false", "resume=auto"),
    *("callbacks.resume_checkpoint.every_n_steps=5", f"callbacks.resume_checkpoint.silence_s={SILENCE_S}"),
]
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
# It may take so long until two processes have imported everything.
FULL_S = 600.0


class Command:
    """A run in a folder, by the command of a launcher."""

    def __init__(self, launcher: list[str], folder: Path, *further: str):
        self.folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = [*SETTINGS, *further, f"hydra.run.dir={folder}", f"paths.logs={folder.parent}"]
        self.file = folder.parent / "words.txt"
        with self.file.open("a") as words:
            given = [*launcher, *arguments]
            self.process = subprocess.Popen(given, cwd=PROJECT, stdout=words, stderr=subprocess.STDOUT)

    def result(self) -> int:
        return self.process.wait(FULL_S)

    def processes(self) -> list[int]:
        """All that work for it, whoever has started them."""
        named = (pid for pid, words in commands() if str(self.folder) in words)
        return sorted({*named, *descendants(self.process.pid)})

    def rank(self, number: int) -> int:
        """Of its processes; those that are spawned have no variable of their own."""
        spawned = [pid for pid in descendants(self.process.pid) if "spawn_main" in words_of(pid)]
        if spawned:
            return spawned[number]
        ranks = (pid for pid in self.processes() if "train.py" in words_of(pid) and rank_of(pid) == str(number))
        # Slurm's own and torchrun have the command in theirs too.
        return next(
            pid for pid in ranks if "torch.distributed.run" not in words_of(pid) and "srun" not in words_of(pid)
        )

    def reach(self, step: int) -> None:
        table = self.folder / "metrics.csv"
        deadline = time.monotonic() + FULL_S
        while not table.exists() or len(table.read_text().splitlines()) <= step:
            assert self.process.poll() is None, self.file.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)


def commands() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        yield int(folder.name), words_of(int(folder.name))


def words_of(pid: int) -> str:
    return read(pid, "cmdline").replace("\0", " ")


def rank_of(pid: int) -> str:
    pairs = [pair.partition("=") for pair in read(pid, "environ").split("\0")]
    given = {name: value for name, _, value in pairs}
    return next((given[name] for name in RANKS if name in given), "0")


def read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    children = [int(each) for each in read(pid, f"task/{pid}/children").split()]
    return [*children, *(each for child in children for each in descendants(child))]


def disturbed(launcher: list[str], folder: Path, signum: signal.Signals) -> str:
    """What became of a run of whose second process a signal was sent; its folder is left as it is then."""
    run = Command(launcher, folder)
    run.reach(30)
    os.kill(run.rank(1), signum)
    started = time.monotonic()
    while (run.process.poll() is None or run.processes()) and time.monotonic() < started + 2 * SILENCE_S:
        time.sleep(0.1)
    left = run.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return f"{time.monotonic() - started:.0f} s, {run.process.wait()}" + f", {len(left)} left" * bool(left)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def distance(one: Path, other: Path) -> float:
    ours, theirs = weights(one), weights(other)
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def rows_differ(one: Path, other: Path) -> bool:
    tables: list[Any] = []
    for folder in (one, other):
        with (folder / "metrics.csv").open() as stream:
            tables.append(list(csv.reader(stream)))
    return tables[0] != tables[1]


def tried(name: str, single: Path, home: Path) -> list[str]:
    """The cells of a row."""
    launcher, whole = [*LAUNCHERS[name]], home / name / "whole" / "run"
    # The trainer follows the entry in each of them.
    launcher.insert(launcher.index("train.py") + 1, "trainer=ddp_cpu")
    code = Command(launcher, whole).result()
    if code:
        return [f"no: exit code {code}"]
    runs = list(whole.parent.rglob("run.json"))
    cells = [f"{distance(single, whole):.0e}", str(len(runs))]
    for signum in SIGNALS:
        folder = home / name / signum.name / "run"
        cells.append(disturbed(launcher, folder, signum))
        if signum == signal.SIGTERM:
            shutil.copytree(folder, home / name / "other" / "run")
        code = Command(launcher, folder).result()
        same = not code and distance(whole, folder) == 0 and not rows_differ(whole, folder)
        cells[-1] += "; resumed to the same bits" if same else f"; resumed: {code}, NOT the same bits"
    other = home / name / "other" / "run"
    code = Command(OWN, other, "trainer=cpu").result()
    return [*cells, f"{distance(single, other):.0e}" if not code else f"no: exit code {code}"]


def main() -> None:
    if "-h" in sys.argv or "--help" in sys.argv:
        sys.exit(print(__doc__))
    chosen = sys.argv[1:] or [name for name in LAUNCHERS if name != "srun" or shutil.which("srun")]
    if unknown := [name for name in chosen if name not in LAUNCHERS]:
        sys.exit(f"error: given {unknown[0]}; allowed: {', '.join(LAUNCHERS)}")
    print("| launcher | from one process | folders | SIGKILL | SIGTERM | SIGSTOP | goes on as one process |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="launchers-") as home:
        single = Path(home) / "single" / "run"
        assert Command(OWN, single, "trainer=cpu").result() == 0
        for name in chosen:
            print(f"| {name} | {' | '.join(tried(name, single, Path(home)))} |", flush=True)


if __name__ == "__main__":
    main()

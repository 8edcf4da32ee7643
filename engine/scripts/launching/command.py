"""A command with all processes that come of it, wherever these are started."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench_root import PROJECT
from test_processes import free_port, until

TRAIN = str(PROJECT / "train.py")
# In the environment of all processes of a command.
MARK = "LAUNCHERS_MARK"
# A busy machine takes so long to start.
START_S = 600
# In the command line of a process that ddp_spawn has started.
SPAWNED = "multiprocessing.spawn"
# What launchers number their processes by.
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")


STARTED: list["Command"] = []


class Command:
    """A command that trains below a folder.

    Args:
        line: the program and what it is given.
        logs: where runs are logged, and what is printed is kept.
    """

    def __init__(self, line: Sequence[str], logs: Path):
        STARTED.append(self)
        logs.mkdir(exist_ok=True)
        self.logs, self.mark = logs, secrets.token_hex(8)
        self.ranks = logs / f"ranks-{self.mark}"
        self.ranks.mkdir()
        self.output = self.ranks / "output.txt"
        shows = "+callbacks.shows_rank={_target_:bench.launched.ShowsRank}"
        # torchrun reads its port there, since others may run here.
        own = {MARK: self.mark, "LAUNCHERS_RANKS": str(self.ranks), "PET_MASTER_PORT": free_port()}
        own |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        with self.output.open("w") as stream:
            self.process = subprocess.Popen(
                [*line, shows, f"paths.logs={logs}"],
                env=os.environ | own,
                cwd=PROJECT,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def words(self) -> str:
        return self.output.read_text()

    @property
    def members(self) -> dict[int, dict[str, str]]:
        """The environment of each process that runs."""
        return {pid: found for pid, found in environments() if found.get(MARK) == self.mark}

    def reach(self, step: int) -> None:
        """Wait until so many steps are logged, and it is known who has which rank."""

        def is_there() -> bool:
            assert self.process.poll() is None, self.words
            tables = self.logs.rglob("metrics.csv")
            return any(len(each.read_text().splitlines()) > step for each in tables) and any(self.ranks.glob("rank-*"))

        until(is_there, within_s=START_S)

    def signal(self, signum: signal.Signals, target: str) -> bool:
        """Send a signal to a rank, or to the command if there is no such process yet; False if it has ended."""
        if signum == signal.SIGSTOP:
            # Who is alone is missed by nobody.
            until(lambda: self._of(target) or self.process.poll() is not None, within_s=START_S)
        pid = self._of(target) or self.process.pid
        with suppress(ProcessLookupError):
            if self.process.poll() is None:
                os.kill(pid, signum)
                return True
        return False

    def _of(self, rank: str) -> int | None:
        """The process of a rank, as far as it is known."""
        file = self.ranks / f"rank-{rank}"
        if file.exists() and file.read_text():
            return int(file.read_text())
        for pid, found in self.members.items():
            if [found[key] for key in RANKS if key in found][:1] == [rank]:
                return pid
        # Those of ddp_spawn are told their rank later; they begin one after the other.
        spawned = sorted(pid for pid in self.members if SPAWNED in command_of(pid))
        return dict(zip("01", spawned, strict=False)).get(rank)

    def end(self, within_s: float) -> tuple[float, int]:
        """How long it takes until all processes are gone, and how many it takes longer than it may."""
        started = time.monotonic()
        while (self.process.poll() is None or self.members) and time.monotonic() < started + within_s:
            time.sleep(0.05)
        took, left = time.monotonic() - started, self.members
        self.kill()
        return took, len(left)

    def kill(self) -> None:
        for pid in self.members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)

    def done(self, within_s: float) -> float:
        """The seconds until it has ended, and all is right."""
        took, left = self.end(within_s)
        assert not left, f"{left} processes after {within_s:.0f} s: {self.words[-600:]}"
        assert self.process.returncode == 0, f"exit code {self.process.returncode}: {self.words[-600:]}"
        return took


@contextmanager
def ended() -> Iterator[None]:
    """Leave no process behind, also if this one is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        for each in STARTED:
            each.kill()


def command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


def environments() -> Iterator[tuple[int, dict[str, str]]]:
    """Of each process that this user may look at; a zombie has none."""
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            lines = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        yield int(file.parent.name), dict(each.split("=", 1) for each in lines if "=" in each)

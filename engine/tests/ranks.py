"""Runs of two processes of which one is killed, told to end or stopped, anywhere: python engine/tests/ranks.py

Each is started as Lightning starts its own processes, or as torchrun does, and given again afterwards: it ends with the
bits of a run that nothing happened to. The processes are forked from this one, which has imported everything.
"""

import argparse
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch.distributed

from heed_signals import heed_signals
from test_processes import PAIR, Run, free_port, outcome, until

# The last one is torch's own: --shutdown-timeout counts only where torchrun is told to end.
GONE_S, HELD_S, SHUTDOWN_S = 10.0, 60.0, 30.0
SETTINGS = [*PAIR, "resume=auto"]
STEPS = 40


class Case(NamedTuple):
    """What happens to which process, and when.

    Attributes:
        place: joining (the group is being made), training, or ending (the last validation, the test).
        after_s: from then on.
        step: of training.
    """

    signum: signal.Signals
    rank: int
    place: str
    after_s: float
    step: int
    by_torchrun: bool

    def __str__(self) -> str:
        when = f"training, step {self.step}" if self.place == "training" else self.place
        by = "torchrun" if self.by_torchrun else "Lightning"
        return f"{self.signum.name} to rank {self.rank}, {when} + {self.after_s:.1f} s, started by {by}"


def drawn(chance: random.Random, number: int) -> Case:
    """Each signal and each rank in turn; the rest by chance."""
    signum = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)[number % 3]
    place = chance.choice(["joining", "training", "training", "ending"])
    after_s = chance.uniform(0, {"joining": 1, "training": 0.1, "ending": 0.3}[place])
    return Case(signum, number // 3 % 2, place, after_s, chance.randrange(1, STEPS - 2), chance.random() < 0.5)


def joins_slowly(logs: Path, seconds: float) -> Callable[[], None]:
    """Lets each process tell that it joins the group, and take its time."""

    def install() -> None:
        original = torch.distributed.init_process_group

        def init(*arguments: Any, **named: Any) -> None:
            (logs / f"joined-{os.environ.get('LOCAL_RANK', '0')}").write_text(str(os.getpid()))
            time.sleep(seconds)
            original(*arguments, **named)

        torch.distributed.init_process_group = init

    return install


class Pair:
    """The two processes of a run, in a folder of their own."""

    def __init__(self, logs: Path, *given: str, by_torchrun: bool, before: Callable[[], None] = lambda: None):
        logs.mkdir(exist_ok=True)
        self.logs = logs
        self.told_at: float | None = None
        arguments = [*SETTINGS, *given, f"hydra.run.dir={logs / 'runs' / 'run'}"]
        if by_torchrun:
            self.runs = [Run(logs, *arguments, before=before, **each) for each in variables()]
            return
        self.runs = [Run(logs, *arguments, before=before)]

    @property
    def left(self) -> list[int]:
        """The processes that have not ended, also one that has only been forked."""
        first = [run.pid for run in self.runs if run.process.is_alive()]
        return [*{*first, *(pid for run in self.runs for pid in run.members)}]

    def of(self, rank: int) -> int:
        """The process of a rank; 0 until it joins the group."""
        file = self.logs / f"joined-{rank}"
        return int(file.read_text() or 0) if file.exists() else 0

    def reach(self, case: Case) -> None:
        """Wait until it is time."""

        def is_there() -> Any:
            if case.place == "joining":
                return self.of(case.rank)
            return self.num_logged > (case.step if case.place == "training" else STEPS)

        until(lambda: is_there() or not all(run.process.is_alive() for run in self.runs))
        time.sleep(case.after_s)

    def end(self, within_s: float) -> tuple[float, list[int]]:
        """How long it takes until all are gone, and whom it takes longer than it may."""
        started = time.monotonic()
        while self.left and time.monotonic() < started + within_s:
            time.sleep(0.05)
            self._end_as_torchrun_does()
        took, left = time.monotonic() - started, self.left
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        for run in self.runs:
            run.process.join()
        return took, left

    def _end_as_torchrun_does(self) -> None:
        """It tells the others to end once one has failed, and kills them if they do not."""
        if len(self.runs) == 1 or not any(self.codes):
            return
        is_first, now = self.told_at is None, time.monotonic()
        self.told_at = now if self.told_at is None else self.told_at
        for run in self.runs:
            if run.process.is_alive() and (is_first or now > self.told_at + SHUTDOWN_S):
                os.kill(run.pid, signal.SIGTERM if is_first else signal.SIGKILL)

    @property
    def codes(self) -> list[int | None]:
        return [run.process.exitcode for run in self.runs]

    def codes_without(self, case: Case) -> list[int | None]:
        """Those of the processes that nothing happened to, if there are any whose codes are known."""
        return [code for rank, code in enumerate(self.codes) if rank != case.rank] or self.codes

    @property
    def num_logged(self) -> int:
        """Lines of metrics.csv, of which the first has the names."""
        table = self.logs / "runs" / "run" / "metrics.csv"
        return len(table.read_text().splitlines()) if table.exists() else 0

    @property
    def words(self) -> str:
        return "".join(run.words for run in self.runs)


def variables() -> list[dict[str, str]]:
    """What torchrun tells its processes."""
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [{**job, "TORCHELASTIC_RUN_ID": "kills", "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]


def expected_codes(case: Case) -> list[set[int]]:
    """The exit codes that may be, of the process that was started, or of both."""
    own = {signal.SIGKILL: -9, signal.SIGSTOP: -9, signal.SIGTERM: 143}[case.signum]
    # The death of the first one takes a launched one with it.
    others = {143} if case.signum == signal.SIGTERM else {1}
    if not case.by_torchrun:
        return [{own} if case.rank == 0 else others]
    # It may be told to end before it finds out by itself.
    return [{own}, others | {1, 143}] if case.rank == 0 else [others | {1, 143}, {own}]


def happens(logs: Path, case: Case, silence_s: float) -> tuple[float | None, list[str]]:
    """Let it happen; how long it took until all were gone, None if they had ended, and what was wrong."""
    slow = joins_slowly(logs, 1.5 if case.place == "joining" else 0.0)
    watched = f"callbacks.resume_checkpoint.silence_s={silence_s}"
    pair = Pair(logs, watched, by_torchrun=case.by_torchrun, before=slow)
    pair.reach(case)
    try:
        os.kill(pair.of(case.rank), case.signum)
    except ProcessLookupError:
        return None, []
    is_stop = case.signum == signal.SIGSTOP
    took, left = pair.end(HELD_S if is_stop else GONE_S)
    wrong = [f"{len(left)} are left"] if left else []
    if not any(pair.codes) or (pair.num_logged > STEPS and not any(pair.codes_without(case))):
        # It came while nobody waited for anybody any more.
        return None, wrong
    fits = all(code in may for code, may in zip(pair.codes, expected_codes(case), strict=True))
    if not fits:
        wrong.append(f"exit codes {pair.codes}: {pair.words[-600:]}")
    if is_stop and f"rank {case.rank}" not in pair.words:
        wrong.append("the rank is not named")
    return took, wrong


def compare(home: Path, *, cases: int, seed: int, silence_s: float) -> int:
    """How many runs were not as one that nothing happened to."""
    whole = Pair(home / "whole", by_torchrun=False)
    whole.end(300)
    expected, wrong = outcome(home / "whole" / "runs" / "run"), 0
    chance, number, drawings = random.Random(seed), 0, itertools.count()
    while number < cases:
        case, logs = drawn(chance, number), home / str(next(drawings))
        logs.mkdir()
        took, faults = happens(logs, case, silence_s)
        again = Pair(logs, by_torchrun=case.by_torchrun)
        again.end(300)
        if any(again.codes):
            faults.append(f"given again: {again.codes} {again.words[-600:]}")
        elif outcome(logs / "runs" / "run") != expected:
            faults.append("given again, it has other bits")
        wrong += bool(faults)
        number += took is not None
        after = "they had ended, so it is drawn anew" if took is None else f"all gone after {took:.1f} s"
        print(f"{case}: {after}; {'; '.join(faults) or 'right'}", flush=True)
    return wrong


def main() -> None:
    heed_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--silence", type=float, default=20, help="seconds; a busy machine needs more to come together")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="ranks-") as home:
        wrong = compare(Path(home), cases=given.cases, seed=given.seed, silence_s=given.silence)
    print(f"{given.cases} cases, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

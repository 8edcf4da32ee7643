"""Each launcher of docs/scale.md with real commands of two processes: a table of what was tried, and what came of it.

    python engine/scripts/launchers.py                          all, in about twenty minutes
    python engine/scripts/launchers.py torchrun srun            some
    python engine/scripts/launchers.py torchrun --random 20     instead, signals to random processes at random moments

Nothing is forked or imitated. Equal runs differ in no weight by more than what is said above the table; resumed runs
have the bits of one that nothing happened to. What is wrong is marked so, and makes the exit code 1.
"""

import argparse
import itertools
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from launching.command import TRAIN, Command, ended
from test_processes import outcome
from test_ranks import CLOSE, CLOSE_IN_PARTS, EVEN, MLP, PLANTED, VIT, furthest, refuse_other_rows

COLUMNS = (
    *("runs", "equals one process", "planted fault", "one folder", "SIGKILL", "SIGTERM", "SIGSTOP"),
    *("resume identical", "other number of ranks", "multirun"),
)
FURTHER = (
    *("trainer.max_epochs=12", "trainer.log_every_n_steps=1"),
    *("callbacks.resume_checkpoint.every_n_steps=7", "resume=auto"),
)
GONE_S, SILENCE_S, WHOLE_S = 10.0, 20.0, 100.0
LATE = "too late, it had ended"


class Launcher(NamedTuple):
    """
    Attributes:
        starts: what stands before train.py.
        trainer: what chooses the strategy.
        settings: of the run.
        close: how far weights of equal runs may be apart.
        is_sweeping: whether it starts the trials of a sweep; else the command is refused.
    """

    starts: tuple[str, ...]
    trainer: tuple[str, ...] = ("trainer=ddp_cpu",)
    settings: tuple[str, ...] = (*EVEN, *MLP, *FURTHER)
    close: float = CLOSE
    is_sweeping: bool = True


PYTHON = (sys.executable,)
LAUNCHERS = {
    "python": Launcher(PYTHON),
    "ddp_spawn": Launcher(PYTHON, ("trainer=ddp_cpu", "trainer.strategy=ddp_spawn")),
    "torchrun": Launcher(
        (*PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--shutdown-timeout", "10"),
        is_sweeping=False,
    ),
    "fsdp2": Launcher(PYTHON, ("trainer=fsdp2",), (*VIT, *FURTHER), CLOSE_IN_PARTS),
    "srun": Launcher(("srun", "--ntasks-per-node=2", "--kill-on-bad-exit=1", *PYTHON), is_sweeping=False),
}
# Which processes get a signal: a rank, or the command that was typed, where that is no rank.
TARGETS = {"SIGKILL": ("0", "1", "command"), "SIGTERM": ("1", "command"), "SIGSTOP": ("0", "1")}


class WrongError(Exception):
    """What came of a cell is not what docs/scale.md says."""


class Subject:
    """A launcher that is tried.

    Attributes:
        whole_s: how long a run takes that nothing happens to.
        resumed: for each run that was ended and given again, whether it has the bits of one that was not.
    """

    def __init__(self, name: str, home: Path, busy: float):
        self.launcher, self.home = LAUNCHERS[name], home / name
        self.home.mkdir()
        self.gone_s, self.longest_s, silence_s = (busy * each for each in (GONE_S, WHOLE_S, SILENCE_S))
        self.silence = f"callbacks.resume_checkpoint.silence_s={silence_s:g}"
        self.held_s = silence_s + 2 * self.gone_s
        self.whole_s = 0.0
        self.resumed: list[bool] = []

    def command(self, logs: str, *further: str) -> Command:
        line = (*self.launcher.starts, TRAIN, *self.launcher.settings, *self.launcher.trainer, *further)
        return Command(line, self.home / logs)

    def watched(self, logs: str, signum: signal.Signals) -> Command:
        """A command that misses a stopped process soon: the default waits longer than a busy machine takes to start."""
        return self.command(logs, *[self.silence] * (signum == signal.SIGSTOP))

    def single(self, logs: str, *further: str) -> Command:
        return Command((*PYTHON, TRAIN, *self.launcher.settings, "trainer=cpu", *further), self.home / logs)

    def cells(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Each column with what fills it, in the order in which they need each other."""
        yield "runs", self.runs
        yield "one folder", lambda: f"yes, {self.run('whole').name}"
        yield "equals one process", self.equals
        yield "planted fault", self.planted
        for name in TARGETS:
            yield name, partial(self.all_disturbed, name)
        yield "resume identical", self.identical
        yield "other number of ranks", self.other_number
        yield "multirun", self.multirun

    def run(self, logs: str) -> Path:
        """The run folder of a command."""
        found = [file.parent for file in (self.home / logs).rglob("run.json")]
        if len(found) != 1:
            raise WrongError(f"{len(found)} run folders")
        return found[0]

    def runs(self) -> str:
        whole = self.command("whole")
        self.whole_s = whole.done(self.longest_s)
        return f"{self.whole_s:.0f} s"

    def equals(self) -> str:
        self.single("single").done(self.longest_s)
        return self.compared("single", self.run("whole"))

    def compared(self, one: str, other: Path) -> str:
        distance = furthest(self.run(one), other)
        if distance > self.launcher.close:
            raise WrongError(f"weights differ by {distance:.0e}")
        refuse_other_rows(self.run(one), other)
        return f"{distance:.0e}"

    def planted(self) -> str:
        self.command("planted", PLANTED).done(self.longest_s)
        distance = furthest(self.run("single"), self.run("planted"))
        if distance < 100 * self.launcher.close:
            raise WrongError(f"not seen: {distance:.0e}")
        return f"seen: {distance:.0e}"

    def targets(self, name: str) -> list[str]:
        is_rank = self.launcher.starts == PYTHON and "trainer.strategy=ddp_spawn" not in self.launcher.trainer
        return [each for each in TARGETS[name] if not (each == "command" and is_rank)]

    def all_disturbed(self, name: str) -> str:
        return "; ".join(self.disturbed(name, each) for each in self.targets(name))

    def disturbed(self, name: str, target: str) -> str:
        logs = f"{name}-{target}"
        command = self.watched(logs, signal.Signals[name])
        command.reach(20)
        told = self.ended(command, signal.Signals[name], target)
        if told == LATE:
            raise WrongError(told)
        if name == "SIGTERM":
            shutil.copytree(self.run(logs), self.home / f"stopped-{target}" / "run")
        self.resume(logs)
        return told

    def resume(self, logs: str) -> bool:
        """Give a command again; whether it ends with the bits of one that nothing happened to."""
        self.command(logs).done(self.longest_s)
        self.resumed.append(outcome(self.run(logs)) == outcome(self.run("whole")))
        return self.resumed[-1]

    def ended(self, command: Command, signum: signal.Signals, target: str) -> str:
        """How a command ends of which a process gets a signal."""
        if not command.signal(signum, target):
            return LATE
        took, left = command.end(self.held_s if signum == signal.SIGSTOP else self.gone_s)
        who = "the command" if target == "command" else f"rank {target}"
        told = f"{who}: {took:.1f} s, exit code {command.process.returncode}"
        if left:
            raise WrongError(f"{told}, {left} are left")
        if signum == signal.SIGSTOP and f"rank {target} " not in command.words:
            raise WrongError(f"{told}, and rank {target} is not named")
        return told

    def identical(self) -> str:
        told = f"{sum(self.resumed)} of {len(self.resumed)}"
        if not all(self.resumed):
            raise WrongError(told)
        return told

    def other_number(self) -> str:
        """From two to one, and from one to two."""
        fewer = self.run("stopped-1")
        self.single("stopped-1", f"resume={fewer}").done(self.longest_s)
        stopped = self.single("stopped")
        stopped.reach(20)
        stopped.signal(signal.SIGTERM, "command")
        stopped.end(self.gone_s)
        more = self.run("stopped")
        self.command("stopped", f"resume={more}").done(self.longest_s)
        return f"two to one {self.compared('single', fewer)}, one to two {self.compared('single', more)}"

    def multirun(self) -> str:
        sweep = ("-m", "sweep=grid", "seed=0,1", "resume=null", f"paths.logs={self.home / 'sweep'}")
        if not self.launcher.is_sweeping:
            refused = self.command("refused", *sweep)
            took, _ = refused.end(self.longest_s)
            if "error: --multirun" not in refused.words:
                raise WrongError(f"not refused: {refused.words[-300:]}")
            return f"refused by name after {took:.0f} s"
        self.command("sweep", *sweep).done(2 * self.longest_s)
        trials = sorted(file.parent for file in (self.home / "sweep").rglob("run.json"))
        if len(trials) != 2 or outcome(trials[0]) != outcome(self.run("whole")):
            raise WrongError(f"{len(trials)} trials, or the first is not as the run with its settings")
        return "two trials; the first has the bits of a single run"

    def at_random(self, number: int, seed: int) -> str:
        """A signal to a process at any moment from the start to the end."""
        chance, logs = random.Random(f"{seed} {number}"), f"random-{number}"
        name = list(TARGETS)[number % len(TARGETS)]
        target, after_s = chance.choice(self.targets(name)), chance.uniform(0, self.whole_s)
        command = self.watched(logs, signal.Signals[name])
        time.sleep(after_s)
        told = self.ended(command, signal.Signals[name], target)
        if told == LATE:
            return LATE
        if not self.resume(logs):
            raise WrongError(f"{told}, and given again it has other bits")
        return f"{name} after {after_s:.1f} of {self.whole_s:.1f} s to {told}"


@contextmanager
def home_of(given: str | None) -> Iterator[Path]:
    if given:
        Path(given).mkdir(parents=True)
        yield Path(given).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="launchers-") as folder:
        yield Path(folder)


def said(what: str, cell: Callable[[], str]) -> str:
    """What came of a cell, also if it is wrong."""
    try:
        text = cell()
    except (WrongError, AssertionError) as error:
        text = f"WRONG: {' '.join(str(error).split())[-300:] or 'it took too long'}"
    print(f"{what}: {text}", flush=True)
    return text


def tried(name: str, home: Path, busy: float) -> dict[str, str]:
    if not shutil.which(LAUNCHERS[name].starts[0]):
        return dict.fromkeys(COLUMNS, f"not tried: no {LAUNCHERS[name].starts[0]} here")
    subject = Subject(name, home, busy)
    return {column: said(f"{name}, {column}", cell) for column, cell in subject.cells()}


def show(rows: dict[str, dict[str, str]]) -> None:
    print(f"\nequal: within {CLOSE:g}, fsdp2 within {CLOSE_IN_PARTS:g}\n")
    print(f"| launcher | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for name, cells in rows.items():
        print(f"| `{name}` | {' | '.join(cells[column] for column in COLUMNS)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("launchers", nargs="*", default=[*LAUNCHERS], help=f"of {', '.join(LAUNCHERS)}")
    parser.add_argument("--busy", type=float, default=1, metavar="N", help="all may take so many times longer")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="signals at random moments, instead")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", metavar="FOLDER", help="a new one, for the runs; else they are deleted")
    given = parser.parse_args()
    if unknown := [each for each in given.launchers if each not in LAUNCHERS]:
        parser.error(f"given {', '.join(unknown)}; allowed: {', '.join(LAUNCHERS)}")
    with home_of(given.keep) as home, ended():
        if given.random:
            texts = []
            for name in given.launchers:
                subject = Subject(name, home, given.busy)
                texts.append(said(name, subject.runs))
                cells = (said(name, partial(subject.at_random, n, given.seed)) for n in itertools.count())
                texts += itertools.islice((each for each in cells if each != LATE), given.random)
        else:
            rows = {name: tried(name, home, given.busy) for name in given.launchers}
            show(rows)
            texts = [text for cells in rows.values() for text in cells.values()]
    wrong = sum(text.startswith("WRONG") for text in texts)
    print(f"{len(texts)} tried, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

"""Runs of several processes that are killed, told to end and resumed.

The second process of a pair is forked like the first, before that one begins; Lightning's command is left out.
"""

import json
import multiprocessing
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from lightning.pytorch.strategies.launchers import subprocess_script

from bench_root import PROJECT
from kindling.checkpoints.agreement import REASONS, Agreement
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint
from kindling.checkpoints.resume_files import newest_first
from kindling.errors import Interrupted
from kindling.process import signals
from kindling.run_folders.record import RunRecord
from kindling.testing.commands import Fork, only_run
from kindling.training.task import Task

launcher: Any = subprocess_script
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
QUIET = [f"callbacks.{name}=null" for name in ("summary", "progress", "early_stopping")]
SMALL = [
    *("model=mlp", "model.hidden=[8]", "model.dropout=0.2", "data.image_size=8", "data.batch_size=16", "logger=csv"),
    *("trainer.max_epochs=8", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false"),
    *("trainer.enable_model_summary=false", *QUIET),
    *("callbacks.resume_checkpoint.every_n_steps=7", "callbacks.resume_checkpoint.every_minutes=null"),
]
FAKE = ["data=fake", "data.num_images=176", "data.num_classes=4"]
PAIR = [*SMALL, *FAKE, "trainer=ddp_cpu", "data.batch_size=32"]  # of 40 steps
LONG = "trainer.max_epochs=100000"
FULL_S = 60  # a busy machine takes so long for what an idle one does in a second


class Run(Fork):
    """A command in a session of its own, which the processes that it starts belong to."""

    def __init__(
        self,
        home: Path,
        *arguments: str,
        before: Callable[[], None] = lambda: None,
        forks: bool = True,
        **environment: str,
    ):
        self.logs = home
        self.before = before
        self.forks = forks
        self.environment = environment
        output = home / f"output-{len(list(home.iterdir()))}"
        output.mkdir()
        super().__init__(output, "train.py", *arguments, f"paths.logs={home}")
        assert self.process.pid is not None
        self.pid = self.process.pid

    def _run(self, script: str, arguments: tuple[str, ...]) -> None:
        os.setsid()
        os.environ |= self.environment
        self.before()
        Hydra.get_mode = lambda *_, **__: RunMode.RUN  # it would compose the config to find that out
        if self.forks and {"trainer=ddp_cpu", "trainer=fsdp2"} & {*arguments} and "RANK" not in os.environ:
            launcher.subprocess = SimpleNamespace(Popen=Launched(self, script, arguments))
        super()._run(script, arguments)

    @property
    def members(self) -> list[int]:
        return [pid for pid, session in sessions() if session == self.pid]

    @property
    def second(self) -> int:
        """The other process of a pair."""
        (pid,) = set(self.members) - {self.pid}
        return pid

    @property
    def folder(self) -> Path:
        (file,) = self.logs.glob("*/*/run.json")
        return file.parent

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.folder / "run.json").read_text())

    def reach(self, step: int) -> None:
        """Wait until so many steps are logged."""

        def is_there() -> bool:
            assert self.process.is_alive(), self.words
            return any(len(file.read_text().splitlines()) > step for file in self.logs.glob("*/*/metrics.csv"))

        until(is_there)

    def code(self) -> int:
        """The exit code of the run, of which nothing is left soon after."""
        self.process.join(FULL_S)
        assert self.process.exitcode is not None, f"it hangs\n{self.words}"
        until(lambda: not self.members, within_s=2)  # torch's workers look every five whether their parent lives
        return self.process.exitcode

    @property
    def words(self) -> str:
        return "".join(file.read_text() for file in sorted(self.streams[0].parent.iterdir()))

    def assert_interrupted_by(self, signum: signal.Signals) -> None:
        self.assert_interrupted(signum.name, 130 if signum == signal.SIGINT else 143)

    def assert_interrupted(self, reason: str, code: int) -> None:
        assert self.code() == code, self.words
        assert self.record["status"] == "interrupted"
        assert self.record["reason"] == f"Interrupted: {reason}"
        assert "Traceback" not in self.words


class Launched:
    """Stands for `subprocess.Popen`: a process that was forked before, and begins when it is given its command."""

    def __init__(self, run: Run, script: str, arguments: tuple[str, ...]):
        begin, self._begin = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        os.close(self._begin)
        code = 1
        try:
            told = b"".join(iter(lambda: os.read(begin, 65536), b""))
            if told:  # else the first process has ended
                command, environment = json.loads(told)
                os.environ.clear()
                os.environ |= environment
                run.streams = [file.with_name(f"{file.name}-1") for file in run.streams]
                Fork._run(run, script, (*arguments, *command[-3:]))  # what Lightning adds for Hydra
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            os._exit(code)

    def __call__(self, command: list[str], env: dict[str, str], cwd: str) -> "Launched":
        os.write(self._begin, json.dumps([command, env]).encode())
        os.close(self._begin)
        return self

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)


def sessions() -> Iterator[tuple[int, int]]:
    """Process and session of all that run."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = file.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if state != "Z":
            yield int(file.parent.name), int(session)


def until(condition: Callable[[], Any], within_s: float = FULL_S) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def bits(value: Any) -> Any:
    """The same with each tensor as its bytes."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), value.numpy().tobytes()]
    if isinstance(value, dict):
        return {key: bits(each) for key, each in value.items()}
    return [bits(each) for each in value] if isinstance(value, list) else value


def outcome(folder: Path) -> list[Any]:
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return [bits(saved["state_dict"]), bits(saved["optimizer_states"]), (folder / "metrics.csv").read_bytes()]


def last_step(folder: Path) -> int:
    files = newest_first(folder)
    return int(files[0].stem[5:]) if files else -1


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts runs that log below tmp_path, and leaves none."""
    runs: list[Run] = []

    def start(*arguments: str, **settings: Any) -> Run:
        runs.append(Run(tmp_path, *arguments, **settings))
        return runs[-1]

    yield start
    for run in runs:
        for pid in run.members:
            os.kill(pid, signal.SIGKILL)
        run.process.join()


@pytest.fixture
def files(make_tree: Callable[..., Path]) -> list[str]:
    """Overrides of a set that two workers a process decode."""
    root = make_tree(splits=("train", "val", "test"), classes="abcd", images=40, size=8)
    return [
        *("data=image_folder", "data.in_memory=false", "data.num_workers=2"),
        *(f"data.root={root}", f"data.cache_dir={root.parent}/cache"),
    ]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What a run of two processes comes to that nothing happens to."""
    run = Run(tmp_path_factory.mktemp("unbroken"), *PAIR)
    assert run.code() == 0, run.words
    return outcome(run.folder)


def torchrun(start: Callable[..., Run], *arguments: str, order: tuple[int, int] = (0, 1), **settings: Any) -> list[Run]:
    """The two processes that torchrun starts, by rank; the one that comes second in `order` is late."""
    names = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
    job = dict(zip(names, ("127.0.0.1", free_port(), "2", "2", secrets.token_hex(4)), strict=True))
    ranks = {}
    for rank in order:
        ranks[rank] = start(*PAIR, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **job, **settings)
        time.sleep(0.7)  # what each does before it needs the other
    return [ranks[0], ranks[1]]


def pausing(hook: str, logs: Path, epoch: int | None = None) -> Callable[[], None]:
    """Lets both processes tell that they have come to a hook, and wait there for a word."""

    def install() -> None:
        original = getattr(Task, hook)

        def pause(self: Task) -> None:
            if epoch in (None, self.current_epoch) and not self.trainer.sanity_checking:
                (logs / f"reached-{self.global_rank}").touch()
                until((logs / "go").exists)
            original(self)

        setattr(Task, hook, pause)

    return install


def slow_end(rank: int) -> Callable[[], None]:
    """Lets one process take longer to end than the other, while Lightning looks all the time whether one has ended."""

    def install() -> None:
        observer: Any = launcher._launch_process_observer.__globals__["_ChildProcessObserver"]
        observer.__init__.__defaults__ = (0.01,)  # seconds, instead of five
        ResumeCheckpoint.on_exception = lambda self, trainer, *_: time.sleep(0.5 * (trainer.global_rank == rank))
        slow_record()

    return install


def slow_record() -> None:
    def end(self: RunRecord, *arguments: Any) -> None:
        time.sleep(0.3)
        original(self, *arguments)

    original = RunRecord.end
    RunRecord.end = end


@pytest.mark.slow
def test_processes_that_are_spawned_train_to_the_bits_of_those_of_a_command_each_and_test_the_best(start, unbroken):
    run = start(*PAIR, "trainer.strategy=ddp_spawn", forks=False)
    # Four processes import everything anew.
    run.process.join(3 * FULL_S)
    assert run.code() == 0, run.words
    assert outcome(run.folder) == unbroken
    assert run.record["status"] == "finished"
    assert run.record["best"]["score"] > 0
    assert "test/accuracy" in run.record["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "code", "says"),
    [(signal.SIGTERM, 143, "interrupted by SIGTERM"), (signal.SIGSTOP, 1, "rank 1 (process")],
)
def test_a_process_that_was_spawned_hears_a_signal_and_is_named_when_it_is_silent(start, unbroken, signum, code, says):
    spawned = [*PAIR, "trainer.strategy=ddp_spawn"]
    run = start(*spawned, "callbacks.resume_checkpoint.silence_s=5", forks=False)
    run.reach(9)
    # The last one that was started.
    os.kill(max(run.members), signum)
    assert run.code() == code, run.words
    assert says in run.words
    assert "Traceback" not in run.words
    resumed = start(*spawned, f"resume={run.folder}", forks=False)
    resumed.process.join(3 * FULL_S)
    assert resumed.code() == 0, resumed.words
    assert outcome(run.folder) == unbroken


@pytest.mark.slow
@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_two_processes_killed_at_any_moment_end_with_the_bits_of_those_that_were_not(start, unbroken, kill):
    run = start(*PAIR)
    moment = random.randrange(8, 35)
    run.reach(moment)
    kill(run.pid, signal.SIGKILL)
    assert run.code() == -signal.SIGKILL
    assert run.record["status"] == "running"
    resumed = start(*PAIR, f"resume={run.folder}")
    assert resumed.code() == 0, resumed.words
    assert outcome(run.folder) == unbroken, f"killed at step {moment}"


@pytest.mark.slow
@pytest.mark.parametrize("target", ["the first process", "the second process", "all processes"])
def test_a_signal_to_any_of_two_processes_ends_both_at_a_checkpoint_to_go_on_from(start, unbroken, target):
    run = start(*PAIR, before=slow_end(rank=1 if target == "the first process" else 0))
    run.reach(random.randrange(8, 20))
    step = last_step(run.folder)
    if target == "all processes":
        os.killpg(run.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
        run.assert_interrupted_by(signal.SIGINT)
    else:
        os.kill(run.pid if target == "the first process" else run.second, signal.SIGTERM)
        run.assert_interrupted_by(signal.SIGTERM)
    reached = last_step(run.folder)
    assert reached > step
    resumed = start(*PAIR, f"resume={run.folder}")
    assert resumed.code() == 0, resumed.words
    assert f"(step {reached})" in resumed.words
    assert outcome(run.folder) == unbroken


@pytest.mark.slow
def test_data_workers_leave_a_signal_to_all_processes_to_those_that_train(start, files):
    run = start(*SMALL, *files, "trainer=ddp_cpu", LONG)
    run.reach(8)
    assert len(run.members) >= 6
    os.killpg(run.pid, signal.SIGTERM)  # as Slurm does
    run.assert_interrupted_by(signal.SIGTERM)
    assert last_step(run.folder) > 7


@pytest.mark.parametrize("trainer", ["cpu", pytest.param("ddp_cpu", marks=pytest.mark.slow)])
def test_a_killed_process_leaves_no_other_behind(start, files, trainer):
    run = start(*SMALL, *files, f"trainer={trainer}", LONG)
    run.reach(8)
    assert len(run.members) >= (3 if trainer == "cpu" else 6)
    os.kill(run.pid, signal.SIGKILL)
    assert run.code() == -signal.SIGKILL  # with nothing left


@pytest.mark.slow
def test_a_process_ends_with_the_first_one_even_while_it_starts(start):
    def launch_and_die() -> None:
        def launch(*arguments: Any, **settings: Any) -> None:
            popen(*arguments, **settings)
            os.kill(os.getpid(), signal.SIGKILL)

        popen = subprocess.Popen
        launcher.subprocess = SimpleNamespace(Popen=launch)
        sys.modules["__main__"].__spec__ = None  # or Lightning would start pytest

    run = start(*PAIR, before=launch_and_die, forks=False)
    assert run.code() == -signal.SIGKILL  # with nothing left


@pytest.mark.slow
def test_the_death_of_the_second_process_is_told_in_one_line(start):
    run = start(*PAIR, LONG)
    run.reach(8)
    os.kill(run.second, signal.SIGKILL)
    assert run.code() == 1
    assert run.record["status"] == "failed"
    assert "error: trainer.devices: another process of this run has ended" in run.words
    assert "Traceback" not in run.words


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_during_the_last_validation_ends_the_run_before_its_test(start, tmp_path, processes):
    paused = pausing("on_validation_epoch_start", tmp_path, epoch=1)
    if processes == 1:
        run = told = start(*SMALL, *FAKE, "trainer=cpu", "trainer.max_epochs=2", before=paused)
    else:
        run, told = torchrun(start, "trainer.max_epochs=2", before=paused)
    until((tmp_path / f"reached-{processes - 1}").exists)
    os.kill(told.pid, signal.SIGTERM)
    (tmp_path / "go").touch()
    run.assert_interrupted_by(signal.SIGTERM)
    assert last_step(run.folder) == {1: 22, 2: 10}[processes], "the last one"
    assert "test_s" not in run.record["timings"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["the second process", "all processes, twice"])
def test_a_signal_during_the_test_ends_the_run_at_once(start, tmp_path, target):
    def before() -> None:
        slow_record()
        pausing("on_test_epoch_start", tmp_path)()

    run = start(*PAIR, "trainer.max_epochs=1", before=before)
    until(lambda: len(list(tmp_path.glob("reached-*"))) == 2)
    if target == "the second process":
        os.kill(run.second, signal.SIGTERM)
    else:
        os.killpg(run.pid, signal.SIGTERM)
        time.sleep(0.1)  # torchrun passes on what its processes have got already
        os.kill(run.pid, signal.SIGTERM)
    run.assert_interrupted_by(signal.SIGTERM)
    assert "val/loss" in run.record["metrics"]


@pytest.mark.slow
def test_a_signal_while_torch_is_imported_ends_the_run_as_interrupted(tmp_path):
    command = [sys.executable, str(PROJECT / "train.py"), *PAIR, f"paths.logs={tmp_path}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: list(tmp_path.rglob("run.json")))  # which is written first
        process.send_signal(signal.SIGTERM)
        words = process.communicate(timeout=FULL_S)[1]
    assert process.returncode == 143
    assert words == "interrupted by SIGTERM\nnothing was saved yet\n"
    record = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert (record["status"], record["reason"]) == ("interrupted", "Interrupted: SIGTERM")


@pytest.mark.slow
def test_a_run_that_goes_on_is_not_resumed_by_others_and_nothing_in_it_changes(start):
    run = start(*PAIR, LONG)
    run.reach(8)
    os.killpg(run.pid, signal.SIGSTOP)
    before = contents(run.folder)
    other = start(*PAIR, LONG, f"resume={run.folder}")
    assert other.code() == 2
    assert f"error: run folder: given {run.folder}, which process {run.pid} on " in other.words
    assert contents(run.folder) == before


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_max_time_ends_two_processes_at_a_checkpoint_and_a_resumed_run_has_as_much_again(start):
    steps = [0]
    for resume in ([], ["resume=last"]):
        started = time.monotonic()
        run = start(*PAIR, LONG, "trainer.max_time=00:00:00:05", *resume)
        run.assert_interrupted("max_time", 143)
        assert time.monotonic() - started > 5
        steps.append(last_step(run.folder))
    assert steps == sorted(set(steps))


def test_slurm_is_asked_once_to_start_the_job_again_after_the_checkpoint(start, tmp_path):
    calls = tmp_path / "calls"
    requeue = tmp_path / "bin" / "scontrol"
    requeue.parent.mkdir()
    copy = f"cp {tmp_path}/*/*/run.json {tmp_path}/*/*/checkpoints/* {tmp_path}"
    requeue.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{copy}\n')
    requeue.chmod(0o755)
    slurm = {"JOB_ID": "123", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    environment = {f"SLURM_{name}": value for name, value in slurm.items()}
    run = start(*SMALL, *FAKE, "trainer=cpu", LONG, PATH=f"{requeue.parent}:{os.environ['PATH']}", **environment)
    run.reach(8)
    step = last_step(run.folder)
    os.kill(run.pid, signal.SIGUSR1)
    run.assert_interrupted_by(signal.SIGUSR1)
    assert calls.read_text().splitlines() == ["requeue 123"]
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted", "as it was when Slurm was asked"
    assert max(tmp_path.glob("step_*.ckpt")).stem > f"step_{step:09}"


def test_a_machine_without_scontrol_is_told_how_to_go_on(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SLURM_JOB_ID", "123")
    monkeypatch.setenv("PATH", str(tmp_path))
    signals.requeue()
    assert "scontrol requeue 123" in (words := capsys.readouterr().err)
    assert words.endswith("start the job again with resume=auto\n")


@pytest.mark.slow
def test_torchrun_told_to_end_leaves_a_checkpoint_to_go_on_from(start, tmp_path, unbroken):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(PROJECT / "train.py")]
    with subprocess.Popen([*command, *PAIR, f"paths.logs={tmp_path}"], stderr=subprocess.PIPE, text=True) as process:
        until(lambda: list(tmp_path.rglob("last.ckpt")))
        process.send_signal(signal.SIGTERM)
        words = process.communicate(timeout=FULL_S)[1]
    folder = only_run(tmp_path)
    assert json.loads((folder / "run.json").read_text())["reason"] == "Interrupted: SIGTERM", words
    for words in (f"(step {last_step(folder)}) in {folder}", f"{folder} has finished; nothing is left to do"):
        first, second = torchrun(start, f"resume={folder}")
        assert [first.code(), second.code()] == [0, 0], first.words + second.words
        assert (first.words + second.words).count(words) == 1
        assert outcome(folder) == unbroken


@pytest.mark.slow
def test_all_processes_of_torchrun_find_the_same_run_whichever_is_first(start, tmp_path):
    step = -1
    for resume, order in (("auto", (1, 0)), ("last", (0, 1))):
        first, second = torchrun(start, LONG, f"resume={resume}", order=order)
        until(lambda: any(last_step(file.parent) > step for file in tmp_path.rglob("run.json")))  # noqa: B023
        os.kill(second.pid, signal.SIGTERM)
        first.assert_interrupted_by(signal.SIGTERM)
        assert second.code() == 143
        step = last_step(only_run(tmp_path))


@pytest.mark.slow
def test_processes_end_at_a_checkpoint_if_torchrun_is_killed(start, tmp_path):
    def launch() -> None:
        pids.write_text(json.dumps([run.pid for run in torchrun(start, LONG)]))
        time.sleep(FULL_S)

    pids = tmp_path / "pids"
    parent = multiprocessing.get_context("fork").Process(target=launch)
    parent.start()
    until(lambda: pids.exists() and list(tmp_path.rglob("last.ckpt")))
    ranks = set(json.loads(pids.read_text()))
    parent.kill()
    parent.join()
    try:
        until(lambda: not ranks & dict(sessions()).keys())
    finally:
        for pid in ranks & dict(sessions()).keys():
            os.kill(pid, signal.SIGKILL)
    record = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert record["reason"] == "Interrupted: SIGTERM"


def test_processes_ask_each_other_at_each_step_if_steps_are_slow(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    strategy = SimpleNamespace(root_device="cpu", reduce=lambda wish, reduce_op: wish)
    for step_s, polls in ((0.01, [0, 10, 20]), (0.4, [0, 10, 12, 14]), (9.0, [0, 10, 11, 12])):
        agreement, asked = Agreement(), []
        for step in range(polls[-1] + 1):
            if agreement.is_due(step):
                asked.append(step)
                agreement.ask(SimpleNamespace(global_step=step, strategy=strategy), None, False)
            now += step_s
        assert asked == polls


@pytest.mark.parametrize(("mine", "counts"), [(None, "SIGUSR1"), ("max_time", "SIGUSR1"), ("SIGINT", "SIGINT")])
def test_the_strongest_reason_to_end_that_any_process_has_counts_for_all(mine, counts):
    theirs = torch.tensor([REASONS.index("SIGUSR1"), True, 0.0])
    strategy = SimpleNamespace(root_device="cpu", reduce=lambda wish, reduce_op: torch.maximum(wish, theirs))
    trainer = SimpleNamespace(global_step=0, strategy=strategy)
    stop, save = Agreement().ask(trainer, mine and Interrupted(mine), False)
    assert str(stop) == counts
    assert save

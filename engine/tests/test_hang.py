"""A run that hangs ends within seconds of a signal; one that computes or saves goes on to its next step."""

import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

import kindling.train  # noqa: F401  for the forked runs
from kindling.errors import Interrupted
from kindling.process import ranks, signals
from kindling.testing.commands import Fork, only_run, wait_for


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(signals, "STALL_S", 0.1)
    monkeypatch.setattr(signals._State, "received_at", -math.inf)
    monkeypatch.setattr(signals._State, "ended_by", None)


@pytest.fixture
def reached():
    """What the run has come to after the signal."""
    return []


def signalled_while(run: Callable[[], object]) -> None:
    with signals.deferred(by=object()):
        os.kill(os.getpid(), signal.SIGTERM)
        run()


def compute() -> None:
    ends_at = time.monotonic() + 0.4
    while time.monotonic() < ends_at:
        pass


def test_a_signal_to_a_run_that_waits_ends_it_without_a_step(capfd):
    started = time.monotonic()
    with pytest.raises(Interrupted, match="SIGTERM"):
        signalled_while(lambda: time.sleep(10))
    assert time.monotonic() - started < 5
    assert capfd.readouterr().err.splitlines()[-1] == "SIGTERM: no step comes, so this is the end, with what is saved"


def test_a_process_that_trains_for_this_one_gets_its_signal_and_this_one_waits_for_it(reached, capfd):
    trains = subprocess.Popen(["sleep", "60"])

    def wait() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(trains.wait(20))
        # Longer than a run that hangs may take.
        time.sleep(0.3)
        reached.append("the end")

    with pytest.raises(Interrupted, match="SIGINT"), signals.deferred(object(), lambda: [trains.pid]):
        wait()
    assert reached == [-signal.SIGTERM, "the end"]
    assert capfd.readouterr().err == "SIGINT: a checkpoint at the next step, then the end; again: the end at once\n"


def test_a_process_that_trains_for_another_one_leaves_it_to_that_to_say_so(monkeypatch, capfd):
    monkeypatch.setattr(signals._State, "is_spawned", True)
    with pytest.raises(Interrupted, match="SIGTERM"):
        signalled_while(lambda: None)
    assert capfd.readouterr().err == ""


def test_a_run_that_computes_is_waited_for(monkeypatch, reached):
    # The tests beside this one compute too.
    monkeypatch.setattr(signals, "IDLE_CPU_S", 0.001)
    with pytest.raises(Interrupted):
        signalled_while(lambda: reached.append(compute()))
    assert reached


def test_a_checkpoint_that_the_disk_takes_slowly_is_waited_for(reached):
    def save():
        with signals.worth_waiting_for():
            time.sleep(0.4)
        reached.append(True)

    with pytest.raises(Interrupted):
        signalled_while(save)
    assert reached


def test_one_of_several_processes_waits_longer_for_the_others(monkeypatch, reached):
    assert not ranks.are_several()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(Interrupted):
        signalled_while(lambda: reached.append(signal.getitimer(signal.ITIMER_REAL)[0]))
    assert reached[0] > 10
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0, "no alarm outlives the run"


def test_a_forked_worker_leaves_the_end_to_its_parent(monkeypatch, reached):
    with signals.deferred(by=object()):
        for pid in (os.getpid(), -1):
            signal.setitimer(signal.ITIMER_REAL, 0)
            monkeypatch.setattr(signals.os, "getpid", lambda pid=pid: pid)
            signals._look_again_later()
            reached.append(signal.getitimer(signal.ITIMER_REAL)[0] > 0)
    assert reached == [True, False]


def test_an_alarm_of_somebody_else_stays_theirs(reached):
    before = signal.signal(signal.SIGALRM, lambda *_: reached.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Interrupted):
            signalled_while(lambda: time.sleep(0.3))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert reached


def never_return() -> None:
    """Holds the lock of the interpreter, so that no handler of a signal runs."""
    re.match(r"(a+)+$", "a" * 40 + "b")


@pytest.mark.needs("doctor")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_workers", "waits"), [pytest.param(0, lambda: time.sleep(1000), marks=pytest.mark.slow), (2, never_return)]
)
def test_a_signal_ends_a_run_whose_data_hang(make_tree, tmp_path, monkeypatch, num_workers, waits):
    def hang(*_: object) -> None:
        (tmp_path / "hangs").touch()
        waits()

    monkeypatch.setattr("kindling.images.decoder.Decoder.__call__", hang)
    settings = ["data.in_memory=false", "data.mean=[0.5]", "data.std=[0.5]", f"data.num_workers={num_workers}"]
    settings += [
        "data=image_folder",
        f"data.root={make_tree()}",
        "data.batch_size=4",
        "trainer.log_every_n_steps=1",
        "callbacks.doctor=null",
    ]
    settings += ["model=mlp", "trainer=cpu", f"paths.logs={tmp_path}"]
    fork = Fork(tmp_path, "train.py", *settings)
    wait_for(tmp_path, "hangs")
    time.sleep(0.5)
    started = time.monotonic()
    os.kill(fork.process.pid, signal.SIGTERM)
    done = fork.result()
    assert done.returncode == 143, done.stderr
    assert time.monotonic() - started < 8
    assert '"status": "interrupted"' in (only_run(tmp_path) / "run.json").read_text()

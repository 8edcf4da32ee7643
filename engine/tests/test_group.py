"""A process group is ended whole: what ignores a signal, what is stopped, and what it has started."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kindling.process import group
from kindling.process.group import Group, lead
from kindling.process.guard import Guard


@pytest.fixture(autouse=True)
def adopting() -> Iterator[None]:
    """What is left behind becomes a child of the tests, since the first process of a container may look seldom."""
    group.adopt()
    yield
    group.adopt(yes=False)


def forked(run: Callable[[], object], file: Path) -> Group:
    """A group that has begun once its file is there."""
    pid = os.fork()
    if pid == 0:
        lead()
        run()
        os._exit(3)
    started = Group(pid)
    deadline = time.monotonic() + 10
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return started


def begin(file: Path, handler: object = signal.SIG_IGN) -> None:
    signal.signal(signal.SIGTERM, handler)  # pyright: ignore[reportArgumentType]
    file.touch()


def sleep_on(file: Path, handler: object = signal.SIG_IGN) -> None:
    begin(file, handler)
    while True:
        time.sleep(1)


def has_gone(first: int) -> bool:
    """Whether nothing of a group is left, once the end of what was killed has been taken note of."""
    deadline = time.monotonic() + 10
    while group.send(first, 0) and time.monotonic() < deadline:
        with suppress(ChildProcessError):
            os.waitpid(-first, os.WNOHANG)
        time.sleep(0.005)
    return not group.send(first, 0)


def code_of(started: Group) -> int | None:
    deadline = time.monotonic() + 10
    while (code := started.exit_code()) is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return code


def test_a_process_that_ignores_the_signal_is_killed_after_a_grace(monkeypatch, tmp_path):
    monkeypatch.setattr(group, "GRACE_S", 0.05)
    started = forked(lambda: sleep_on(tmp_path / "begun"), tmp_path / "begun")
    assert started.exit_code() is None
    started.ask_to_end()
    assert code_of(started) == -signal.SIGKILL
    assert started.was_killed


def test_a_process_that_was_stopped_is_woken_and_ends_by_itself(tmp_path):
    end = lambda *_: os._exit(7)  # noqa: E731
    started = forked(lambda: sleep_on(tmp_path / "begun", end), tmp_path / "begun")
    os.kill(started.pid, signal.SIGSTOP)
    started.ask_to_end()
    assert code_of(started) == 7
    assert not started.was_killed


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_what_a_process_has_started_does_not_outlive_it(monkeypatch, tmp_path, handler):
    monkeypatch.setattr(group, "GRACE_OF_REST_S", 0.05)

    def leave_one_behind() -> None:
        if os.fork() == 0:
            sleep_on(tmp_path / "begun", handler)
        while not (tmp_path / "begun").exists():
            time.sleep(0.005)

    started = forked(leave_one_behind, tmp_path / "begun")
    assert code_of(started) == 3
    assert has_gone(started.pid)


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_a_killed_process_has_started_does_not_outlive_it(monkeypatch, tmp_path, is_killed):
    monkeypatch.setattr(group, "GRACE_S", 0.05)

    def start_two_and_wait() -> None:
        guard = Guard(3)
        for place in (0, 2):
            pid = os.fork()
            if pid == 0:
                lead()
                sleep_on(tmp_path / f"begun{place}")
            guard.groups[place] = pid
        if is_killed:
            os.kill(guard.pid, signal.SIGKILL)
            os.waitid(os.P_PID, guard.pid, os.WEXITED | os.WNOWAIT)
        guard.renew()
        while not (tmp_path / "begun0").exists() or not (tmp_path / "begun2").exists():
            time.sleep(0.005)
        (tmp_path / "pids").write_text(" ".join(map(str, guard.groups)))
        (tmp_path / "begun").touch()
        while True:
            time.sleep(1)

    started = forked(start_two_and_wait, tmp_path / "begun")
    os.kill(started.pid, signal.SIGKILL)
    assert code_of(started) == -signal.SIGKILL
    first, none, last = map(int, (tmp_path / "pids").read_text().split())
    assert none == 0
    assert has_gone(first)
    assert has_gone(last)

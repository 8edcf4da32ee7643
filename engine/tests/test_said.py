"""What all processes of a run would say is said once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench_root import PROJECT
from kindling.cli import outcome
from kindling.errors import ConfigError
from kindling.process import said

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
Speak = Callable[[str], None]


def fail(text: str) -> None:
    assert outcome.conclude(ConfigError(text), full_trace=False) == 2


@pytest.fixture(params=["torchrun", "Lightning"])
def environment(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(said.NOTES, raising=False)
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    if request.param == "torchrun":
        (tmp_path / "attempt_0").mkdir()
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", f"{tmp_path}/attempt_0/0/error.json")
    else:
        said.offer_notes()


def begun(stderr: Path, texts: Sequence[str], speak: Speak = fail) -> int:
    """A process that says texts on a stream of a file."""
    pid = os.fork()
    if pid == 0:
        with stderr.open("a") as sys.stderr:
            for text in texts:
                speak(text)
        os._exit(0)
    return pid


def spoken(stderr: Path, *each: Sequence[str]) -> list[str]:
    """The lines of processes that end one after the other."""
    for texts in each:
        assert os.waitpid(begun(stderr, texts), 0)[1] == 0
    return stderr.read_text().splitlines()


@pytest.mark.usefixtures("environment")
def test_what_all_say_is_said_once_and_what_one_says_too(tmp_path):
    lines = spoken(tmp_path / "err", ["wrong"], ["wrong", "only here"], ["wrong"], ["only there"])
    assert lines == ["error: wrong", "error: only here", "error: only there"]


@pytest.mark.usefixtures("environment")
def test_what_one_process_says_twice_is_said_twice(tmp_path):
    assert spoken(tmp_path / "err", ["wrong", "wrong"], ["wrong"]) == ["error: wrong"] * 2


@pytest.mark.usefixtures("environment")
def test_each_stream_has_all_that_is_said(tmp_path):
    assert spoken(tmp_path / "first", ["wrong"]) == spoken(tmp_path / "second", ["wrong"]) == ["error: wrong"]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("is_killed", [True, False])
def test_one_that_is_about_to_say_it_is_waited_for_unless_it_is_killed(tmp_path, monkeypatch, is_killed):
    monkeypatch.setattr(said, "PATIENCE_S", 60.0)

    def say_slowly(text: str) -> None:
        with said.first_to_say(f"error: {text}"):
            (tmp_path / "begun").touch()
            time.sleep(60 if is_killed else 0.2)
            sys.stderr.write(f"error: {text}\n")

    first = begun(tmp_path / "err", ["wrong"], say_slowly)
    while not (tmp_path / "begun").exists():
        time.sleep(0.001)
    second = begun(tmp_path / "err", ["wrong"])
    if is_killed:
        os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    os.waitpid(second, 0)
    assert (tmp_path / "err").read_text() == "error: wrong\n"


@pytest.mark.usefixtures("environment")
def test_nobody_waits_long_for_a_process_that_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(said, "PATIENCE_S", 0.05)

    def stop(text: str) -> None:
        with said.first_to_say(f"error: {text}"):
            os.kill(os.getpid(), signal.SIGSTOP)

    first = begun(tmp_path / "err", ["wrong"], stop)
    os.waitpid(first, os.WUNTRACED)
    assert spoken(tmp_path / "err", ["wrong"]) == ["error: wrong"]
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)


@pytest.mark.parametrize("place", ["/nowhere/attempt_0/0/error.json", None])
def test_where_nothing_can_be_noted_each_says_it(tmp_path, monkeypatch, place):
    monkeypatch.delenv(said.NOTES, raising=False)
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    if place:
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", place)
    assert spoken(tmp_path / "err", ["wrong"], ["wrong"]) == ["error: wrong"] * 2


def test_a_file_that_is_no_notes_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    with (tmp_path / "other").open("w+") as other:
        monkeypatch.setenv(said.NOTES, f"/proc/{os.getpid()}/fd/{other.fileno()}")
        assert spoken(tmp_path / "err", ["wrong"], ["wrong"]) == ["error: wrong"] * 2
        assert other.read() == ""


@pytest.mark.slow
@pytest.mark.parametrize("command", [[], ["-m", "torch.distributed.run", "--nproc-per-node", "2"]])
@pytest.mark.parametrize("wrong", ["optimzer.lr=1", "data.num_images=1"])
def test_a_refusal_of_two_ranks_is_one_line(tmp_path, command, wrong):
    settings = ["model=mlp", "data=fake", "data.batch_size=2", "trainer=ddp_cpu", f"paths.logs={tmp_path}", wrong]
    run = [sys.executable, *command, "train.py", *settings]
    done = subprocess.run(run, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode
    assert done.stderr.count("error: ") == 1, done.stderr

"""Processes that come together: what names their run, who may start them, and a wait for the others that can end."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed
from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from kindling.errors import ConfigError, Interrupted, KindlingError
from kindling.lightning_internals.group import made_within_hearing
from kindling.process import ranks, signals, silence
from kindling.process.identity import Identity
from kindling.run_folders.lifecycle import refuse_machines_without_a_launcher, refuse_to_start_processes_twice
from kindling.training.others import ended_with_others


def nameless(folder: Path, **more: str) -> dict[str, str]:
    file = folder / "torchelastic_ab" / "none_cd" / "attempt_0" / "1" / "error.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    names = {"RUN_ID": "none", "ERROR_FILE": str(file), "RESTART_COUNT": "0"} | more
    return {f"TORCHELASTIC_{name}": value for name, value in names.items()} | {
        "GROUP_WORLD_SIZE": "1",
        "WORLD_SIZE": "2",
        "RANK": "1",
        "MASTER_PORT": "29500",
    }


def named(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> str:
    for pair in environment.items():
        monkeypatch.setenv(*pair)
    ranks.stamp.cache_clear()
    try:
        return ranks.stamp()
    finally:
        ranks.stamp.cache_clear()


@pytest.mark.parametrize("called", ["none", "90d7776f-29cc-426e-a5a2-5887ea625f1c"])
def test_a_run_of_a_torchrun_without_a_name_is_named_by_when_that_began(monkeypatch, tmp_path, called):
    environment = nameless(tmp_path, RUN_ID=called)
    began = 1_700_000_000
    os.utime(tmp_path / "torchelastic_ab", (began, began))
    name = named(monkeypatch, environment)
    assert name.startswith(time.strftime("%Y-%m-%d_%H-%M-%S-", time.localtime(began)))
    assert len(name) == len("2026-11-27_09-00-00-abcd")
    assert named(monkeypatch, environment | {"RANK": "0"}) == name, "one for all ranks"
    assert named(monkeypatch, environment | {"TORCHELASTIC_RESTART_COUNT": "2"}) == f"{name}-2"


def test_a_torchrun_that_does_not_say_when_it_began_is_named_by_its_port(monkeypatch, tmp_path):
    assert named(monkeypatch, nameless(tmp_path, ERROR_FILE="")).startswith("torchrun-none-29500")
    assert named(monkeypatch, nameless(tmp_path, RUN_ID="mine")).startswith("torchrun-mine-29500")


def test_machines_that_count_their_restarts_differently_name_a_job_alike_if_each_start_has_its_port(monkeypatch):
    job = {"WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "mine", ranks.NEW_STORES: "1"}

    def named_at(restarts: str, port: str, **more: str) -> str | None:
        for pair in (job | {"TORCHELASTIC_RESTART_COUNT": restarts, "MASTER_PORT": port} | more).items():
            monkeypatch.setenv(*pair)
        return ranks.job()

    assert named_at("0", "29500") == named_at("1", "29500")
    assert named_at("1", "29500") != named_at("1", "29501")
    assert named_at("0", "29500", **{ranks.NEW_STORES: "0"}) != named_at("1", "29500", **{ranks.NEW_STORES: "0"})


@pytest.mark.parametrize("launcher", [None, "RANK", "SLURM_STEP_ID"])
def test_several_machines_without_a_launcher_are_refused_before_torch_is_loaded(monkeypatch, launcher):
    for name in ("RANK", "SLURM_STEP_ID", ranks.FIRST_PID):
        monkeypatch.delenv(name, raising=False)
    config = {"trainer": {"num_nodes": 2}}
    if launcher:
        monkeypatch.setenv(launcher, "0")
        refuse_machines_without_a_launcher(config)
        return
    refuse_machines_without_a_launcher({"trainer": {"num_nodes": 1}})
    with pytest.raises(ConfigError, match=r"num_nodes: given 2, and nothing numbers .*--nnodes 2 .*, or srun"):
        refuse_machines_without_a_launcher(config)


def test_a_process_that_waits_for_its_group_hears_a_signal(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda: never.wait(20))
    threading.Timer(0.1, signal.raise_signal, [signal.SIGTERM]).start()
    started = time.monotonic()
    with pytest.raises(Interrupted, match="SIGTERM"), signals.deferred(object()), made_within_hearing(lambda: None):
        torch.distributed.init_process_group()
    assert time.monotonic() - started < 5
    never.set()


def test_a_group_is_made_as_torch_makes_it(monkeypatch):
    def make(backend: str, *, rank: int) -> None:
        made.append((backend, rank))
        if rank:
            raise ValueError("no such rank")

    made: list[tuple[str, int]] = []
    monkeypatch.setattr(torch.distributed, "init_process_group", make)
    with made_within_hearing(lambda: None):
        torch.distributed.init_process_group("gloo", rank=0)
        with pytest.raises(ValueError, match="no such rank"):
            torch.distributed.init_process_group("gloo", rank=1)
    assert made == [("gloo", 0), ("gloo", 1)]
    assert torch.distributed.init_process_group is make


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store in which processes show signs; this one is its host."""
    host = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(host.port))
    monkeypatch.setattr(silence, "GRACE_S", 0.01)
    return PrefixStore("silence", host)


def sign_of(pid: int) -> str:
    return f"0 {Identity.of(pid)}"


@pytest.mark.parametrize("is_first", [False, True], ids=["begins later", "begins first, and shows a single sign"])
def test_a_process_that_shows_no_sign_of_life_is_named_and_killed(store, is_first):
    with subprocess.Popen(["sleep", "20"]) as process:
        said: queue.Queue[str] = queue.Queue()
        watch = silence.Watch(0, 2, 0.1, said.put)
        if is_first:
            store.set("1", sign_of(process.pid))
        watch.start()
        store.wait(["0"])
        store.set("1", sign_of(process.pid))
        words = said.get(timeout=5)
        assert process.wait(5) == -signal.SIGKILL
    place = f"rank 1 (process {process.pid} on {socket.gethostname()}) has shown no sign of life for 0.1 s"
    assert words == watch.found
    assert words.startswith(f"trainer.devices: {place}; ")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_process_that_stops_while_it_starts_is_known_by_what_torchrun_gave_it(monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29501")
    started = [
        subprocess.Popen(["sleep", "20"], env=os.environ | {"RANK": rank, "MASTER_PORT": port})
        for rank, port in (("1", "29501"), ("2", "29502"))
    ]
    # They have the same parent.
    code = "from kindling.process.identity import beside; print(beside(1).pid, beside(2))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for each in started:
        each.kill()
        each.wait()
    assert found.stdout.split() == [str(started[0].pid), "None"]


def test_a_process_that_has_the_number_of_one_that_is_gone_is_not_killed(store):
    with subprocess.Popen(["sleep", "20"]) as process:
        said: queue.Queue[str] = queue.Queue()
        watch = silence.Watch(0, 2, 0.1, said.put)
        watch.start()
        store.wait(["0"])
        store.set("1", f"0 {Identity.of(process.pid)._replace(began='7')}")
        said.get(timeout=5)
        assert process.poll() is None
        process.kill()


def test_processes_that_show_signs_or_say_that_they_end_are_not_silent(store):
    said: list[str] = []
    first, second = (silence.Watch(rank, 3, 0.2, said.append) for rank in (0, 1))
    first.start()
    second.start()
    store.wait(["0", "1"])
    store.set("2", silence.ENDED)
    time.sleep(0.05)
    second.end()
    time.sleep(0.17)
    assert (first.found, said, store.get("1").decode()) == (None, [], f"{silence.ENDED} {os.getpid()}")
    first.end()


@pytest.mark.parametrize("earlier", [silence.ENDED, "0 1 7 place host"])
def test_what_is_left_of_processes_before_a_restart_is_no_sign_of_those_after_it(store, earlier):
    store.set("1", earlier)
    said: queue.Queue[str] = queue.Queue()
    watch = silence.Watch(0, 2, 0.1, said.put)
    watch.start()
    words = said.get(timeout=5)
    watch.end()
    assert words.startswith("trainer.devices: rank 1 has shown no sign of life for 0.1 s"), (
        "an old process is not named"
    )
    assert watch.signs == {}


@pytest.mark.parametrize(("sign", "said"), [(None, "has shown no sign of life"), (silence.ENDED, "has ended before")])
def test_a_process_that_never_comes_is_named_by_those_that_wait_for_it(store, monkeypatch, sign, said):
    never = threading.Event()

    def init() -> None:
        store.wait(["0"])
        if sign:
            store.set("1", sign)
        never.wait(20)

    monkeypatch.setattr(torch.distributed, "init_process_group", init)
    watch = partial(silence.begin, 0, 2, 0.1, print)
    with pytest.raises(KindlingError, match=f"rank 1 {said}"), silence.ended(), made_within_hearing(watch):
        torch.distributed.init_process_group()
    never.set()


def test_a_process_watches_as_the_rank_that_it_has_once_it_joins(monkeypatch):
    begun: list[tuple[int, int]] = []
    monkeypatch.setattr(silence, "begin", lambda rank, size, *_: begun.append((rank, size)))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda: None)
    trainer: Any = SimpleNamespace(global_rank=0, world_size=2, callbacks=[], is_global_zero=True)
    with ended_with_others(trainer, None):
        trainer.global_rank = 1
        torch.distributed.init_process_group()
    assert begun == [(1, 2)]


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_a_process_of_torchrun_is_not_to_start_processes_of_its_own(monkeypatch, strategy):
    config: Any = {"trainer": {"strategy": strategy}}
    refuse_to_start_processes_twice(config)
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "29511"}.items():
        monkeypatch.setenv(name, value)
    refuse_to_start_processes_twice({"trainer": {"strategy": "ddp"}})
    said = f"trainer.strategy: given {strategy} to one of several processes started together"
    with pytest.raises(ConfigError, match=rf"{said} \(torchrun-29511\), .* allowed: ddp;"):
        refuse_to_start_processes_twice(config)

"""Processes that come together: what names their run, who may start them, and a wait for the others that can end."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch.distributed

from kindling.errors import ConfigError, Interrupted
from kindling.lightning_internals.group import made_within_hearing
from kindling.process import ranks, signals
from kindling.run_folders.lifecycle import refuse_machines_without_a_launcher


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
    with pytest.raises(Interrupted, match="SIGTERM"), signals.deferred(object()), made_within_hearing():
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
    with made_within_hearing():
        torch.distributed.init_process_group("gloo", rank=0)
        with pytest.raises(ValueError, match="no such rank"):
            torch.distributed.init_process_group("gloo", rank=1)
    assert made == [("gloo", 0), ("gloo", 1)]
    assert torch.distributed.init_process_group is make

"""Cores that a process may use: those that it is bound to, and the time that its control groups leave it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kindling.process import cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the control groups lie, on a machine of eight cores."""
    monkeypatch.setattr(cores, "GROUPS", tmp_path)
    monkeypatch.setattr(cores, "OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    return tmp_path


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
        ("0::/pod/box\n", {"pod/box/cpu.max": "max 100000\n", "pod/cpu.max": "300000 100000\n"}, 3),
        ("0::/pod/box\n", {"pod/box/cpu.max": "400000 100000\n", "pod/cpu.max": "max 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "nothing\n"}, 8),
        ("0::/\n", {"cpu.max": "0 0\n"}, 8),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        # Of a container that sees its own group as the root.
        ("4:cpu:/docker/abc\n", {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 2),
    ],
)
def test_the_time_of_a_container_bounds_its_cores(groups, own, files, expected):
    write(groups / "own", own)
    for name, content in files.items():
        write(groups / name, content)
    assert cores.available_cores() == expected


def test_a_machine_without_control_groups_has_the_cores_that_it_is_bound_to(groups):
    assert cores.available_cores() == 8


SLURM = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of eight cores, whose settings stay in the test."""
    monkeypatch.setattr(cores, "available_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name in ("SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("num_processes", "decoding", "environment", "threads"),
    [
        (1, False, {}, 8),
        (1, True, {}, 4),
        (1, False, {"OMP_NUM_THREADS": "16"}, 16),
        (2, False, {}, 4),
        (2, True, {}, 2),
        # As Lightning sets it for two processes, and torchrun for any number.
        (2, False, {"OMP_NUM_THREADS": "4"}, 4),
        (2, True, {"OMP_NUM_THREADS": "4"}, 2),
        (2, False, {"OMP_NUM_THREADS": "1"}, 1),
        (2, False, {"OMP_NUM_THREADS": "8"}, 4),
        (16, True, {}, 1),
        # Slurm binds each task to cores of its own.
        (4, False, SLURM | {"SLURM_CPUS_PER_TASK": "8"}, 8),
        (4, False, SLURM | {"SLURM_CPUS_PER_TASK": "3"}, 3),
        (4, False, SLURM, 2),
        # A single task, which has started the processes itself.
        (2, False, SLURM | {"SLURM_NTASKS": "1", "SLURM_CPUS_PER_TASK": "8"}, 4),
    ],
)
def test_the_processes_of_a_machine_share_its_cores(monkeypatch, num_processes, decoding, environment, threads):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cores.share_cores(decoding=decoding, num_processes=num_processes) == threads
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(("num_processes", "workers"), [(1, 4), (2, 2), (8, 1), (16, 1)])
def test_half_of_the_cores_of_a_process_decode(num_processes, workers):
    assert cores.cores_for_decoding(num_processes) == workers


def test_a_single_core_is_not_shared_with_workers(monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: 1)
    assert [cores.cores_for_decoding(number) for number in (1, 2)] == [0, 0]

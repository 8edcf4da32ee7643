"""Cores that a process may use: those that it is bound to, and the time that its control groups leave it."""

import os
from pathlib import Path

import pytest

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

"""Variables of the environment that an earlier job left behind, and those that are no numbers."""

import os

import pytest

from kindling.process import ranks, surroundings
from kindling.process.cores import sleep_while_idle
from kindling.run_folders import lock
from kindling.run_folders.record import RunRecord
from kindling.training.failures import lost_process

OF_JOBS = (*surroundings.RANKS, *surroundings.MEETING_POINT, *surroundings.THREADS, ranks.FIRST_PID)


@pytest.fixture
def given(monkeypatch):
    """Sets the whole environment of processes, and lets it be set right."""

    def set_up(text: str) -> list[str]:
        names = {*OF_JOBS, "TORCHELASTIC_RUN_ID", *(name for name in os.environ if name.startswith("SLURM_"))}
        for name in names:
            monkeypatch.delenv(name, raising=False)
        for pair in text.split():
            monkeypatch.setenv(*pair.split("=", 1))
        ranks.stamp.cache_clear()
        return surroundings.set_right()

    return set_up


@pytest.mark.parametrize(
    "text",
    [
        "RANK=1",
        "RANK=0 WORLD_SIZE=2",
        "LOCAL_RANK=3",
        "RANK=1 LOCAL_RANK=1 WORLD_SIZE=8 LOCAL_WORLD_SIZE=8",
        "WORLD_SIZE=",
        "NODE_RANK=1 GROUP_RANK=1",
        "SLURM_NTASKS=4",
        "SLURM_NTASKS=4 SLURM_PROCID=2 SLURM_LOCALID=2",
        "JSM_NAMESPACE_RANK=2",
        "RANK=x WORLD_SIZE=2 TORCHELASTIC_RUN_ID=x",
        "RANK=2 WORLD_SIZE=2 TORCHELASTIC_RUN_ID=x",
        "SLURM_NTASKS=x SLURM_STEP_ID=0",
    ],
)
def test_a_rank_without_a_group_is_left_out_and_said(given, text):
    ranks_given = [each for each in text.split() if not each.startswith(("TORCHELASTIC", "SLURM_STEP"))]
    assert given(text) == [f"{', '.join(ranks_given)}: left out, as {surroundings.ALONE}"]
    assert ranks.is_first_process()
    assert not ranks.are_several()
    assert ranks.job() is None


def test_the_number_of_a_process_that_is_alone_is_not_mentioned(given):
    assert given("RANK=0 LOCAL_RANK=0 WORLD_SIZE=1") == []


@pytest.mark.parametrize(
    "text",
    [
        "RANK=1 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=1",
        "RANK=1 LOCAL_RANK=1 WORLD_SIZE=2 TORCHELASTIC_RUN_ID=x",
        f"LOCAL_RANK=1 {ranks.FIRST_PID}=12",
        "SLURM_NTASKS=4 SLURM_PROCID=2 SLURM_STEP_ID=0",
    ],
)
def test_a_rank_of_a_group_counts(given, text):
    assert given(text) == []
    assert not ranks.is_first_process()


BY_HAND = "RANK=1 LOCAL_RANK=1 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=29511"


@pytest.mark.parametrize(
    "trainer",
    [
        None,
        {"devices": 1},
        {"devices": "1", "num_nodes": 1},
        {"devices": [0]},
        {"devices": "auto", "accelerator": "cpu"},
    ],
)
def test_ranks_given_by_hand_count_only_for_a_trainer_of_several_processes(given, trainer):
    assert given(BY_HAND) == []
    assert ranks.stamp().startswith("torchrun")
    (line,) = surroundings.set_right_for(trainer)
    assert line == f"RANK=1, LOCAL_RANK=1, WORLD_SIZE=2: left out, as {surroundings.ONE_PROCESS}"
    assert ranks.is_first_process()
    assert not ranks.stamp().startswith("torchrun")


@pytest.mark.parametrize("trainer", [{"devices": 2}, {"devices": 1, "num_nodes": 2}, {"devices": [0, 1]}])
def test_ranks_given_by_hand_are_those_of_a_trainer_of_several_processes(given, trainer):
    given(BY_HAND)
    assert surroundings.set_right_for(trainer) == []
    assert not ranks.is_first_process()


def test_a_first_process_that_never_comes_is_said(given, tmp_path, monkeypatch, capsys):
    given(BY_HAND)
    for wait in ("FIRST_S", "PATIENCE_S"):
        monkeypatch.setattr(lock, wait, 0)
    RunRecord(tmp_path, {"resume": None}, []).join()
    assert f"rank 1: no first process of torchrun-29511 has come to {tmp_path} within 0 s;" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "The client socket has timed out after 4000ms while trying to connect to (localhost, 29511).",
        "Timed out after 5 seconds waiting for clients. 1/2 clients joined.",
    ],
)
def test_a_group_that_does_not_come_together_is_one_line(given, words):
    given(BY_HAND)
    line = lost_process(words) or ""
    assert line.startswith(f"trainer.devices: no group has come together at localhost:29511 ({words})")
    assert line.endswith("start all processes, or give trainer.devices=1 trainer.num_nodes=1 for one")


def test_a_group_of_a_launcher_is_not_asked_for_its_trainer(given):
    given(f"{BY_HAND} TORCHELASTIC_RUN_ID=x")
    assert surroundings.set_right_for({"devices": 1}) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("OMP_NUM_THREADS=", ""),
        ("OMP_NUM_THREADS=auto MKL_NUM_THREADS=0", ""),
        ("OMP_NUM_THREADS=-1", ""),
        ("OMP_NUM_THREADS=9999999999999", ""),
        ("MKL_NUM_THREADS=1025", ""),
        (f"OMP_NUM_THREADS={'9' * 5000}", ""),
        ("OMP_NUM_THREADS=1024", "1024"),
        ("OMP_NUM_THREADS=4,2", "4,2"),
        ("OMP_NUM_THREADS=3", "3"),
    ],
)
def test_what_is_no_number_of_threads_is_left_out_and_said(given, text, left):
    lines = given(text)
    assert os.environ.get("OMP_NUM_THREADS", "") == left
    assert bool(lines) == (not left)
    assert all(line.endswith("left out, as it is no number of threads; all cores are used") for line in lines)


@pytest.mark.parametrize(
    "given", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "1000"}, {}]
)
def test_threads_of_a_sweep_wait_asleep_unless_the_environment_says_how(monkeypatch, given):
    environment = dict(given)
    monkeypatch.setattr("os.environ", environment)
    sleep_while_idle()
    assert environment == (given or {"GOMP_SPINCOUNT": "1000"})

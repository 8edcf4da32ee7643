"""How a trial of a sweep is run: forked, as a command of its own, or by a launcher of Hydra's."""

import os
import sys
from typing import Any

import pytest
from omegaconf import OmegaConf

from kindling.errors import ConfigError
from kindling.process import gpus
from kindling.sweeps.commands import command_of, environment_of, gpus_of, needs_a_command
from kindling.sweeps.jobs import Jobs
from kindling.sweeps.launchers import OWN


def test_a_trial_is_a_command_of_its_own_where_it_takes_several_processes_or_a_gpu(monkeypatch, tmp_path):
    def needs(**trainer: Any) -> bool:
        return needs_a_command(OmegaConf.create({"trainer": {"accelerator": "auto", "devices": 1, **trainer}}))

    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not needs()
    assert not needs(strategy="auto")
    assert needs(devices=2)
    assert needs(devices="auto")
    assert needs(strategy="ddp")
    assert needs(accelerator="gpu")
    (tmp_path / "nvidia0").touch()
    assert needs()
    assert not needs(accelerator="cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert not needs()


def test_each_trial_sees_the_gpus_of_its_place_and_others_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / name).touch()
    assert gpus_of({"gpus": [0, 1]}) == ["0", "1"]
    assert gpus_of({"gpus": ["0,1"]}) == ["0,1"]
    assert gpus_of({"gpus": None}) == []
    with pytest.raises(ConfigError, match=r"sweep.gpus: given 2; allowed: 0, 1$"):
        gpus_of({"gpus": [0, 2]})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7a")
    assert gpus_of({"gpus": [1, 0, "GPU-7a"]}) == ["GPU-7a", "5", "GPU-7a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match=r"sweep.gpus: given 0; allowed: null, as this machine has no GPU"):
        gpus_of({"gpus": [0]})


def test_the_command_of_a_trial_is_what_a_person_would_type_without_what_belongs_to_the_sweep(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "--config-dir", "more", "sweep=grid", "seed=0,1"])
    monkeypatch.setenv("KINDLING_FIRST_PID", "1")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    of_hydra = ["hydra.verbose=true", "hydra.mode=MULTIRUN", "hydra.sweep.dir=x", "hydra/launcher=basic"]
    config = OmegaConf.create({"hydra": {"overrides": {"hydra": of_hydra}}})
    command = command_of(config, tmp_path / "it's" / "3", ["model=mlp", "seed=1"])
    assert command[1:] == [
        *("train.py", "--config-dir=more", "hydra.verbose=true", "model=mlp", "seed=1"),
        *(f"hydra.run.dir='{tmp_path}/it\\'s/3'", "resume=auto"),
    ]
    environment = environment_of("5")
    assert environment["CUDA_VISIBLE_DEVICES"] == "5"
    assert not {"KINDLING_FIRST_PID", "HYDRA_FULL_ERROR"} & environment.keys()
    assert environment["PATH"] == os.environ["PATH"]


def test_all_trials_have_as_many_cores_and_none_has_none(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    config = OmegaConf.create({"hydra": {"launcher": {"_target_": OWN}}})

    def shares(num: int) -> list[list[int]]:
        return Jobs(None, None, None, lambda: None, config, num).shares

    assert shares(1) == [[0, 1, 2]]
    assert shares(2) == [[0], [1]]
    assert shares(5) == [[0], [1], [2], [0], [1]]


def test_a_launcher_gets_a_trial_at_a_time_with_its_folder(tmp_path):
    calls = []

    class Launcher:
        def launch(self, batch, initial_job_idx):
            calls.append((batch, initial_job_idx))
            return ["done"]

    config = OmegaConf.create({"hydra": {"launcher": {"_target_": OWN}}})
    jobs = Jobs(None, None, None, lambda: None, config, 1)
    jobs.launcher = Launcher()
    assert jobs._way(tmp_path / "3", ["seed=1"], 0)() == "done"
    assert calls == [([["seed=1", f"hydra.sweep.dir='{tmp_path}'", "hydra.sweep.subdir=3", "resume=auto"]], 3)]

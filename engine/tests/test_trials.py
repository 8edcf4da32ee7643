"""How a trial of a sweep is run: forked, as a command of its own, or by a launcher of Hydra's."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from kindling.config.composition import Composer
from kindling.config.rules.sweep_rules import a_trial_is_of_one_machine, gpus_of_trials_are_named
from kindling.errors import ConfigError, KindlingError
from kindling.process import gpus, ranks
from kindling.run_folders.trials import read_trials
from kindling.sweeps.commands import command_of, environment_of, gpus_of, needs_a_command, where_configs_are
from kindling.sweeps.grid import naming_launcher, show_jobs
from kindling.sweeps.jobs import Jobs
from kindling.sweeps.launchers import OWN
from kindling.testing.commands import Fork, wait_for


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
        *(
            "train.py",
            f"--config-dir={Path('more').absolute()}",
            "hydra.verbose=true",
            "model=mlp",
            "seed=1",
            "sweep=none",
        ),
        *(f"hydra.run.dir='{tmp_path}/it\\'s/3'", "resume=auto"),
    ]
    of_hydra += ["hydra.searchpath=[file:///more]"]
    config = OmegaConf.create({"hydra": {"overrides": {"hydra": of_hydra}}})
    assert where_configs_are(config) == [f"--config-dir={Path('more').absolute()}", "hydra.searchpath=[file:///more]"]
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


@pytest.mark.parametrize(
    ("given", "accelerator", "said"),
    [
        ([0, 1], "auto", ""),
        (["0,1", "GPU-7a"], "gpu", ""),
        (2, "auto", "sweep.gpus: given 2; allowed: null, or GPUs, each once, such as [0, 1] or ['0,1', '2,3']"),
        ([], "auto", "sweep.gpus: given []; allowed: null, or GPUs, each once, such as [0, 1] or ['0,1', '2,3']"),
        ([0, "1,0"], "auto", "sweep.gpus: given [0, '1,0']; allowed: null, or GPUs, each once"),
        ([-1], "auto", "sweep.gpus: given [-1]; allowed: null, or GPUs, each once"),
        ([True], "auto", "sweep.gpus: given [True]; allowed: null, or GPUs, each once"),
        ([0], "cpu", "sweep.gpus: given [0] with trainer.accelerator=cpu; allowed: null, or another accelerator"),
    ],
)
def test_gpus_of_trials_that_cannot_be_are_refused(given, accelerator, said):
    config = {"sweep": {"sampler": "grid", "gpus": given}, "trainer": {"accelerator": accelerator}}
    lines = [str(fault) for fault in gpus_of_trials_are_named(config)]
    assert "".join(lines).startswith(said)
    assert len(lines) == bool(said)


def test_the_folder_of_a_sweep_is_the_same_in_each_process_that_gets_its_config(tmp_path):
    with Composer("train") as composer:
        config = composer.compose([f"paths.logs={tmp_path}"])
    folder = config.hydra.sweep.dir
    ranks.stamp.cache_clear()
    assert pickle.loads(pickle.dumps(config)).hydra.sweep.dir == folder


def test_the_jobs_of_a_large_grid_are_not_all_composed_before_the_first(monkeypatch):
    composed = []
    kind: Any = Plugins.instance().class_name_to_class["hydra_plugins.kindling_sweeper.GridSweeper"]
    monkeypatch.setattr(kind.__base__, "validate_batch_is_legal", lambda self, batch: composed.extend(batch))
    kind(max_batch_size=None).validate_batch_is_legal([["seed=0"]] * 100_000)
    assert len(composed) == 200


@pytest.mark.slow
def test_trials_of_two_processes_run_in_a_sweep_and_go_on_after_a_kill(tmp_path):
    lines = ["data=fake", "model=mlp", "test=false", "logger=csv", "trainer=ddp_cpu", "trainer.max_epochs=20"]
    lines += ["sweep=grid", "sweep.pruner=asha", "optimizer.lr=0.001,1e-9", f"paths.logs={tmp_path}"]
    lines += ["callbacks.resume_checkpoint.every_n_steps=3"]
    fork = Fork(tmp_path, "train.py", "-m", *lines)
    wait_for(tmp_path, "step_*.ckpt")
    os.kill(fork.process.pid or 0, signal.SIGKILL)
    fork.process.join()
    again = Fork(tmp_path, "train.py", "-m", *lines).result(timeout_s=300)
    assert again.returncode == 0, again.stderr
    trials = read_trials(tmp_path / "sweeps" / "default_grid")
    assert [trial.state for trial in trials] == ["finished", "pruned"]
    assert [len((trial.facts or {})["earlier"]) for trial in trials] == [1, 0]
    left = subprocess.run(["pgrep", "-f", f"paths.logs={tmp_path}"], capture_output=True, text=True).stdout
    assert not left, "no rank outlives its sweep"


def test_a_trial_of_several_machines_is_refused():
    config = {"sweep": {"sampler": "grid"}, "trainer": {"num_nodes": 2}}
    (said,) = map(str, a_trial_is_of_one_machine(config))
    assert said.startswith("trainer.num_nodes: given 2 in a sweep; allowed: 1; several machines share the trials")
    assert not [*a_trial_is_of_one_machine(config | {"sweep": None})]


def job(number: int, status: JobStatus, monitor: str) -> JobReturn:
    hydra = {"job": {"num": number}, "runtime": {"output_dir": f"/nowhere/{number}"}}
    cfg = OmegaConf.create({"monitor": monitor, "monitor_mode": "min"})
    return JobReturn([f"seed={number}"], cfg, OmegaConf.create({"hydra": hydra}), status=status)


def test_the_table_of_jobs_names_what_a_finished_one_monitors_and_where_the_others_are(capsys):
    broken = job(0, JobStatus.FAILED, "${nothing}")
    show_jobs([broken])
    assert capsys.readouterr().out == ""
    show_jobs([broken, *(job(number, JobStatus.COMPLETED, "val/x") for number in range(1, 23))])
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["trial", "val/x", "seed"]
    assert len([row for row in rows if row.lstrip()[0].isdigit()]) == 20
    assert "and 3 more: python runs.py ls /nowhere" in rows


def test_a_launcher_that_fails_itself_is_named_and_is_no_mistake_of_the_settings():
    with (
        pytest.raises(KindlingError, match=r"^sweep: int ended: ChildProcessError: killed; ") as raised,
        naming_launcher(3),
    ):
        raise ChildProcessError("killed")
    assert raised.value.exit_code == 1
    with pytest.raises(ConfigError, match=r"^optimizer\.lr"), naming_launcher(3):
        raise ConfigError("optimizer.lr: given x")

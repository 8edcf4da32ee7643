"""MLflow and W&B, played by fake_trackers.py, and themselves where they are installed."""

import json
import secrets
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import fake_trackers
from bench_root import CONFIGS
from kindling.cli.entry import compose
from kindling.config.rules import logger_rules
from kindling.errors import ConfigError
from kindling.loggers.tracking import name_of
from kindling.run_folders import record as run_folder
from kindling.train import train
from kindling.training.task import Task

EVERY_STEP = "callbacks.resume_checkpoint.every_n_steps=1"
pytestmark = pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy")  # MLflow 3.17 on sqlalchemy 2.1
NOT_THERE = "needs the extra: pip install -e './engine[mlflow,wandb]'"


@pytest.fixture(params=["played", "installed"])
def store(request, monkeypatch, tmp_path):
    """Gives the runs of an experiment in MLflow's store, each with its metrics' steps."""
    if request.param == "played":
        fake_trackers.install(monkeypatch)
    elif find_spec("mlflow") is None:
        pytest.skip(NOT_THERE)

    def runs(experiment: str = "default"):
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]  an extra

        client = MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow.db")
        found = client.get_experiment_by_name(experiment)
        return [(client, run) for run in client.search_runs([found.experiment_id])] if found else []

    return runs


@pytest.fixture
def fakes(monkeypatch):
    fake_trackers.install(monkeypatch)
    return fake_trackers


def steps(client, run, metric):
    return [each.step for each in client.get_metric_history(run.info.run_id, metric)]


def test_an_extra_that_is_missing_is_named_in_one_line_before_anything_is_created(config, tmp_path, monkeypatch):
    monkeypatch.setattr(logger_rules, "find_spec", lambda name: None)
    line = (
        r"^logger\.{0}: given {1}, whose package is not installed; "
        r"install it with pip install -e '\./engine\[{0}\]' \(\S+\)$"
    )
    for name, target in (("mlflow", "MLflowRun"), ("wandb", "WandbRun")):
        with pytest.raises(ConfigError, match=line.format(name, target)):
            config(f"logger=[csv,{name}]")
    with pytest.raises(ConfigError, match="given WandbLogger, whose package"):
        config("+logger.own._target_=lightning.pytorch.loggers.WandbLogger")
    assert not (tmp_path / "logs").exists()


def test_a_run_tells_mlflow_its_settings_its_tags_and_how_it_ended(store, train_run, monkeypatch):
    monkeypatch.setattr(run_folder, "git_state", lambda: {"commit": "c0ffee", "diff": ""})
    run = train_run("experiment=mlp", "logger=[csv,mlflow]", "optimizer.lr=0.02", "trainer.max_epochs=2")
    ((client, found),) = store("mlp")
    assert found.info.run_name == run.folder.name
    assert found.info.status == "FINISHED"
    assert found.data.params["optimizer.lr"] == "0.02"
    assert len(found.data.params) > 100
    expected = {"experiment": "mlp", "model": "MLP", "data": "FakeImages", "status": "finished"}
    assert {key: found.data.tags[key] for key in expected} == expected
    record = json.loads((run.folder / "run.json").read_text())
    assert found.data.tags["git_commit"] == record["git"]["commit"]
    assert found.data.metrics["test/accuracy"] == run.metrics["test/accuracy"]
    assert found.data.metrics["best/val/loss"] == pytest.approx(record["best"]["score"])
    assert steps(client, found, "val/loss") == [7, 15]


@pytest.mark.slow
def test_a_run_that_is_stopped_is_killed_in_mlflow_and_goes_on_as_the_same_run(store, train_run, stop_at):
    longer = ["logger=mlflow", "scheduler=constant", EVERY_STEP]
    stopped = stop_at(11, *longer)
    ((client, found),) = store()
    assert found.info.status == "KILLED"
    assert found.data.tags["reason"] == "Interrupted: SIGTERM"
    assert found.data.params["seed"] == "0"
    assert steps(client, found, "val/loss") == [7]
    train_run(*longer, f"resume={stopped.paths.run}", "trainer.max_epochs=3")
    ((client, again),) = store()
    assert again.info.run_id == found.info.run_id
    assert again.info.status == "FINISHED"
    assert again.data.params["trainer.max_epochs"] == "2"
    assert again.data.tags["resumed.trainer.max_epochs"] == "3"
    assert steps(client, again, "val/loss") == [7, 15, 23]
    assert sorted(set(steps(client, again, "train/loss_step"))) == list(range(24))


def test_what_precedes_a_checkpoint_is_in_the_store_before_it(store, config, monkeypatch):
    """A run killed outright then loses nothing, since it is resumed from there."""
    written = []
    save = "kindling.checkpoints.resume_checkpoint.resume_files.name_last"

    def look(file):
        ((client, run),) = store()
        written.append((file.stem, steps(client, run, "train/loss_step")))

    monkeypatch.setattr(save, look)
    train(config("logger=mlflow", "callbacks.resume_checkpoint.every_n_steps=6", "trainer.max_epochs=1"))
    assert written == [("step_000000006", list(range(6))), ("step_000000008", list(range(8)))]


def test_a_run_that_fails_is_failed_and_a_store_that_fails_hides_nothing(store, train_run, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(Task, "training_step", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        train_run("logger=mlflow")
    ((_, found),) = store()
    assert found.info.status == "FAILED"
    monkeypatch.setattr("kindling.loggers.mlflow_run.MLflowRun.end", lambda *arguments: 1 / 0)
    with pytest.raises(RuntimeError, match="out of luck"):
        train_run("logger=mlflow")
    assert "MLflowRun could not log that the run has failed: division by zero" in caplog.text


@pytest.mark.slow
def test_a_run_that_mlflow_no_longer_has_starts_there_anew(fakes, train_run, stop_at):
    stopped = stop_at(11, "logger=mlflow", EVERY_STEP)
    fakes.MlflowClient.stores.clear()
    train_run("logger=mlflow", EVERY_STEP, f"resume={stopped.paths.run}")
    ((run,),) = [store.values() for store in fakes.MlflowClient.stores.values()]
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_a_fork_is_a_run_of_its_own(fakes, train_run, stop_at):
    stopped = stop_at(11, "logger=[mlflow,wandb]", EVERY_STEP)
    train_run("logger=[mlflow,wandb]", f"fork={stopped.paths.run}")
    ((killed, forked),) = [store.values() for store in fakes.MlflowClient.stores.values()]
    assert [killed.info.status, forked.info.status] == ["KILLED", "FINISHED"]
    assert len({run.id for run in fakes.WandbRun.runs}) == 2


def test_no_secret_reaches_a_tracker(fakes, train_run, monkeypatch):
    secret = f"s{secrets.token_hex(6)}"  # no number
    monkeypatch.setattr("sys.argv", ["train.py", f"+hub.api_key={secret}"])
    train_run("logger=[mlflow,wandb]", f"+hub.api_key={secret}", "trainer.max_epochs=1")
    ((run,),) = [store.values() for store in fakes.MlflowClient.stores.values()]
    (wandb,) = fakes.WandbRun.runs
    assert run.data.params["hub.api_key"] == wandb.settings["hub.api_key"] == "<redacted>"
    assert secret not in f"{run.data}{wandb.settings}{wandb.given}"
    private = wandb.given["settings"]
    assert (private.x_disable_meta, private.disable_git, private.console) == (True, True, "off")


def test_wandb_stays_offline_says_how_to_upload_and_goes_on_with_its_id(fakes, train_run, stop_at, caplog):
    caplog.set_level("INFO")
    stopped = stop_at(11, "logger=wandb", EVERY_STEP, "optimizer.lr=0.02")
    run = train_run("logger=wandb", EVERY_STEP, "optimizer.lr=0.02", f"resume={stopped.paths.run}")
    first, second = fakes.WandbRun.runs
    assert first.id == second.id == run.folder.name
    assert second.given["resume"] == "allow"
    assert f"to upload this run: wandb sync {run.folder}/wandb/offline-*" in caplog.text
    assert first.given["mode"] == "offline"
    assert first.given["dir"] == str(run.folder)
    assert first.settings["optimizer.lr"] == 0.02
    assert first.settings["run.model"] == "CNN"
    assert (first.summary["status"], first.exit_code) == ("interrupted", 1)
    assert (second.summary["status"], second.exit_code) == ("finished", 0)
    assert [row["val/loss"] for row in second.rows if "val/loss" in row]
    assert second.summary["best/val/loss"] == pytest.approx(
        json.loads((run.folder / "run.json").read_text())["best"]["score"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_trackers_get_the_pictures_and_the_table_of_a_run(fakes, train_run, tmp_path, logger):
    train_run("callbacks=tensorboard", f"logger={logger}", "trainer.max_epochs=1", "optimizer.lr=1e-6")
    if logger == "wandb":
        found = {tag: row[tag][0] for row in fakes.WandbRun.runs[-1].rows for tag in row if isinstance(row[tag], list)}
        tables = {tag: row[tag] for row in fakes.WandbRun.runs[-1].rows for tag in row if isinstance(row[tag], dict)}
        (columns, rows) = tables["val/classes"]["columns"], tables["val/classes"]["data"]
    else:
        (run,) = fakes.MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow.db").runs.values()
        found = {tag: each[0].value for tag, each in run.data.history.items() if isinstance(each[0].value, np.ndarray)}
        (table,) = run.data.history["val/classes/step_7.json"]
        columns, rows = list(table.value), list(zip(*table.value.values(), strict=True))
    assert columns == ["class", "precision", "recall", "f1", "images", "taken for"]
    assert (sorted(row[0] for row in rows), sum(row[4] for row in rows)) == ([f"class {k}" for k in range(10)], 64)
    assert found.keys() == {"train/images", "val/mistakes", "val/confusion_matrix"}
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in found.values())


@pytest.mark.needs("sweeps")
def test_the_jobs_of_a_sweep_are_named_after_it():
    assert name_of("logs/cnn/2026-01-01_00-00-00-abcd") == "2026-01-01_00-00-00-abcd"
    assert name_of("logs/sweeps/cnn_2026-01-01_00-00-00-abcd/3") == "cnn_2026-01-01_00-00-00-abcd/3"


@pytest.mark.slow
def test_an_experiment_can_have_another_name(fakes):
    chosen = compose(["experiment=cnn", "logger=mlflow"])
    named = compose(["experiment=cnn", "logger=mlflow", "experiment_name=ablation"])
    assert chosen.logger.mlflow.experiment_name == "cnn"
    assert named.logger.mlflow.experiment_name == "ablation"
    assert compose(["logger=mlflow"]).logger.mlflow.experiment_name == "default"


@pytest.mark.needs("sweeps")
@pytest.mark.slow
@pytest.mark.skipif(find_spec("mlflow") is None, reason=NOT_THERE)
def test_the_jobs_of_a_sweep_share_the_store(tmp_path):
    small = ["data=fake", "data.image_size=16", "trainer=cpu", "trainer.max_epochs=1", f"paths.logs={tmp_path}"]
    command = [sys.executable, "train.py", "-m", "seed=0,1", "logger=mlflow", *small]
    ended = subprocess.run(command, cwd=CONFIGS.parent, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "locked" not in ended.stderr
    from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]  an extra

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("default").experiment_id])
    assert sorted(run.data.params["seed"] for run in runs) == ["0", "1"]
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.skipif(find_spec("wandb") is None, reason=NOT_THERE)
def test_wandb_itself_writes_a_run_without_secrets(train_run, monkeypatch):
    secret = f"s{secrets.token_hex(6)}"  # no number
    monkeypatch.setattr("sys.argv", ["train.py", f"+hub.api_key={secret}"])
    run = train_run("logger=wandb", f"+hub.api_key={secret}", "trainer.max_epochs=1")
    (file,) = run.folder.glob(f"wandb/offline-run-*/run-{run.folder.name}.wandb")
    assert b"test/accuracy" in file.read_bytes()
    files = [file for file in (run.folder / "wandb").rglob("*") if file.is_file()]
    assert not [file for file in files if secret.encode() in file.read_bytes()]


@pytest.mark.slow
def test_a_store_that_is_busy_for_a_while_loses_nothing_and_costs_no_run(
    fakes, train_run, monkeypatch, tmp_path, caplog
):
    log_batch, calls = fake_trackers.MlflowClient.log_batch, []

    def busy(self, run_id, metrics=(), **rest):
        calls.append(len(metrics))
        if metrics and sum(map(bool, calls)) == 1:
            raise RuntimeError("database is locked")
        return log_batch(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(fake_trackers.MlflowClient, "log_batch", busy)
    train_run("logger=mlflow", EVERY_STEP, "trainer.max_epochs=2")
    assert caplog.text.count("takes no metrics (database is locked); they are held back") == 1
    (run,) = fake_trackers.MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow.db").runs.values()
    assert run.info.status == "FINISHED"
    assert [each.step for each in run.data.history["train/loss_step"]] == list(range(16))

"""Modules that know nothing of the engine, through the front door: train, NaN, signals, resume, evaluate, fork."""

import csv
import json
import logging
import os
import signal
import warnings
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning_utilities.core.apply_func import apply_to_collection
from omegaconf import DictConfig

import crash
import foreign_runs
from foreign_runs import RUNS, lines
from kindling.cli.entry import compose
from kindling.config.targets import locate
from kindling.errors import DivergedError, Interrupted
from kindling.evaluate import evaluate
from kindling.process import signals
from kindling.testing.runs import same_weights
from kindling.train import train
from long_run import some

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::UserWarning:lightning",
        "ignore:.*LeafSpec",
        "ignore::UserWarning:torch.nn.modules",
        # The demo pins memory whatever the device.
        "ignore:'pin_memory' argument is set as true",
    ),
    pytest.mark.usefixtures("given_files"),
]
# Their nets are wide, or their words many.
SLOW = {"transformer", "LSTM", "autoencoder", "manual optimization"}
# They have no test step, or draw other test data whenever they are set up.
UNTESTED = {"autoencoder", "LSTM", "transformer", "several loaders"}


QUICK = RUNS.keys() - SLOW


@pytest.fixture
def given_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_USE_MOCKED_MNIST", "1")
    # A second signal within a second is taken for the same.
    monkeypatch.setattr(signals, "SAME_SIGNAL_S", 0.0)
    foreign_runs.write_files(tmp_path)


@pytest.fixture
def cfg_of(tmp_path):
    return lambda name, *further: compose(lines(name, f"paths.logs={tmp_path}/logs", *further))


def record_of(cfg: DictConfig) -> dict[str, Any]:
    return json.loads((Path(cfg.paths.run) / "run.json").read_text())


def rows_of(cfg: DictConfig) -> list[dict[str, str]]:
    with (Path(cfg.paths.run) / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def weights_of(cfg: DictConfig) -> dict[str, torch.Tensor]:
    return torch.load(Path(cfg.paths.run) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def at(monkeypatch):
    """Has something done to the batch of a module's training step at a place, once or each time that it comes there."""

    def patch(name: str, place: tuple[int, int], do: Any, *, once: bool = False) -> None:
        kind: Any = locate(RUNS[name][0][0], "task")
        step, done = kind.training_step, []

        def training_step(self: LightningModule, batch: Any, batch_idx: int) -> Any:
            if (self.current_epoch, batch_idx) == place and not (once and done):
                done.append(place)
                batch = do(self, batch)
            return step(self, batch, batch_idx)

        monkeypatch.setattr(kind, "training_step", training_step)

    return patch


def poison(module: Any, batch: Any) -> Any:
    if hasattr(module, "rows"):
        module.rows = module.rows * torch.nan
    return apply_to_collection(batch, torch.Tensor, lambda each: each * torch.nan if each.is_floating_point() else each)


def terminate(module: Any, batch: Any) -> Any:
    os.kill(os.getpid(), signal.SIGTERM)
    return batch


@pytest.mark.parametrize("name", some(RUNS, *QUICK))
def test_a_foreign_module_is_trained_and_evaluated_with_metrics_of_its_own_names(name, cfg_of):
    cfg = cfg_of(name)
    metrics = train(cfg)
    record = record_of(cfg)
    assert record["status"] == "finished"
    assert record["metrics"] == metrics
    assert metrics.keys() >= RUNS[name][2]
    assert {key for row in rows_of(cfg) for key, value in row.items() if value} >= RUNS[name][2]
    assert {"best.ckpt", "last.ckpt"} <= {file.name for file in Path(cfg.paths.run, "checkpoints").iterdir()}
    if name not in UNTESTED:
        found = evaluate(compose([f"run={cfg.paths.run}"], "evaluate"))
        assert found == {key: metrics[key] for key in found}


@pytest.mark.parametrize(
    ("name", "monitor"),
    [
        pytest.param("GAN", "val_gap", marks=pytest.mark.slow),
        ("several loaders", "val_loss/dataloader_idx_1"),
        pytest.param("log in every hook", "validation_step_sum", marks=pytest.mark.slow),
    ],
)
def test_the_best_checkpoint_is_that_of_the_metric_which_a_module_logs(name, monitor, cfg_of):
    cfg = cfg_of(name, f"monitor={monitor}", "monitor_mode=min", "trainer.max_epochs=4")
    train(cfg)
    values = [float(row[monitor]) for row in rows_of(cfg) if row.get(monitor)]
    assert len(values) == 4
    best = record_of(cfg)["best"]
    assert best["monitor"] == monitor
    assert best["score"] == pytest.approx(min(values))


def test_the_loss_of_the_first_of_several_loaders_decides_if_nothing_else_is_said(cfg_of, caplog):
    caplog.set_level(logging.INFO)
    cfg = cfg_of("several loaders", "trainer.max_epochs=4")
    metrics = train(cfg)
    first = "val_loss/dataloader_idx_0"
    values = [float(row[first]) for row in rows_of(cfg) if row[first]]
    score = pytest.approx(min(values))
    assert record_of(cfg)["best"] == {"monitor": "val_loss", "score": score, "epoch": values.index(min(values))}
    assert metrics["val_loss"] == metrics[first]
    said = [text for text in caplog.messages if text.startswith("monitor: ")]
    assert said == [f"monitor: val_loss is logged for each of several dataloaders; {first} decides"]


@pytest.mark.parametrize(
    "name", some(["boring", "several loaders", "manual optimization", "GAN", "autoencoder"], *QUICK)
)
def test_a_nan_of_a_foreign_module_stops_the_run_and_names_the_batch(name, cfg_of, at):
    at(name, (1, 2), poison)
    cfg = cfg_of(name)
    with pytest.raises(DivergedError, match="epoch 1, batch 2"):
        train(cfg)
    assert record_of(cfg)["status"] == "failed"


@pytest.mark.parametrize("name", some(["several loaders", "autoencoder", "GAN"], "GAN"))
def test_a_rollback_leaves_the_batch_of_a_foreign_module_out(name, cfg_of, at):
    at(name, (1, 2), poison)
    cfg = cfg_of(name, "on_nan=rollback")
    train(cfg)
    assert record_of(cfg)["status"] == "finished"
    assert record_of(cfg)["rollbacks"] == [[1, 2]]


def test_what_a_resume_says_is_not_said_again_by_the_replay_of_a_nan(cfg_of, at, caplog):
    caplog.set_level(logging.INFO)
    every_step = "callbacks.resume_checkpoint.every_n_steps=1"
    at("GAN", (1, 1), terminate, once=True)
    cfg = cfg_of("GAN", every_step)
    with pytest.raises(Interrupted):
        train(cfg)
    at("GAN", (1, 4), poison)
    with pytest.raises(DivergedError, match="epoch 1, batch 4"):
        train(cfg_of("GAN", every_step, f"resume={cfg.paths.run}"))
    assert len([text for text in caplog.messages if "are drawn again" in text]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", some(RUNS, "several loaders"))
def test_sigterm_saves_a_foreign_run_which_is_resumed_to_the_same_bits(name, cfg_of, at, caplog):
    whole = cfg_of(name)
    metrics = train(whole)
    at(name, (1, 2), terminate, once=True)
    cfg = cfg_of(name)
    with pytest.raises(Interrupted, match="SIGTERM"):
        train(cfg)
    assert record_of(cfg)["status"] == "interrupted"
    with warnings.catch_warnings():
        # Of a value that was logged only before the resume.
        warnings.filterwarnings("error", "The ``compute`` method of metric")
        resumed = train(cfg_of(name, f"resume={cfg.paths.run}"))
    if name == "LSTM":
        assert "keeps hidden in plain attributes, which no checkpoint holds" in caplog.text
        return
    assert resumed == metrics
    assert same_weights(weights_of(cfg), weights_of(whole))
    assert [row.items() for row in rows_of(cfg)] == [row.items() for row in rows_of(whole)]


@pytest.mark.slow
@pytest.mark.parametrize("name", some(["GAN", "several loaders"], "several loaders"))
def test_a_foreign_run_goes_on_in_a_fork_and_lends_its_weights(name, cfg_of):
    whole, origin = cfg_of(name, "trainer.max_epochs=3"), cfg_of(name)
    train(whole)
    train(origin)
    fork = cfg_of(name, f"fork={origin.paths.run}", "trainer.max_epochs=3")
    train(fork)
    assert same_weights(weights_of(fork), weights_of(whole))
    lent = cfg_of(name, f"weights={origin.paths.run}", "train=false")
    found = train(lent)
    assert {key for key in found if key.startswith("test")} == {key for key in RUNS[name][2] if key.startswith("test")}


@pytest.mark.slow
@pytest.mark.parametrize("name", some(["GAN", "several loaders"], "several loaders"))
def test_a_foreign_run_that_is_killed_at_random_ends_with_the_same_bits(name, tmp_path):
    overrides = lines(name, "callbacks.resume_checkpoint.every_n_steps=3", "trainer.max_epochs=20")
    expected = crash.run(tmp_path / "run", overrides)
    for index in range(3):
        folder = tmp_path / f"killed-{index}"
        assert crash.kill_three_times(folder, overrides, Random(index), 2.0) == []
        assert crash.differences(folder, expected) == []


@pytest.mark.slow
def test_a_plain_module_is_trained_by_two_processes(tmp_path):
    overrides = lines("GAN", "trainer=ddp_cpu", f"paths.logs={tmp_path}/logs")
    code = crash.wait(crash.fork(lambda: crash.command(*overrides), tmp_path / "log"))
    assert code == 0, (tmp_path / "log").read_text()
    (record,) = (tmp_path / "logs").glob("*/*/run.json")
    assert json.loads(record.read_text())["status"] == "finished"

"""Modules that do whatever Lightning allows: each is trained, or refused before the first step by its name."""

import csv
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loops.optimization.automatic import Closure
from lightning_utilities.core.rank_zero import WarningCache

from bench import hostile
from kindling.cli.entry import compose
from kindling.errors import ConfigError, Interrupted
from kindling.process import signals
from kindling.testing.runs import same_weights
from kindling.train import train
from long_run import some

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:lightning", "ignore:.*LeafSpec", "ignore:.*returned `None`", "ignore:.*is an instance of `nn"
)
SMALL = [
    *("task=plain", "trainer=cpu", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "logger=csv"),
    *("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"),
    "callbacks.resume_checkpoint.every_n_steps=1",
]
IMAGES = ["model=mlp", "model.hidden=[8]", "data=fake", "data.image_size=8", "data.num_images=64"]


@pytest.fixture
def cfg_of(tmp_path):
    def compose_one(name: str, *further: str, data: tuple[str, ...] = ("foreign", "data._target_=bench.hostile.Rows")):
        chosen = [f"data={data[0]}", *data[1:]] if data else []
        task = f"task._target_=bench.hostile.{name}"
        return compose([*SMALL, task, *chosen, f"paths.logs={tmp_path}/logs", *further])

    return compose_one


def weights_of(cfg: Any) -> dict[str, torch.Tensor]:
    return torch.load(Path(cfg.paths.run) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def said(caplog: Any, start: str) -> list[str]:
    return [text for text in caplog.messages if text.startswith(start)]


TRAINED = [
    *("GivesADict", "GivesNothingAtTimes", "WithoutIndex", "TwoLists", "Plateau", "Several", "SavesItself"),
    *("OptimizerIsNone", "LogsOddly", "TakesTheIterator"),
]


@pytest.mark.parametrize("name", some(TRAINED, "SavesItself"))
def test_whatever_lightning_allows_is_trained_and_resumed_to_the_same_bits(name, cfg_of, monkeypatch):
    monkeypatch.setattr(signals, "SAME_SIGNAL_S", 0.0)
    whole = cfg_of(name)
    metrics = train(whole)
    kind = getattr(hostile, name)
    validate, times = kind.validation_step, []

    def validation_step(self: Any, batch: Any, batch_idx: int) -> Any:
        times.append(1)
        # The sanity check has two: the first epoch has ended.
        if len(times) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(self, batch) if name == "WithoutIndex" else validate(self, batch, batch_idx)

    monkeypatch.setattr(kind, "validation_step", validation_step)
    cfg = cfg_of(name)
    with pytest.raises(Interrupted):
        train(cfg)
    assert train(cfg_of(name, f"resume={cfg.paths.run}")) == metrics
    assert same_weights(weights_of(cfg), weights_of(whole))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("WithoutTraining", "task: given WithoutTraining, which has no training_step; write it, or take another task"),
        ("WithoutOptimizer", "task: given WithoutOptimizer, which has no configure_optimizers; write it, or take "),
        (
            "SavesAnObject",
            "task: given bench.hostile.Reporter for a checkpoint as reporter; allowed: tensors, numbers, texts, lists "
            "and dicts; mend on_save_checkpoint or state_dict",
        ),
    ],
)
def test_a_module_that_cannot_be_trained_or_saved_is_refused_by_name(name, line, cfg_of):
    with pytest.raises(ConfigError) as refused:
        train(cfg_of(name))
    assert str(refused.value).startswith(line)


def test_a_module_without_a_test_step_is_told_of_at_the_start(cfg_of, caplog):
    caplog.set_level(logging.INFO)
    assert "val_loss" in train(cfg_of("WithoutTest"))
    assert said(caplog, "test:") == ["test: WithoutTest has no test_step; nothing is tested"]


@pytest.mark.parametrize("name", ["WithoutValidation", "Plain"])
def test_the_last_epoch_is_the_best_where_nothing_is_validated(name, cfg_of, caplog):
    cfg = cfg_of(name, *(["+data.val=false"] if name == "Plain" else []))
    train(cfg)
    line = "warning: monitor: val_loss, while nothing is validated; the last epoch is taken as the best"
    assert said(caplog, "warning: monitor") == [line]
    best = torch.load(Path(cfg.paths.run) / "checkpoints" / "best.ckpt", weights_only=True)
    assert same_weights(best["state_dict"], weights_of(cfg))


def test_a_step_that_takes_the_iterator_is_told_of_its_checkpoints(cfg_of, caplog):
    caplog.set_level(logging.INFO)
    cfg = cfg_of("TakesTheIterator")
    train(cfg)
    line = "resume: TakesTheIterator takes its batches itself, so checkpoints are taken only where an epoch begins"
    assert said(caplog, "resume:") == [line]


def test_a_step_that_gives_nothing_is_told_of(cfg_of, monkeypatch):
    # Lightning warns once in a process.
    monkeypatch.setattr(Closure, "warning_cache", WarningCache())
    with pytest.warns(UserWarning, match="`training_step` returned `None`"):
        train(cfg_of("GivesNothing"))


def test_a_module_brings_its_own_loaders(cfg_of):
    cfg = cfg_of("BringsItsData", data=("none",))
    metrics = train(cfg)
    assert metrics.keys() >= {"train_loss", "val_loss", "test_loss"}
    again = train(cfg_of("BringsItsData", "trainer.max_epochs=3", f"fork={cfg.paths.run}", data=("none",)))
    assert again == train(cfg_of("BringsItsData", "trainer.max_epochs=3", data=("none",)))


def test_a_module_without_loaders_cannot_do_without_data(cfg_of):
    with pytest.raises(ConfigError, match="data: given null, which Plain cannot do without; allowed: a node with "):
        train(cfg_of("Plain", data=("none",)))


def test_what_is_logged_in_odd_ways_stands_in_the_record_and_the_table(cfg_of):
    cfg = cfg_of("LogsOddly")
    metrics = train(cfg)
    assert metrics.keys() >= {"mean", "a/b/c", "with space", "ünicode", "not shown", "val/loss", "test_loss"}
    with (Path(cfg.paths.run) / "metrics.csv").open() as stream:
        logged = {key for row in csv.DictReader(stream) for key, value in row.items() if value}
    assert logged >= {"mean", "a/b/c_epoch", "with space_step", "ünicode_epoch", "val/loss_epoch"}
    assert "not shown" not in logged


# As lightning-hydra-template writes them


@pytest.mark.parametrize(
    "choice",
    some(["scheduler=none", "scheduler=step", "scheduler=plateau", "scheduler.interval=epoch"], "scheduler=plateau"),
)
def test_a_module_of_the_template_takes_our_net_optimizer_and_schedule(choice, cfg_of):
    cfg = cfg_of("Template", *IMAGES, choice, "callbacks.summary=null", data=())
    metrics = train(cfg)
    assert metrics.keys() == {"train/loss", "val/loss", "val/acc", "test/loss"}
    saved = torch.load(Path(cfg.paths.run) / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["hyper_parameters"] == {"compile": False} | ({"scheduler": None} if "none" in choice else {})
    assert len(saved["lr_schedulers"]) == ("none" not in choice)


def test_the_cosine_of_a_template_falls_over_the_epochs_that_there_are(cfg_of):
    epochs = ("scheduler.interval=epoch", "scheduler.scheduler.warmup=0", "trainer.max_epochs=4")
    cfg = cfg_of("Template", *IMAGES, *epochs, "callbacks.summary=null", data=())
    train(cfg)
    with (Path(cfg.paths.run) / "metrics.csv").open() as stream:
        rates = [float(row["lr-AdamW"]) for row in csv.DictReader(stream) if row["lr-AdamW"]]
    assert [rate / rates[0] for rate in rates] == pytest.approx([1, 0.8536, 0.5, 0.1464], abs=1e-4)


def test_a_schedule_that_a_module_steps_at_other_times_is_refused(cfg_of):
    with pytest.raises(ConfigError) as refused:
        train(cfg_of("Template", *IMAGES, data=()))
    assert str(refused.value) == (
        "scheduler.interval: given step, and Template steps the schedule every epoch; "
        "allowed: scheduler.interval=epoch, or scheduler=none"
    )


def test_a_refused_module_leaves_no_run_behind(cfg_of, tmp_path):
    with pytest.raises(ConfigError):
        train(cfg_of("WithoutTraining"))
    assert [json.loads(file.read_text())["status"] for file in tmp_path.rglob("run.json")] == []

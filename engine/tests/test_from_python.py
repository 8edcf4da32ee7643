"""A task and data that a program made itself are trained like those of a config."""

import json
import logging
import threading
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import R2Score

from kindling.checkpoints import resume_files
from kindling.cli.entry import compose
from kindling.data.datamodule import DataModule
from kindling.errors import ConfigError, DivergedError, Interrupted
from kindling.train import train
from kindling.training.task import StepOutput, Task
from long_run import some

INPUTS = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
ROWS = INPUTS, INPUTS @ torch.tensor([1.0, 2, 3, 4])
DATA = {"train": ROWS, "val": ROWS, "test": ROWS}
EVERY_STEP = "callbacks.resume_checkpoint.every_n_steps=1"


class Line(LightningModule):
    def __init__(self, poisoned: int | None = None):
        super().__init__()
        self.net = nn.Sequential(nn.Dropout(0.1), nn.Linear(4, 1))
        self.poisoned = poisoned
        self.stops = False

    def _loss(self, batch):
        x, y = batch
        return (self.net(x).squeeze(1) - y).square().mean()

    def training_step(self, batch, batch_idx):
        if self.stops and self.global_step == 5:
            raise Interrupted("SIGTERM")
        loss = self._loss(batch) * (torch.nan if self.global_step == self.poisoned else 1)
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self._loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WithoutTest(Line):
    test_step = LightningModule.test_step  # pyright: ignore[reportAssignmentType]


class WithLoaders(Line):
    def train_dataloader(self):
        return DataLoader(TensorDataset(*ROWS), batch_size=16, shuffle=True)

    def val_dataloader(self):
        return DataLoader(TensorDataset(*ROWS), batch_size=16)


def line(kind=Line, **settings):
    torch.manual_seed(0)
    return kind(**settings)


def weight_of(task: Line) -> torch.Tensor:
    return task.state_dict()["net.1.weight"].clone()


@pytest.fixture
def given(tmp_path):
    def config(*overrides: str):
        lines = {each.partition("=")[0]: each for each in (*SMALL, f"paths.logs={tmp_path}/logs", *overrides)}
        return compose(list(lines.values()))

    return config


SMALL = (
    "logger=csv",
    "trainer=cpu",
    "trainer.log_every_n_steps=2",
    "trainer.max_epochs=3",
    "trainer.enable_progress_bar=false",
    "data.batch_size=16",
)


def record(cfg):
    return json.loads((resume_files.Path(cfg.paths.run) / "run.json").read_text())


@pytest.mark.parametrize(
    "data",
    [
        DATA,
        {name: TensorDataset(*rows) for name, rows in DATA.items()},
        {name: DataLoader(TensorDataset(*rows), batch_size=16, shuffle=name == "train") for name, rows in DATA.items()},
    ],
    ids=["tensors", "data sets", "loaders"],
)
def test_a_module_of_a_program_is_trained_itself_validated_and_tested(given, data):
    task, cfg = line(), given()
    before = weight_of(task)
    metrics = train(cfg, task=task, data=data)
    assert {"train_loss", "val_loss", "test_loss"} <= metrics.keys()
    assert metrics["test_loss"] == pytest.approx(metrics["val_loss"])
    assert not torch.equal(before, weight_of(task))
    assert record(cfg)["best"]["monitor"] == "val_loss"


@pytest.mark.parametrize(
    ("kind", "resume"), some([(Line, "{run}"), (WithLoaders, "{run}"), (Line, "auto")], (Line, "{run}"))
)
def test_a_module_of_a_program_resumes_to_the_same_bits(given, kind, resume):
    data = None if kind is WithLoaders else {**DATA, "train": DataLoader(TensorDataset(*ROWS), 16, shuffle=True)}
    whole = line(kind)
    expected = train(given(), task=whole, data=data)
    stopped, cfg = line(kind), given(EVERY_STEP)
    stopped.stops = True
    with pytest.raises(Interrupted):
        train(cfg, task=stopped, data=data)
    again = line(kind)
    metrics = train(given(EVERY_STEP, f"resume={resume.format(run=cfg.paths.run)}"), task=again, data=data)
    assert metrics == expected
    assert record(cfg)["status"] == "finished", "in its own folder"
    assert torch.equal(weight_of(again), weight_of(whole))


def test_a_nan_is_found_and_rolled_back_from(given):
    with pytest.raises(DivergedError, match=r"step 5 \(epoch 1, batch 1\)"):
        train(given(), task=line(poisoned=5), data=DATA)
    task, cfg = line(poisoned=5), given("on_nan=rollback", EVERY_STEP, "rollback.times=1")
    assert train(cfg, task=task, data=DATA)["val_loss"] < 30
    assert record(cfg)["rollbacks"] == [[1, 1]]


def test_a_module_that_cannot_be_copied_is_trained_and_its_nan_stops_it_without_a_place(given, caplog):
    task = line()
    task.lock = threading.Lock()
    assert "val_loss" in train(given(), task=task, data=DATA)
    task.poisoned = 5
    with pytest.raises(DivergedError, match="the step could not be found by a replay"):
        train(given(), task=task, data=DATA)
    assert "the replay failed: KindlingError: Line cannot be copied" in caplog.text


def test_what_cannot_be_tested_is_said_at_the_start(given, caplog):
    caplog.set_level(logging.INFO)
    assert "val_loss" in train(given(), task=line(WithoutTest), data=DATA)
    assert "test: WithoutTest has no test_step; nothing is tested" in caplog.text
    with pytest.raises(ConfigError, match="test: given true, and WithoutTest has no test_step"):
        train(given("train=false", "weights=somewhere"), task=line(WithoutTest), data=DATA)


def test_the_metric_that_decides_may_be_named(given):
    cfg = given()
    cfg.monitor, cfg.monitor_mode = "train_loss_epoch", "min"
    train(cfg, task=line(), data=DATA)
    assert record(cfg)["best"]["monitor"] == "train_loss_epoch"
    cfg = given()
    cfg.monitor = "val_acc"
    with pytest.raises(ConfigError, match="monitor_mode: given nothing for val_acc"):
        train(cfg, task=line(), data=DATA)


@pytest.mark.parametrize("task", [nn.Linear(1, 1), "a name", Line])
def test_what_is_no_module_is_refused(given, task):
    with pytest.raises(ConfigError, match=r"task: given \w+; allowed: a LightningModule"):
        train(given(), task=task, data=DATA)


@pytest.mark.parametrize("facts", [None, ["a"], {"f": lambda: 1}, {"mean": np.ones(3)}])
def test_facts_that_no_checkpoint_can_hold_are_refused_before_training(given, facts):
    class Known(DataModule):
        def read(self):
            return DATA

    Known.facts = facts
    task = line()
    with pytest.raises(ConfigError, match=r"data.facts: given \w+"):
        train(given(), task=task, data=Known(batch_size=16, num_workers=0, seed=0))
    assert task.global_step == 0


@pytest.mark.parametrize(("monitor", "mode"), [("val/mae", "min"), ("val/r2", "max")])
def test_the_metrics_of_a_task_of_a_program_know_which_way_is_better(given, monitor, mode):
    # As in a notebook, whose classes no file holds.
    class Fitted(Task):
        METRICS: ClassVar = {"mae": "min"}

        def step(self, batch, stage):
            x, y = batch
            errors = self(x).squeeze(1) - y
            return StepOutput(errors.square().mean(), len(y), {"mae": errors.abs().sum()}, errors + y, y)

    cfg = given()
    cfg.monitor = monitor
    task = Fitted(nn.Linear(4, 1), optimizer=partial(torch.optim.SGD, lr=0.1), metrics={"r2": R2Score()})
    metrics = train(cfg, task=task, data=DATA)
    best = record(cfg)["best"]
    assert best["monitor"] == monitor
    assert (best["score"] > metrics[monitor] - 1e-6) if mode == "max" else (best["score"] < metrics[monitor] + 1e-6)


@pytest.mark.parametrize("data", [{"train": ROWS, "validation": ROWS}, {"training": ROWS}, {"val": ROWS}, "rows.csv"])
def test_splits_of_other_names_and_texts_are_refused(given, data):
    words = r"data: given (splits named validation|splits named training|val|the text 'rows.csv'); allowed: "
    with pytest.raises(ConfigError, match=words):
        train(given(), task=line(), data=data)


def test_loaders_without_names_are_refused(given):
    loader = DataLoader(list(zip(*ROWS, strict=True)), batch_size=8)
    with pytest.raises(ConfigError, match=r"data: given 2 loaders without names; .* data=\{\"train\": "):
        train(given(), task=line(), data=(loader, loader))


def test_data_sets_of_a_program_may_bring_what_puts_their_examples_together(given):
    def padded(rows):
        x = nn.utils.rnn.pad_sequence([x for x, _ in rows], batch_first=True)
        return nn.functional.pad(x, (0, 4 - x.shape[1])), torch.stack([y for _, y in rows])

    ragged = [(x[: 1 + place % 4], y) for place, (x, y) in enumerate(zip(*ROWS, strict=True))]
    assert "val_loss" in train(given(), task=line(), data={"train": ragged, "val": ragged, "collate_fn": padded})
    with pytest.raises(ConfigError, match=r"data\.collate_fn: given int; allowed: a function"):
        train(given(), task=line(), data={"train": ragged, "collate_fn": 3})


def test_metrics_of_an_epoch_may_be_plain_numbers(given):
    class Plain(Task):
        def step(self, batch, stage):
            return StepOutput((self(batch[0]).squeeze(1) - batch[1]).square().mean(), len(batch[1]))

        def epoch_metrics(self, sums):
            return {"loss": (sums["loss"] / sums["num"]).item(), "one": 1}

    metrics = train(given(), task=Plain(nn.Linear(4, 1), optimizer=partial(torch.optim.SGD, lr=0.1)), data=DATA)
    assert metrics["test/one"] == 1


@pytest.mark.parametrize(
    "lines", some(["task=plain data=plain", "task=plain model=none", "model=none"], "task=plain data=plain")
)
def test_a_config_without_a_task_waits_for_the_one_that_is_given(lines, tmp_path):
    quick = ["trainer=cpu", "callbacks=none", "logger=none", "trainer.max_epochs=1", f"paths.logs={tmp_path}"]
    cfg = compose([*lines.split(), *quick])
    train(cfg, task=BoringModel(), data=BoringDataModule())
    with pytest.raises(ConfigError, match=r"^(model|task)"):
        train(compose([*lines.split(), *quick]))


def test_a_config_that_is_no_config_is_refused():
    with pytest.raises(ConfigError, match=r"^cfg: given a dict; allowed: what kindling.compose"):
        train({"seed": 1})  # pyright: ignore[reportArgumentType]

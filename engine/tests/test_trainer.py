"""The Trainer is as the config says: what is off stays off, and what Lightning refuses late is one line."""

import json
import math
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ModelSummary, ProgressBar
from torch import nn
from torch.utils.data import TensorDataset

from kindling.checkpoints.checkpoint import WholeCheckpointIO
from kindling.cli.entry import compose
from kindling.config.composition import to_plain
from kindling.errors import ConfigError
from kindling.train import build_parts, train
from kindling.training import requirements
from kindling.training.from_python import FromPython
from kindling.training.trainer import build_trainer, without_output
from test_wrong_tasks import ROWS, TARGETS, Plain

ROW_SET = TensorDataset(ROWS, TARGETS)
DATA = {"train": ROW_SET, "val": ROW_SET}


def trainer_of(config: Any, callbacks: list[Callback], *overrides: str) -> Any:
    cfg = config(*overrides)
    return build_trainer(without_output(cfg) if cfg.trainer.barebones else cfg, callbacks, [], WholeCheckpointIO())


def test_callbacks_that_are_off_are_not_replaced_by_those_of_lightning(config):
    kinds = Checkpoint, ModelSummary, ProgressBar
    assert not [each for each in trainer_of(config, []).callbacks if isinstance(each, kinds)]
    bar = ProgressBar()
    assert [each for each in trainer_of(config, [bar]).callbacks if isinstance(each, kinds)] == [bar]


def test_barebones_needs_no_further_setting(config):
    metrics = train(config("trainer.barebones=true", "logger=default"), task=Plain(), data=DATA)
    assert metrics == {}


def test_settings_that_lightning_refuses_before_training_are_one_line(config):
    with pytest.raises(ConfigError, match=r"^trainer: `Trainer\(barebones=True, detect_anomaly=True\)` was passed"):
        trainer_of(config, [], "trainer.barebones=true", "trainer.detect_anomaly=true")


def test_more_batches_between_validations_than_there_are_is_one_line(config):
    with pytest.raises(ConfigError) as caught:
        train(config("trainer.val_check_interval=500", "data.batch_size=8"), task=Plain(), data=DATA)
    assert str(caught.value) == (
        "trainer.val_check_interval: given 500, and an epoch has 3 batches; allowed: 1 to 3, a share such as 0.5, or "
        "trainer.check_val_every_n_epoch=null to count over epochs"
    )


@pytest.mark.slow
def test_validations_may_go_by_the_clock(config):
    clock = "trainer.val_check_interval='00:00:00:00'"
    cfg = config(clock, "data.batch_size=8", "trainer.max_epochs=2", "scheduler=plateau", "callbacks=default")
    train(cfg, task=Plain(), data=DATA)
    found = json.loads((Path(cfg.paths.run) / "run.json").read_text())
    assert found["best"]["monitor"] == "val_loss"
    assert (Path(cfg.paths.run) / found["best_checkpoint"]).is_file()


@pytest.fixture
def said(monkeypatch):
    """What is warned of before a training of 7 batches an epoch."""
    lines: list[str] = []
    monkeypatch.setattr(requirements, "warn", lines.append)

    def ask(**settings: Any) -> list[str]:
        usual = {"enable_validation": True, "check_val_every_n_epoch": 1, "val_check_interval": 1.0, "max_steps": -1}
        usual |= {"val_check_batch": 7, "num_training_batches": 7, "accumulate_grad_batches": 1, "max_epochs": 2}
        usual |= {"callbacks": [EarlyStopping("val/loss")], "lr_scheduler_configs": []}
        requirements.warn_of_validations(SimpleNamespace(**usual | settings))  # pyright: ignore[reportArgumentType]
        return lines

    return ask


def test_a_share_of_less_than_a_batch_between_validations_is_told(said):
    assert said(val_check_interval=0.143, val_check_batch=1) == said(val_check_interval=1, val_check_batch=1) == []
    (line,) = said(val_check_interval=0.142, val_check_batch=1)
    assert line == (
        "trainer.val_check_interval: given 0.142 of 7 batches, a validation after each batch; allowed: 0.143 to 1.0, "
        "or a number of batches"
    )


@pytest.mark.parametrize(
    ("settings", "last", "first"),
    [
        ({"max_steps": 6}, 6, 7),
        ({"max_steps": 3, "accumulate_grad_batches": 2, "max_epochs": -1}, 6, 7),
        ({"check_val_every_n_epoch": None, "val_check_batch": 15}, 14, 15),
        ({"check_val_every_n_epoch": 2, "max_steps": 13}, 13, 14),
    ],
)
def test_a_training_that_ends_before_its_first_validation_is_told(said, settings, last, first):
    (line,) = said(**settings)
    assert f"monitor: training ends after {last} batches, and the first validation is after {first}, so" in line


@pytest.mark.parametrize(
    "settings",
    [
        {"max_steps": 7},
        {"max_steps": 4, "accumulate_grad_batches": 2},
        {"check_val_every_n_epoch": None, "val_check_batch": 14},
        {"max_steps": 3, "callbacks": []},
        {"max_steps": 3, "enable_validation": False},
        {"max_steps": 3, "val_check_interval": "00:00:01:00", "val_check_batch": None},
        {"check_val_every_n_epoch": 200},
        {"max_epochs": -1, "num_training_batches": math.inf, "val_check_batch": math.inf},
    ],
)
def test_nothing_is_told_of_a_training_that_is_validated_or_needs_none(said, settings):
    assert said(**settings) == []


@pytest.mark.parametrize(
    ("flag", "batches", "least"),
    [
        ("limit_val_batches", 2, 0.5),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("limit_train_batches", 7, 0.143),
                ("limit_test_batches", 2, 0.5),
                ("overfit_batches", 7, 0.143),
            )
        ),
    ],
)
def test_a_share_that_is_no_batch_is_refused_before_training(config, flag, batches, least):
    # An epoch of validation that comes late, and no check before.
    late = ("trainer.check_val_every_n_epoch=2", "trainer.num_sanity_val_steps=0", "trainer.max_epochs=2")
    cfg = config("data.num_images=224", "data.batch_size=32", f"trainer.{flag}=0.01", *late)
    with pytest.raises(ConfigError) as caught:
        train(cfg)
    assert str(caught.value) == (
        f"trainer.{flag}: given 0.01 of {batches} batches, which is none; allowed: {least} to 1.0, or a number of "
        "batches"
    )
    assert int(least * batches) == 1
    assert not [*Path(cfg.paths.run).rglob("*.ckpt")]


def test_a_table_of_accumulation_is_not_met_with_a_warning_of_hooks_that_nobody_wrote(config, recwarn):
    table = "+callbacks.t={_target_: lightning.pytorch.callbacks.GradientAccumulationScheduler, scheduling: {0: 2}}"
    train(config(table, "trainer.max_steps=1"))
    assert not [each for each in recwarn if "overriding" in str(each.message)]


class Needy(EarlyStopping):
    """Refuses a run as Lightning's own callbacks do, but from code that is not Lightning's."""

    def setup(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("no such package")


def test_what_other_code_refuses_keeps_its_traceback(config, monkeypatch):
    monkeypatch.setattr("kindling.train.instantiate_all", lambda group, path: [Needy("x")] * (path == "callbacks"))
    with pytest.raises(ModuleNotFoundError):
        train(config(), task=Plain(), data=DATA)


def test_batch_norm_of_a_single_example_is_one_line(config):
    class Normed(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))  # pyright: ignore

    with pytest.raises(ConfigError, match=r"^data.batch_size: given 1, which leaves batch norm a single example"):
        train(config("data.batch_size=1"), task=Normed(), data=DATA)


def test_the_folder_of_a_run_is_not_set_by_its_own_key():
    with pytest.raises(ConfigError, match=r"^paths.run: given x; allowed: paths.logs, under which each run has a "):
        compose(["paths.run=x"])


def test_a_trainer_with_all_callbacks_can_be_pickled_for_the_processes_that_it_spawns(config):
    cfg = config("callbacks=tensorboard", "logger=default", "trainer.strategy=ddp_spawn", "trainer.devices=2")
    parts = build_parts(cfg, to_plain(cfg), FromPython(), None, [])
    assert len(parts.trainer.callbacks) > 10  # pyright: ignore[reportAttributeAccessIssue]
    again = pickle.loads(ForkingPickler.dumps((parts.trainer, parts.task)))
    assert type(again[0]) is Trainer

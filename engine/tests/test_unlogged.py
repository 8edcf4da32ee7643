"""A metric that is watched or declared, and that validation does not log, is named before anything is trained."""

from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from kindling.cli.entry import compose
from kindling.errors import ConfigError
from kindling.train import train
from test_wrong_tasks import ROWS, TARGETS, Line, Plain, fit, line, loader

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")


def watching(name: str) -> dict[str, Any]:
    return {"callbacks": [EarlyStopping(name)]}


class Counting(Plain):
    """Counts its steps of training."""

    steps = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.steps += 1
        self.log("train_only", 1.0, on_epoch=True)
        return super().training_step(batch, batch_idx)


class InTraining(Counting):
    """Logs an error, but not in the sanity check."""

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.log("val_mae", 1.0)


@pytest.mark.parametrize(
    ("make", "monitor", "line_of_it"),
    [
        (line, "val/mea", "val/mea, which validation of Line does not log; allowed: val/loss, val/mae; "),
        (Counting, "val_los", "val_los, which validation of Counting does not log; allowed: val_loss; "),
    ],
)
def test_a_monitor_that_validation_does_not_log_is_refused_before_training(make, monitor, line_of_it):
    module = make()
    before = module.net.weight.clone()
    meant = {"val/mea": "val/mae", "val_los": "val_loss"}[monitor]
    with pytest.raises(ConfigError) as caught:
        fit(module, **watching(monitor))
    assert str(caught.value) == f"monitor: given {line_of_it}did you mean {meant}?"
    assert torch.equal(module.net.weight, before)


def test_without_a_sanity_check_the_first_validation_tells():
    module = Counting()
    with pytest.raises(ConfigError, match=r"^monitor: given val_mea, which validation of Counting does not log"):
        fit(module, **watching("val_mea"), num_sanity_val_steps=0, val_check_interval=1, max_epochs=5)
    assert module.steps == 1


def test_a_module_that_asks_for_sanity_checks_is_asked_at_the_first_validation():
    fit(InTraining(), **watching("val_mae"))
    module = InTraining()
    with pytest.raises(ConfigError, match=r"^monitor: given val_mea, .*did you mean val_mae"):
        fit(module, **watching("val_mea"), max_epochs=5)
    assert module.steps == 3


def test_what_is_logged_in_training_alone_may_be_watched(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="train_only", save_on_train_epoch_end=True)
    fit(Counting(), callbacks=[best], enable_checkpointing=True)
    assert best.best_model_score == 1


def test_a_monitor_of_a_schedule_that_reads_none_is_not_asked_for():
    class Steps(Counting):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            schedule = self.kind(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_other"}}

        kind = partial(torch.optim.lr_scheduler.StepLR, step_size=1)

    fit(Steps())
    Steps.kind = torch.optim.lr_scheduler.ReduceLROnPlateau
    with pytest.raises(ConfigError, match="given val_other, which validation of Steps does not log; allowed: val_loss"):
        fit(Steps())


def test_a_metric_of_one_of_several_loaders_may_be_watched():
    class Two(Counting):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            super().validation_step(batch, batch_idx)

    val = [loader(ROWS, TARGETS)] * 2
    fit(Two(), val=val, **watching("val_loss"))
    fit(Two(), val=val, **watching("val_loss/dataloader_idx_1"))


def test_a_metric_that_is_declared_and_not_logged_is_named_before_training(caplog):
    class Typo(Line):
        METRICS: ClassVar = {"mea": "min", "mae": "min"}

    fit(line(Typo), max_steps=1)
    said = [each for each in caplog.messages if "METRICS" in each]
    assert said == [
        "warning: task: given val/mea by METRICS of Typo, whose validation does not log it; allowed: val/loss, "
        "val/mae; did you mean val/mae?"
    ]


def test_modules_that_log_what_is_watched_are_not_spoken_of(caplog):
    fit(line(), **watching("val/mae"))
    fit(Counting(), **watching("val_loss"))
    assert not [each for each in caplog.messages if "warning" in each]


class Errors(Counting):
    """Logs an error in validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("val/mae", (self.net(batch[0]).squeeze(1) - batch[1]).abs().mean())


QUIET = ("logger=csv", "trainer=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=1", "data.batch_size=8")


@pytest.mark.parametrize(
    ("override", "every"), [("monitor=val/mae", 20), ("callbacks.early_stopping.monitor=val/mae", 7)]
)
def test_a_monitor_waits_for_the_module_that_a_program_gives(tmp_path, override, every, caplog, recwarn):
    caplog.set_level("INFO")
    mode = "monitor_mode=min" if override.startswith("monitor") else "callbacks.best_checkpoint=null"
    cfg = compose([*QUIET, f"paths.logs={tmp_path}", override, mode, f"trainer.log_every_n_steps={every}"])
    rows = dict.fromkeys(("train", "val"), (ROWS, TARGETS))
    assert "val/mae" in train(cfg, task=Errors(), data=rows)
    # Lightning says it without naming a setting.
    assert not [each for each in recwarn if "logging interval" in str(each.message)]
    words = "warning: trainer.log_every_n_steps: given 7, and an epoch has 3 batches, so that some epochs log no step; "
    # Of a value that nobody has chosen nothing is said.
    assert [each for each in caplog.messages if "log_every" in each] == [f"{words}allowed: 1 to 3"] * (every == 7)


def test_a_monitor_of_the_task_of_the_config_is_refused_where_it_is_trained(tmp_path):
    cfg = compose([*QUIET, f"paths.logs={tmp_path}", "data=fake", "monitor=val/mae"])
    with pytest.raises(ConfigError, match="monitor: given val/mae, which nothing logs; allowed: "):
        train(cfg)


def test_a_misspelt_monitor_of_a_module_of_a_program_is_told_the_nearest_before_training(tmp_path):
    cfg = compose([*QUIET, f"paths.logs={tmp_path}", "monitor=val/mea", "monitor_mode=min"])
    module = Errors()
    with pytest.raises(ConfigError, match=r"^monitor: given val/mea, .* Errors does not log; .*did you mean val/mae\?"):
        train(cfg, task=module, data=dict.fromkeys(("train", "val"), (ROWS, TARGETS)))
    assert module.steps == 0

"""What a run does about a NaN: it stops before it is saved, says where it came from, or rolls back."""

import csv
import json
import logging
import math
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim import SGD, lr_scheduler

import crash
from bench.models.mlp import MLP
from kindling.checkpoints import resume_checkpoint
from kindling.errors import DivergedError, Interrupted
from kindling.images.loader import EpochLoader
from kindling.run_folders import record as run_folder
from kindling.run_folders.record import RunRecord
from kindling.stages import Stage
from kindling.train import train
from kindling.training.bookkeeping import Bookkeeping
from kindling.training.counting import counted
from kindling.training.divergence import Place
from kindling.training.optimization import scale_rates
from kindling.training.rollback import advice, can_roll_back
from kindling.training.skipping import leave_out
from kindling.training.task import StepOutput, Task
from long_run import some

# Two epochs of four batches, with a checkpoint before each but the first.
SMALL = [
    *("data.num_images=64", "data.batch_size=16", "data.image_size=8", "model=mlp", "model.hidden=[8]"),
    *("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"),
    *("test=false", "callbacks.resume_checkpoint.every_n_steps=1"),
]
RARE = "callbacks.resume_checkpoint.every_n_steps=null"
ROLLBACK = "on_nan=rollback"


class Batches:
    """The batches of training, as [epoch, batch]: those that were trained on, and those that are poisoned."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.rates: dict[tuple[int, int], list[float]] = {}  # of the last time that each was seen
        self.poisoned: list[list[int]] = []
        self.poisoned_validation: list[int] = []
        self.times = math.inf  # that the poison works


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    """Watches the batches of training, and makes the images of some NaN."""
    made, iterate, start = Batches(), EpochLoader.__iter__, Task.on_train_batch_start

    def poisoned(self: EpochLoader) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in iterate(self):
            batch = self.batches_done - 1
            if self.train:
                works = [self.order.epoch, batch] in made.poisoned and made.times > 0
                made.times -= works
            else:
                works = batch in made.poisoned_validation
            yield (images * math.nan if works else images), labels

    def watched(self: Task, batch: Any, batch_idx: int) -> Any:
        made.seen.append([self.current_epoch, batch_idx])
        groups = self.trainer.optimizers[0].param_groups
        made.rates[self.current_epoch, batch_idx] = [group["lr"] for group in groups]
        return start(self, batch, batch_idx)

    monkeypatch.setattr(EpochLoader, "__iter__", poisoned)
    monkeypatch.setattr(Task, "on_train_batch_start", watched)
    return made


Given = Callable[..., DictConfig]


_composed: dict[tuple[str, ...], DictConfig] = {}


@pytest.fixture
def small(config: Given, batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """The config of a small run; it composes the groups once, and asks no git, as both take longer than to train."""
    monkeypatch.setattr(run_folder, "git_state", lambda: None)
    numbers = count()

    def make(*overrides: str) -> Any:
        groups = tuple(each for each in overrides if each.startswith("+") or "." not in each.partition("=")[0])
        if groups not in _composed:
            _composed[groups] = config(*SMALL, *groups)
        given = OmegaConf.from_dotlist([each for each in overrides if each not in groups])
        cfg = OmegaConf.merge(_composed[groups], given)
        cfg.paths.run = str(tmp_path / f"run-{next(numbers)}")
        return cfg

    return make


def resumed(cfg: DictConfig) -> Any:
    """The same run, resumed."""
    return OmegaConf.merge(cfg, {"resume": cfg.paths.run})


@pytest.fixture
def clean(small: Given) -> dict[str, str]:
    """The hashes of what a run leaves that nothing has happened to."""
    if not _clean:
        cfg = small()
        train(cfg)
        _clean.update(crash.digest(folder_of(cfg)))
    return _clean


_clean: dict[str, str] = {}


def folder_of(cfg: DictConfig) -> Path:
    return Path(cfg.paths.run)


def record_of(cfg: DictConfig) -> dict[str, Any]:
    return json.loads((folder_of(cfg) / "run.json").read_text())


def diverge(cfg: DictConfig) -> str:
    """Train until the run fails; returns what it says."""
    with pytest.raises(DivergedError) as caught:
        train(cfg)
    assert caught.value.exit_code == 1
    assert record_of(cfg)["status"] == "failed"
    assert record_of(cfg)["reason"] == f"DivergedError: {caught.value}"
    lines = [str(caught.value), *caught.value.__notes__]
    assert all("\n" not in line for line in lines)
    assert_finite(folder_of(cfg))
    return "; ".join(lines).replace(str(folder_of(cfg)), "RUN")


def assert_finite(folder: Path) -> None:
    """No checkpoint and no metric of a run is NaN or infinite."""
    for file in folder.rglob("*.ckpt"):
        assert wrong_in(torch.load(file, weights_only=True)) == []
    if (folder / "metrics.csv").exists():
        with (folder / "metrics.csv").open() as stream:
            values = [float(value) for row in csv.DictReader(stream) for value in row.values() if value]
        assert all(map(math.isfinite, values))


def wrong_in(value: Any, path: str = "") -> list[str]:
    """Where a checkpoint holds a NaN, or a tensor that is infinite."""
    if isinstance(value, dict):
        return [each for key in value for each in wrong_in(value[key], f"{path}.{key}")]
    if isinstance(value, list | tuple):
        return [each for index, item in enumerate(value) for each in wrong_in(item, f"{path}.{index}")]
    if isinstance(value, Tensor):
        no_score_yet = path.endswith((".best_score", ".kth_value"))
        return [] if value.isfinite().all() or (no_score_yet and not value.isnan()) else [path]
    return [path] if isinstance(value, float) and math.isnan(value) else []


def saved_steps(cfg: DictConfig) -> list[int]:
    return sorted(int(file.stem[5:]) for file in folder_of(cfg).glob("checkpoints/step_*.ckpt"))


# Stopping


def test_a_poisoned_batch_ends_the_run_before_anything_is_saved_or_logged_with_it(small, batches):
    batches.poisoned = [[1, 1]]
    cfg = small()
    assert diverge(cfg) == (
        "train/loss: is NaN or infinite; step 5 (epoch 1, batch 1): the input is NaN or infinite; "
        "the checkpoints before it are kept; what to try: mend the data; "
        "or: leave such batches out with on_nan=rollback resume=RUN"
    )
    assert saved_steps(cfg) == [3, 4, 5]
    assert (folder_of(cfg) / "checkpoints" / "best.ckpt").exists()
    rows = csv.DictReader((folder_of(cfg) / "metrics.csv").read_text().splitlines())
    assert [row["step"] for row in rows if row["train/loss_step"]][-1] == "4"


def test_a_run_that_has_diverged_can_be_resumed_to_the_bits_of_one_that_never_did(small, batches, clean):
    batches.poisoned = [[1, 1]]
    cfg = small()
    diverge(cfg)
    batches.poisoned = []
    train(resumed(cfg))
    assert crash.digest(folder_of(cfg)) == clean


@pytest.mark.parametrize(
    ("overrides", "stage", "step"),
    [
        (["trainer.log_every_n_steps=4"], "train", 5),  # the next checkpoint comes upon it
        pytest.param(
            ["trainer.log_every_n_steps=4", RARE, "trainer.val_check_interval=2"], "val", 5, marks=pytest.mark.slow
        ),
        (["trainer.accumulate_grad_batches=2", "callbacks=ema"], "train", 2),
        pytest.param(["trainer.precision=bf16-mixed", "logger=none", RARE], "train", 5, marks=pytest.mark.slow),
        pytest.param(
            ["callbacks.resume_checkpoint=null", "callbacks.best_checkpoint=null"], "train", 5, marks=pytest.mark.slow
        ),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_the_batch_is_found_whatever_the_settings(small, batches, overrides, stage, step):
    batches.poisoned = [[1, 1]]
    cfg = small(*overrides)
    told = f"{stage}/loss: is NaN or infinite; step {step} (epoch 1, batch 1): the input is NaN"
    assert diverge(cfg).startswith(told)
    assert record_of(cfg).get("rollbacks") is None
    found = [file.name for file in folder_of(cfg).rglob("*.ckpt") if "step_" not in str(file)]
    assert len(found) == len(set(found))  # the replay adds none
    assert set(found) <= {"best.ckpt", "last.ckpt", "epoch=0-step=4.ckpt"}  # the last is Lightning's, if no other is


@pytest.mark.slow
def test_without_callbacks_and_loggers_the_batch_is_found_too(config, batches):
    batches.poisoned = [[1, 1]]
    cfg = config(*SMALL[:-1], "callbacks=none", "logger=none")
    message = diverge(cfg)
    assert "; step 5 (epoch 1, batch 1): the input is NaN or infinite; there is no checkpoint before it; " in message
    assert {file.name for file in folder_of(cfg).iterdir()} == {".lock", "config.yaml", "run.json"}


def test_a_nan_before_the_first_checkpoint_leaves_none(small, batches, clean):
    batches.poisoned = [[0, 0]]
    cfg = small()
    assert "; step 0 (epoch 0, batch 0): the input is NaN or infinite; there is no checkpoint" in diverge(cfg)
    assert saved_steps(cfg) == []
    batches.poisoned = []
    train(resumed(cfg))
    assert crash.digest(folder_of(cfg)) == clean


def test_a_gradient_that_is_nan_is_told_by_the_parameter_that_backward_comes_to_first(small, batches, monkeypatch):
    step = counted

    def with_wrong_gradient(self: Task, batch: Any, stage: Stage, batch_idx: int) -> StepOutput:
        output = step(self, batch, stage, batch_idx)
        if stage == "train" and batches.seen[-1] == [1, 1]:
            output.outputs.register_hook(lambda gradient: gradient * math.nan)
        return output

    monkeypatch.setattr("kindling.training.task.counted", with_wrong_gradient)
    message = diverge(small())
    assert "; step 5 (epoch 1, batch 1): the gradient of net.head.bias is NaN or infinite; " in message
    assert "what to try: lower optimizer.lr, or set trainer.gradient_clip_val, with fork=RUN; or: leave such" in message
    message = diverge(small("trainer.accumulate_grad_batches=4", RARE))
    assert "; step 1 (epoch 1, batch 1): the gradient of net.head.bias is NaN or infinite; " in message


def test_a_gradient_of_sqrt_at_zero_is_found(small, batches, monkeypatch):
    step = Task.training_step

    def with_root(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = step(self, batch, batch_idx)
        return loss + (0 * self.net.hidden[1].bias).sum().sqrt() if batches.seen[-1] == [0, 2] else loss

    monkeypatch.setattr(Task, "training_step", with_root)
    cfg = small()
    message = diverge(cfg)
    assert "; step 2 (epoch 0, batch 2): the gradient of net.hidden.1.bias is NaN or infinite; " in message
    assert saved_steps(cfg) == [1, 2]


def test_a_parameter_that_a_step_made_infinite_is_found(small):
    cfg = small("optimizer=sgd", "optimizer.lr=1e30", "optimizer.weight_decay=1e30")
    assert diverge(cfg) == (
        "net.hidden.1.weight: is NaN or infinite; step 0 (epoch 0, batch 0): after the step, the parameter "
        "net.hidden.1.weight is NaN or infinite; there is no checkpoint before it; what to try: lower "
        "optimizer.lr, or set trainer.gradient_clip_val; or: leave such batches out with on_nan=rollback; "
        "or: debug=anomaly names the line of code, if the NaN begins in the backward pass"
    )
    assert saved_steps(cfg) == []


def test_a_module_whose_output_overflows_is_found(small):
    cfg = small("optimizer=sgd", "optimizer.lr=1e30")
    assert "; step 1 (epoch 0, batch 1): the output of net.head is NaN or infinite; " in diverge(cfg)


def test_a_nan_made_between_two_modules_is_told_by_the_second(small, batches, monkeypatch):
    def forward(self: MLP, images: Tensor) -> Tensor:
        wide = self.hidden(images)
        return self.head(wide * math.nan if batches.seen[-1:] == [[0, 2]] else wide)

    monkeypatch.setattr(MLP, "forward", forward)
    assert "; step 2 (epoch 0, batch 2): the input of net.head is NaN or infinite; " in diverge(small())


def test_a_nan_in_validation_alone_is_found(small, batches):
    batches.poisoned_validation = [0]
    cfg = small("trainer.num_sanity_val_steps=0", "trainer.val_check_interval=2", ROLLBACK)
    message = diverge(cfg)
    assert message == (
        "val/loss: is NaN or infinite; step 1 (epoch 0): in validation, batch 0, the input is NaN or infinite; "
        "the checkpoints before it are kept; what to try: mend the data"
    )
    assert saved_steps(cfg) == [1]
    assert batches.seen == [[0, 0], [0, 1], [0, 1]]  # no rollback can help


def test_a_nan_in_the_sanity_check_is_found(small, batches):
    batches.poisoned_validation = [0]
    message = diverge(small())
    assert "val/loss: is NaN or infinite; step 0 (epoch 0): in validation, batch 0, the input is" in message
    assert batches.seen == []


def test_a_validation_that_a_step_has_spoilt_tells_the_module_and_the_step(small, batches, monkeypatch):
    def forward(self: MLP, images: Tensor) -> Tensor:
        spoilt = not self.training and [0, 3] in batches.seen
        return self.head(self.hidden(images)) * (math.nan if spoilt else 1)

    monkeypatch.setattr(MLP, "forward", forward)
    cfg = small()
    assert (
        "val/loss: is NaN or infinite; step 3 (epoch 0, batch 3): in validation, batch 0, the output of net is NaN"
    ) in diverge(cfg)
    assert saved_steps(cfg) == [1, 2, 3]


# The replay


def test_the_replay_begins_at_the_last_checkpoint(small, batches):
    batches.poisoned = [[1, 1]]
    diverge(small())
    assert batches.seen == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize("place", some([[1, 1], [1, 3]], [1, 1]))
def test_the_replay_of_a_nan_that_does_not_come_again_leaves_the_run_as_it_was(small, batches, clean, place):
    batches.poisoned, batches.times = [place], 1
    cfg = small()
    assert "train/loss: is NaN or infinite; the step could not be found by a replay; the checkpoints" in diverge(cfg)
    assert saved_steps(cfg)[-1] == 4 + place[1]
    assert batches.seen[-2:] == [place, place]  # it ends where the run did
    train(resumed(cfg))
    assert crash.digest(folder_of(cfg)) == clean


@pytest.mark.parametrize("mode", ["default", None])
def test_a_nan_that_the_replay_of_a_compiled_net_does_not_find_tells_to_try_without(tmp_path, mode):
    settings = {"compile": mode, "on_nan": "stop", "trainer": {"detect_anomaly": False}}
    ways = "\n".join(advice(RunRecord(tmp_path, settings), None, []))
    assert ("what to try: compile=null" in ways) == (mode is not None)


def test_a_replay_that_fails_does_not_hide_the_nan(small, batches, monkeypatch, caplog):
    batches.poisoned = [[0, 2]]
    step = Task.training_step

    def failing(self: Task, batch: Any, batch_idx: int) -> Any:
        assert batches.seen.count([0, 2]) < 2, "no memory"
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", failing)
    with caplog.at_level(logging.WARNING):
        assert "train/loss: is NaN or infinite; the step could not be found" in diverge(small())
    assert "the replay failed: AssertionError: no memory" in caplog.text


# Rolling back


@pytest.mark.parametrize(
    "overrides", some([[RARE, "trainer.accumulate_grad_batches=2"], ["callbacks=ema"]], ["callbacks=ema"])
)
def test_a_rollback_gives_the_weights_of_a_run_without_the_batch(small, batches, monkeypatch, overrides):
    batches.poisoned = [[0, 1], [1, 2]]
    cfg = small(*overrides, ROLLBACK)
    train(cfg)
    assert record_of(cfg)["status"] == "finished"
    assert record_of(cfg)["rollbacks"] == [[0, 1], [1, 2]]
    assert_finite(folder_of(cfg))

    monkeypatch.setattr(Task, "training_step", without([[0, 1], [1, 2]], Task.training_step))
    other = small(*overrides)
    train(other)
    for kind in ("state_dict", "optimizer_states"):
        found, expected = (
            torch.load(folder_of(each) / "checkpoints" / "last.ckpt", weights_only=True)[kind] for each in (cfg, other)
        )
        assert crash.plain(found) == crash.plain(expected)


def without(left_out: list[list[int]], step: Callable[..., Any]) -> Callable[..., Any]:
    """A training step that takes no notice of these batches."""

    def training_step(self: Task, batch: Any, batch_idx: int) -> Any:
        return None if [self.current_epoch, batch_idx] in left_out else step(self, batch, batch_idx)

    return training_step


@pytest.mark.slow
def test_a_batch_that_was_left_out_writes_no_loss_and_the_other_rows_tell_that_of_their_step(small, batches):
    batches.poisoned = [[0, 2]]
    each, third = (small(ROLLBACK, RARE, f"trainer.log_every_n_steps={every}") for every in (1, 3))
    train(each)
    train(third)
    losses = logged_losses(each)
    assert list(losses) == ["0", "1", "3", "4", "5", "6", "7"]
    assert logged_losses(third) == {"5": losses["5"]}


def logged_losses(cfg: DictConfig) -> dict[str, str]:
    rows = csv.DictReader((folder_of(cfg) / "metrics.csv").read_text().splitlines())
    return {row["step"]: row["train/loss_step"] for row in rows if row["train/loss_step"]}


def test_each_rollback_goes_back_to_the_last_checkpoint_and_says_so(small, batches, caplog):
    batches.poisoned = [[0, 2]]
    with caplog.at_level(logging.INFO):
        train(small(ROLLBACK))
    assert (
        "warning: train/loss: is NaN or infinite; step 2 (epoch 0, batch 2): the input is NaN or infinite; "
        "rollback 1 of 3\ngoes on at epoch 0, batch 2 (step 2)"
    ) in "\n".join(record.message for record in caplog.records)
    assert batches.seen[:5] == [[0, 0], [0, 1], [0, 2], [0, 2], [0, 2]]  # fails, is replayed, is left out


@pytest.mark.slow
def test_what_a_rollback_goes_back_behind_is_not_the_best(small, batches, monkeypatch):
    """The best validation lies between the checkpoint and the NaN, and what follows is worse."""
    losses = iter([5.0, 1.0, *([7.0] * 9)])
    end = Bookkeeping.end_epoch

    def told(self: Bookkeeping, trainer: Trainer, module: Task, stage: str) -> None:
        sums = module.kindling_sums["val"]
        if stage == "val" and not trainer.sanity_checking:
            assert sums.loss is not None
            sums.loss.fill_(next(losses) * (sums.state() or {})["num"])
        end(self, trainer, module, stage)

    monkeypatch.setattr(Bookkeeping, "end_epoch", told)
    batches.poisoned = [[2, 1]]
    cfg = small(ROLLBACK, RARE, "trainer.max_epochs=4", "callbacks.resume_checkpoint.every_n_steps=6")
    train(cfg)
    assert record_of(cfg)["rollbacks"] == [[2, 1]]
    best = torch.load(folder_of(cfg) / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 4
    assert record_of(cfg)["best"]["score"] == 5.0


def test_a_rollback_is_not_tried_where_it_would_end_at_the_same_nan():
    def may(lr_factor: float, batch: int | None = 1) -> bool:
        cfg = OmegaConf.create({"on_nan": "rollback", "rollback": {"times": 3, "lr_factor": lr_factor}})
        return can_roll_back(Place(0, batch, 1, "the loss"), [[0, 1]], cfg)

    assert not may(1)
    assert may(0.5)
    assert may(1, batch=2)
    assert not may(0.5, batch=None)


def test_a_batch_that_is_left_out_logs_nothing_of_the_step_before_it():
    def module(training_step: Callable[..., Any]) -> Any:
        kept = {"step": of(on_step=True, on_epoch=False), "epoch": of(on_step=True, on_epoch=True)}
        loop = SimpleNamespace(batch_idx=1, epoch_loop=SimpleNamespace(_results=kept))
        trainer = SimpleNamespace(current_epoch=0, fit_loop=loop)
        return SimpleNamespace(training_step=training_step, trainer=trainer)

    def of(**meta: bool) -> SimpleNamespace:
        return SimpleNamespace(meta=SimpleNamespace(**meta))

    made = module(lambda batch, batch_idx: batch)
    leave_out(made, [[0, 1]])
    assert made.training_step("a batch", 1) is None
    assert [*made.trainer.fit_loop.epoch_loop._results] == ["epoch"]
    made.trainer.fit_loop.batch_idx = 2
    assert made.training_step("a batch", 2) == "a batch"


@pytest.mark.slow
def test_a_rollback_that_would_repeat_itself_is_the_last(small, batches):
    batches.poisoned = [[0, 1]]
    message = diverge(small(ROLLBACK, "rollback.skip_batch=false", "rollback.lr_factor=0.9", "rollback.times=2"))
    assert "2 rollbacks did not help" in message
    step = Task.validation_step

    def poisoned(self: Task, batch: Any, batch_idx: int) -> Tensor:
        return step(self, (batch[0] * (math.nan if self.global_step else 1.0), batch[1]), batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Task, "validation_step", poisoned)
        batches.poisoned = []
        assert "1 rollback did not help" in diverge(small(ROLLBACK, "rollback.times=3"))


@pytest.mark.slow
def test_a_batch_that_was_left_out_is_not_found_again(small, batches):
    batches.poisoned = [[0, 1], [0, 2], [0, 3]]
    cfg = small(ROLLBACK, RARE)
    train(cfg)
    assert record_of(cfg)["rollbacks"] == [[0, 1], [0, 2], [0, 3]]


@pytest.mark.slow
def test_rollbacks_end_after_so_many_times(small, batches):
    batches.poisoned = [[0, 1], [0, 2], [1, 0]]
    cfg = small(ROLLBACK, "rollback.times=2")
    message = diverge(cfg)
    assert "; step 4 (epoch 1, batch 0): the input is NaN or infinite; the checkpoints before it are kept; " in message
    assert message.endswith("; 2 rollbacks did not help; what to try: mend the data")
    assert record_of(cfg)["rollbacks"] == [[0, 1], [0, 2]]
    assert saved_steps(cfg) == [2, 3, 4]


def test_a_nan_that_does_not_come_again_is_rolled_back_too(small, batches, clean):
    batches.poisoned, batches.times = [[0, 2]], 1
    cfg = small(ROLLBACK)
    train(cfg)
    assert record_of(cfg)["rollbacks"] == [[0, -1]]
    assert crash.digest(folder_of(cfg))["metrics.csv"] == clean["metrics.csv"]  # nothing was left out


@pytest.mark.slow
def test_a_rollback_may_lower_the_rate_alone(small, batches, monkeypatch):
    step: Any = Task.training_step

    def diverging(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = step(self, batch, batch_idx)
        return loss * math.inf if self.optimizers().param_groups[0]["lr"] > 0.3 else loss

    monkeypatch.setattr(Task, "training_step", diverging)
    cfg = small(
        *(ROLLBACK, "rollback.skip_batch=false", "rollback.lr_factor=0.5"),
        *("scheduler=constant", "optimizer.lr=1.0"),
    )
    train(cfg)
    assert record_of(cfg)["rollbacks"] == [[0, 0], [0, 0]]
    assert {rate for rates in batches.rates.values() for rate in rates} == {0.25}
    assert batches.seen[-8:] == [[epoch, batch] for epoch in range(2) for batch in range(4)]


SCHEDULES = {
    "cosine": ["scheduler=cosine"],
    "plateau": [  # which comes to its lowest rate after an epoch without improvement
        *("scheduler=plateau", "scheduler.scheduler.patience=0", "optimizer.lr=1e-6", "trainer.max_epochs=3"),
        *("+scheduler.scheduler.min_lr=5e-7", RARE),
    ],
    "onecycle of muon": ["optimizer=muon", "scheduler=onecycle"],
}


@pytest.mark.parametrize("name", some(SCHEDULES, "cosine"))
def test_a_rollback_lowers_all_rates_of_the_rest_of_the_run(small, batches, name):
    overrides = SCHEDULES[name]
    train(small(*overrides))
    before = dict(batches.rates)
    batches.poisoned = [[0, 2]]
    train(small(*overrides, ROLLBACK, "rollback.lr_factor=0.5"))
    first = (0, 0) if RARE in overrides else (0, 2)
    assert len({rates[0] for rates in before.values()}) > 1
    for place, rates in before.items():
        factor = 0.5 if place >= first else 1
        assert batches.rates[place] == pytest.approx([factor * rate for rate in rates], rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0.1),
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4, eta_min=0.1),
        lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.1, 1.0, step_size_up=3),
        lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1.0, 20),
        lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [3, 9]),
        lambda optimizer: lr_scheduler.PolynomialLR(optimizer, 12),
        lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
        lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.LinearLR(optimizer, 0.1, 1, 8), lr_scheduler.CosineAnnealingLR(optimizer, 9, eta_min=0.1)],
            [8],
        ),
        lambda optimizer: lr_scheduler.ChainedScheduler(
            [lr_scheduler.ConstantLR(optimizer, 0.5, 9), lr_scheduler.CosineAnnealingLR(optimizer, 12, eta_min=0.1)]
        ),
    ],
)
def test_all_rates_to_come_are_scaled_for_any_schedule(make):
    def rates(factor: float) -> list[float]:
        optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
        schedule, found = make(optimizer), []
        for step in range(18):
            if step == 5:
                scale_rates([optimizer], [SimpleNamespace(scheduler=schedule)], factor)
                assert schedule.get_last_lr() == [optimizer.param_groups[0]["lr"]]
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    expected = rates(1.0)
    assert rates(0.5) == pytest.approx(expected[:5] + [rate / 2 for rate in expected[5:]], rel=1e-9)


def test_a_run_that_rolled_back_and_was_killed_resumes_to_the_bits_of_one_that_was_not(small, batches, monkeypatch):
    overrides = [ROLLBACK, "rollback.lr_factor=0.5", "scheduler=onecycle"]
    overrides += ["callbacks.resume_checkpoint.every_n_steps=2"]
    batches.poisoned = [[0, 3]]
    whole, cfg = small(*overrides), small(*overrides)
    train(whole)
    step, last_steps = Task.training_step, [2, 5]  # before a checkpoint knows of the rollback, and after

    def killed(self: Task, batch: Any, batch_idx: int) -> Any:
        # The second time at the poisoned batch is the replay, the third one leaves it out.
        if batches.seen.count([0, 3]) >= 2 and self.global_step == last_steps[0]:
            last_steps.pop(0)
            raise Interrupted("SIGKILL")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Task, "training_step", killed)
        for _ in range(2):
            batches.seen.clear()
            with pytest.raises(Interrupted):
                train(cfg)
            cfg = resumed(cfg)
    train(cfg)
    assert record_of(cfg)["rollbacks"] == [[0, 3]]
    assert crash.digest(folder_of(cfg)) == crash.digest(folder_of(whole))


def test_all_attempts_together_take_no_longer_than_max_time(small, batches, monkeypatch):
    clock, start = [0.0], Task.on_train_batch_start
    monkeypatch.setattr(resume_checkpoint, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def slow(self: Task, batch: Any, batch_idx: int) -> Any:
        clock[0] += 10
        return start(self, batch, batch_idx)

    monkeypatch.setattr(Task, "on_train_batch_start", slow)
    batches.poisoned = [[0, 3]]
    cfg = small(ROLLBACK, "trainer.max_time=00:00:01:15")
    with pytest.raises(Interrupted, match="max_time"):
        train(cfg)
    assert record_of(cfg)["status"] == "interrupted"
    assert saved_steps(cfg)[-1] == 6


@pytest.mark.parametrize("hook", ["on_train_end", "on_fit_end"])
def test_weights_that_a_callback_has_spoilt_after_training_are_no_result(small, hook):
    spoiling = f"+callbacks.spoiling={{_target_:bench.spoiling.Spoiling,hook:{hook}}}"
    assert ".weight: is NaN or infinite after training" in diverge(small("trainer.max_epochs=1", spoiling))

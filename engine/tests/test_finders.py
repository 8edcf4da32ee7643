"""The range test suggests a rate that trains well; the batch finder the largest batch that fits."""

import json
import logging
import math

import pytest
import torch

from kindling.debug.find_batch_size import largest
from kindling.debug.find_lr import rate_is_near, suggest
from kindling.errors import KindlingError
from kindling.training.counting import counted
from kindling.training.task import Task
from long_run import some

TASK = ["model=mlp", "optimizer=sgd"]


@pytest.fixture(autouse=True)
def keep_garbage(monkeypatch):
    """Lightning collects it after each size that it tries; the tests hold a million objects."""
    monkeypatch.setattr("lightning.pytorch.tuner.batch_size_scaling.garbage_collection_cuda", lambda: None)


@pytest.fixture
def found(train_run, caplog):
    """The run of a finder, and what it has told."""

    def run(*overrides: str):
        with caplog.at_level(logging.INFO):
            done = train_run(*overrides)
        return done, caplog.text

    return run


@pytest.mark.slow
def test_the_suggested_rate_is_within_three_times_of_the_best_of_a_grid(train_run, found):
    grid = {rate: train_run(*TASK, f"optimizer.lr={rate}").metrics["val/loss"] for rate in (0.01, 0.03, 0.1)}
    best = min(grid, key=lambda rate: grid[rate])
    run, words = found(*TASK, "debug=find_lr")
    facts = json.loads((run.folder / "lr_find.json").read_text())
    assert best / 3 <= facts["suggested"] <= best * 3
    assert f"the range test suggests optimizer.lr={facts['suggested']:g}; its curve: {run.folder}/lr_find.png" in words
    assert "optimizer.lr: given" not in words


def test_a_range_test_leaves_its_curve_and_nothing_else(found):
    run, words = found(*TASK, "debug=find_lr", "optimizer.lr=5", "callbacks.find_lr.num_steps=40")
    files = {file.name for file in run.folder.iterdir()}
    assert files <= {"config.yaml", "run.json", "train.log", ".lock", "lr_find.png", "lr_find.json"}
    assert run.metrics == {}
    assert (run.folder / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    assert "optimizer.lr: given 5; usual: within 10 times of what the range test suggests" in words


def test_the_rates_rise_by_the_same_factor_and_keep_the_proportions_of_the_groups(train_run, monkeypatch):
    seen, step = [], Task.optimizer_step

    def note(self, epoch, batch_idx, optimizer, closure):
        seen.append([group["lr"] for group in optimizer.param_groups])
        step(self, epoch, batch_idx, optimizer, closure)

    monkeypatch.setattr(Task, "optimizer_step", note)
    short = ["callbacks.find_lr.num_steps=9", "callbacks.find_lr.min_lr=1e-4", "callbacks.find_lr.max_lr=1"]
    groups = ["optimizer=muon", "optimizer.lr=0.1", "optimizer.head_lr=0.5", "optimizer.bias_lr=0.2"]
    run = train_run("model=mlp", *groups, "debug=find_lr", *short)
    rates = json.loads((run.folder / "lr_find.json").read_text())["lr"]
    assert rates == pytest.approx([10 ** (-4 + step / 2) for step in range(len(rates))])
    assert {round(rate / now, 6) for rate, given in zip(rates, seen, strict=True) for now in given} == {1, 0.2, 0.5}


@pytest.mark.parametrize("batches", some([1, 3], 3))
def test_a_step_has_the_mean_loss_of_its_batches(train_run, monkeypatch, batches):
    losses, step = [], counted

    def note(self, batch, stage, batch_idx):
        output = step(self, batch, stage, batch_idx)
        losses.append(output.loss.item())
        return output

    monkeypatch.setattr("kindling.training.task.counted", note)
    short = ["callbacks.find_lr.num_steps=6", "callbacks.find_lr.max_lr=0.5", "data.num_images=192"]  # 6 batches
    run = train_run(*TASK, "debug=find_lr", *short, f"trainer.accumulate_grad_batches={batches}")
    written = json.loads((run.folder / "lr_find.json").read_text())["loss"]
    assert written == pytest.approx(torch.tensor(losses).view(6, batches).mean(1).tolist())


def test_a_curve_that_falls_and_diverges_is_answered_with_a_rate_of_its_valley():
    rates = [10 ** (-5 + step / 20) for step in range(100)]  # to 0.9
    losses = [2.3 if rate < 1e-3 else 0.5 if rate < 0.1 else math.nan for rate in rates]
    noisy = [loss + 0.1 * (step % 2) for step, loss in enumerate(losses)]
    assert suggest(rates, losses) == pytest.approx(0.001 ** (2 / 3) * 0.1 ** (1 / 3), rel=0.3)
    assert suggest(rates, noisy) == pytest.approx(suggest(rates, losses), rel=0.2)


def test_a_loss_that_never_falls_is_told():
    with pytest.raises(KindlingError, match=r"no rate from 1e-05 to 0.001 lowers the loss from 2.3000; give a higher"):
        suggest([1e-5, 1e-4, 1e-3], [2.3, 2.3, 2.29])


def test_the_largest_batch_is_the_last_of_the_doubles_that_fits():
    tried = []

    def up_to(most: int):
        def fits(size: int) -> bool:
            tried.append(size)
            return size <= most

        return fits

    assert largest(up_to(40), 8, 1000) == 32
    assert tried == [8, 16, 32, 64]
    assert largest(up_to(40), 128, 1000) == 32
    assert largest(up_to(1000), 8, 50) == 50, "the limit itself is tried"
    assert largest(up_to(1), 8, 50) == 0


def test_a_batch_size_is_found_where_memory_ends(found, monkeypatch):
    tried, step = [], Task.training_step

    def with_little_memory(self, batch, batch_idx):
        tried.append(len(batch[1]))
        if len(batch[1]) > 70:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self, batch, batch_idx)

    with_little_memory.__signature__ = step.__signature__  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(Task, "training_step", with_little_memory)
    run, words = found(*TASK, "debug=find_batch_size", "data.batch_size=16")
    assert tried == [16, 16, 16, 32, 32, 32, 64, 64, 64, 128]
    assert "the largest batch that has fitted: data.batch_size=64\n" in words
    assert {file.name for file in run.folder.iterdir()} <= {"config.yaml", "run.json", "train.log", ".lock"}
    assert run.metrics == {}


def test_a_batch_size_is_looked_for_up_to_the_training_split(found):
    _, words = found(*TASK, "debug=find_batch_size", "data.num_images=100")
    told = "data.batch_size=100; nothing ran out of memory up to 100, all training images"
    assert told in words
    _, words = found(*TASK, "debug=find_batch_size", "callbacks.find_batch_size.limit=50")
    assert "data.batch_size=50; nothing ran out of memory up to 50, the limit of this search" in words


def test_a_model_that_not_even_two_images_fit_is_told(train_run, monkeypatch):
    def no_memory(self, batch, stage, batch_idx):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("kindling.training.task.counted", no_memory)
    with pytest.raises(KindlingError, match="memory runs out with 2 images; take a smaller model or image_size"):
        train_run(*TASK, "debug=find_batch_size")


def test_a_rate_far_from_the_suggested_one_is_told():
    assert list(rate_is_near(0.09, 0.01)) == []
    assert list(rate_is_near(0.5, 0.01)) == [
        "optimizer.lr: given 0.5; usual: within 10 times of what the range test suggests, 0.01; try optimizer.lr=0.01"
    ]
    assert len(list(rate_is_near(0.0009, 0.01))) == 1

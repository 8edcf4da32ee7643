"""Regression."""

import math

import pytest
import torch
from torch import nn

from kindling.errors import ConfigError

pytest.importorskip("my_project.tasks.regression")
from my_project.tasks.regression import Regression

CONFIG = {"data": {"num_features": 3}}


class First(nn.Module):
    """Predicts the first feature."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, 0]


def batch(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num)
    return 10 * torch.randn(num, 3, generator=generator), 10 * torch.randn(num, generator=generator)


def metrics_of(*nums: int) -> dict[str, float]:
    """Of an epoch of batches of so many examples, summed as the engine does."""
    task, sums = Regression(First(), target_std=4.0), {}
    for num in nums:
        step = task.step(batch(num), "val")
        parts = {"loss": step.loss * step.num, "num": torch.tensor(float(step.num)), **step.sums}
        sums = {name: sums.get(name, 0) + part for name, part in parts.items()}
    return {name: value.item() for name, value in task.epoch_metrics(sums).items()}


def test_errors_of_an_epoch_are_those_of_all_examples_however_they_are_batched():
    features, targets = (torch.cat(parts) for parts in zip(batch(7), batch(2), strict=True))
    errors = (features[:, 0] - targets).double()
    expected = {
        "loss": errors.square().mean().item() / 16,
        "mae": errors.abs().mean().item(),
        "rmse": math.sqrt(errors.square().mean().item()),
    }
    assert metrics_of(7, 2) == pytest.approx(expected, rel=1e-5)


def test_what_it_logs_is_what_it_declares():
    assert set(metrics_of(3)) == {"loss", *Regression.METRICS}


def test_predicting_the_mean_costs_a_loss_of_one():
    targets = 50 + 4 * torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    features = torch.full((10_000, 3), 50.0)
    assert Regression(First(), target_std=4.0).step((features, targets), "train").loss.item() == pytest.approx(
        1, abs=0.05
    )


def test_metrics_of_torchmetrics_get_predictions_and_targets():
    features, targets = batch(5)
    step = Regression(First(), target_std=4.0).step((features, targets), "test")
    assert torch.equal(step.outputs, features[:, 0])
    assert torch.equal(step.targets, targets)


def test_a_net_that_gives_a_column_is_refused_before_broadcasting_makes_it_wrong():
    task = Regression(nn.Linear(3, 1), target_std=1.0, config=CONFIG)
    with pytest.raises(ConfigError, match=r"gives \(2, 1\) for two examples; allowed: \(2,\), one number each"):
        task.check_outputs(task(task.example()))
    fitting = Regression(First(), target_std=1.0, config=CONFIG)
    fitting.check_outputs(fitting(fitting.example()))


def test_its_rows_are_those_of_the_columns_of_the_data():
    task = Regression(nn.Identity(), target_std=1.0)
    task.facts = {"columns": ["a", "b"], "target": "price"}
    assert task.processor().read({"b": "2", "a": 1}).tolist() == [1, 2]
    assert task.processor().write(torch.tensor(3.5).numpy()) == {"price": 3.5}

"""What is true of task=starter alone; test_tasks.py checks the rest."""

from typing import Any

import pytest
import torch
from torch import nn

from kindling.config.composition import instantiate
from kindling.errors import ConfigError


def task() -> Any:
    """One whose net gives back what it gets."""
    return instantiate({"_target_": "package.tasks.starter.Starter"}, "task", net=nn.Identity())


def test_the_loss_and_the_mae_are_those_of_numbers_worked_out_by_hand():
    """Replace this by a loss of yours that can be computed without `step`."""
    outputs, targets = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 0.0])
    step = task().step((outputs, targets), "val")
    assert step.loss.item() == pytest.approx((0 + 4 + 9) / 3)
    assert step.sums["mae"] / step.num == pytest.approx((0 + 2 + 3) / 3)


def test_outputs_of_another_shape_are_refused_before_broadcasting_makes_them_wrong():
    with pytest.raises(ConfigError, match=r"model: gives \(3, 1\) for targets \(3,\); allowed: the targets' shape"):
        task().step((torch.zeros(3, 1), torch.zeros(3)), "val")

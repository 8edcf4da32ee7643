"""What is true of task=starter alone; test_tasks.py checks the rest."""

import pytest
import torch
from package.tasks.starter import Starter  # pyright: ignore[reportMissingImports]
from torch import nn

from kindling.errors import ConfigError


def test_the_loss_and_the_mae_are_those_of_numbers_worked_out_by_hand():
    """Replace this by a loss of yours that can be computed without `step`."""
    outputs, targets = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 0.0])
    step = Starter(nn.Identity()).step((outputs, targets), "val")
    assert step.loss.item() == pytest.approx((0 + 4 + 9) / 3)
    assert step.sums["mae"] / step.num == pytest.approx((0 + 2 + 3) / 3)


def test_outputs_of_another_shape_are_refused_before_broadcasting_makes_them_wrong():
    with pytest.raises(ConfigError, match=r"model: gives \(3, 1\) for targets \(3,\); allowed: the targets' shape"):
        Starter(nn.Identity()).step((torch.zeros(3, 1), torch.zeros(3)), "val")

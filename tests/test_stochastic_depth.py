"""Branches that are left out at random; each net that has them tests its own."""

import pytest
import torch
from torch import nn

from kindling.errors import ConfigError

pytest.importorskip("my_project.models.stochastic_depth")
from my_project.models.stochastic_depth import branch_drops


def test_the_probability_rises_linearly_to_that_of_the_last_block():
    assert [drop.p for drop in branch_drops(0.8, 4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_without_it_nothing_is_there():
    assert [type(drop) for drop in branch_drops(0.0, 3)] == [nn.Identity] * 3


def test_a_branch_is_left_out_of_whole_images_and_scaled_in_the_others():
    torch.manual_seed(0)
    branch = torch.rand(400, 3, 4, 4) + 1
    found = branch_drops(0.75, 1)[0](branch)
    kept = found.flatten(1).any(1)
    assert kept.float().mean().item() == pytest.approx(0.25, abs=0.07)
    torch.testing.assert_close(found[kept], 4 * branch[kept])


@pytest.mark.parametrize("given", [1.0, -0.1, 1.5])
def test_a_branch_that_is_never_kept_is_refused(given):
    with pytest.raises(ConfigError, match=f"model.stochastic_depth: given {given}; allowed: 0 or more and less than 1"):
        branch_drops(given, 3)

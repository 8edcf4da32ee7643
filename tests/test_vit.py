"""The vision transformer."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from kindling.errors import ConfigError

pytest.importorskip("my_project.models.vit")
from my_project.models.vit import ViT

SMALL = {"in_channels": 3, "image_size": 16, "num_classes": 7, "patch_size": 4, "dim": 16, "depth": 6, "num_heads": 4}


def vit(**settings: Any) -> ViT:
    torch.manual_seed(0)
    return ViT(**SMALL | {"dropout": 0.0} | settings)


def test_it_knows_the_order_of_its_patches_by_its_positions_alone():
    net, images = vit().eval(), torch.randn(1, 3, 16, 16)
    moved = images.roll(4, dims=3)  # by one patch
    nn.init.zeros_(net.positions)
    assert torch.allclose(net(images), net(moved), atol=1e-6)
    nn.init.normal_(net.positions)
    assert not torch.allclose(net(images), net(moved), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 5}, r"model\.patch_size: given 5; allowed: a divisor of data\.image_size, 16"),
        ({"num_heads": 5}, r"model\.num_heads: given 5; allowed: a divisor of model\.dim, 16"),
        ({"stochastic_depth": 1.0}, r"model\.stochastic_depth: given 1\.0; allowed: 0 or more and less than 1"),
    ],
)
def test_a_wrong_argument_is_answered_with_what_is_allowed(settings, message):
    with pytest.raises(ConfigError, match=message):
        vit(**settings)


def test_a_checkpoint_of_before_there_was_a_choice_can_be_built():
    assert list(vit().state_dict()) == list(vit(stochastic_depth=0.0, checkpoint_activations=False).state_dict())


def rates_of(net: nn.Module) -> list[float]:
    return [module.p for module in net.modules() if isinstance(module, StochasticDepth)]


def test_stochastic_depth_rises_linearly_in_both_branches_of_each_layer():
    for number, layer in enumerate(vit(stochastic_depth=0.6).encoder.layers, start=1):
        assert [rates_of(layer.dropout1), rates_of(layer.dropout2)] == [pytest.approx([0.1 * number])] * 2


def test_stochastic_depth_changes_neither_the_names_nor_the_values_of_the_weights():
    plain, deep = vit().state_dict(), vit(stochastic_depth=0.5).state_dict()
    assert rates_of(vit()) == []
    assert list(plain) == list(deep)
    assert all(torch.equal(plain[key], deep[key]) for key in plain)


def test_stochastic_depth_acts_in_training_alone():
    plain, deep = vit(), vit(stochastic_depth=0.9)
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(plain.eval()(images), deep.eval()(images))
    assert not torch.equal(plain.train()(images), deep.train()(images))


def test_both_branches_of_a_layer_are_left_out_after_their_dropout():
    layer = vit(stochastic_depth=0.75).get_submodule("encoder.layers.5")
    assert isinstance(layer, nn.TransformerEncoderLayer)
    for end_of_branch in (layer.dropout1, layer.dropout2):
        found = end_of_branch(torch.ones(400, 3, 5)).flatten(1)
        kept = found[:, 0] > 0
        assert kept.float().mean().item() == pytest.approx(0.25, abs=0.07)
        assert torch.equal(found, 4 * kept[:, None].float().expand(-1, 15)), "whole images, so that the mean stays"

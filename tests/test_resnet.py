"""The residual network."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import StochasticDepth

from kindling.errors import ConfigError
from kindling.testing.nets import descend

pytest.importorskip("my_project.models.resnet")
from my_project.models.resnet import Block, ResNet


def resnet(**settings: Any) -> ResNet:
    torch.manual_seed(0)
    return ResNet(**{"in_channels": 3, "num_classes": 7, "depth": 20, "width": 8, "dropout": 0.0} | settings)


@pytest.mark.parametrize("depth", [8, 20, 32])
def test_it_has_the_depth_that_it_is_given(depth):
    named = resnet(depth=depth).named_modules()
    on_path = [m for key, m in named if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in key]
    assert len(on_path) == depth


@pytest.mark.parametrize("depth", [2, 19, 22])
def test_a_depth_that_no_such_net_has_is_refused(depth):
    with pytest.raises(ConfigError, match=rf"model\.depth: given {depth}; allowed: 6n \+ 2, such as 8"):
        resnet(depth=depth)


def test_its_stages_double_the_channels_and_halve_the_image():
    assert resnet(width=8).blocks(torch.randn(2, 8, 16, 16)).shape == (2, 32, 4, 4)


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
def test_each_block_starts_as_its_shortcut_whatever_the_norm(norm):
    block, x = resnet(norm=norm).blocks[1], torch.rand(2, 8, 8, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_without_batch_norm_an_image_in_training_does_not_depend_on_its_batch(norm):
    net, images = resnet(norm=norm), torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(net(images)[:1], net(images[:1]), rtol=1e-4, atol=1e-5)
    assert not [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def test_a_checkpoint_of_before_there_was_a_choice_can_be_built():
    today = resnet(norm="batch", stochastic_depth=0.0, checkpoint_activations=False)
    assert list(resnet().state_dict()) == list(today.state_dict())
    assert isinstance(resnet().stem[1], nn.BatchNorm2d)


def rates_of(net: nn.Module) -> list[float]:
    return [module.p for module in net.modules() if isinstance(module, StochasticDepth)]


def test_stochastic_depth_rises_linearly_to_the_last_block():
    assert rates_of(resnet(stochastic_depth=0.9)) == pytest.approx([0.1 * number for number in range(1, 10)])


def test_stochastic_depth_changes_neither_the_names_nor_the_values_of_the_weights():
    plain, deep = resnet().state_dict(), resnet(stochastic_depth=0.5).state_dict()
    assert rates_of(resnet()) == []
    assert list(plain) == list(deep)
    assert all(torch.equal(plain[key], deep[key]) for key in plain)


def awake(net: nn.Module) -> nn.Module:
    """Its branches with an effect, which start at zero."""
    for module in net.modules():
        if isinstance(module, Block):
            nn.init.ones_(module.norm2.weight)
    return net


def test_stochastic_depth_acts_in_training_alone():
    plain, deep = awake(resnet()), awake(resnet(stochastic_depth=0.9))
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(plain.eval()(images), deep.eval()(images))
    assert not torch.equal(plain.train()(images), deep.train()(images))


def test_a_branch_is_left_out_of_some_images_and_scaled_in_the_others():
    block = awake(resnet(stochastic_depth=0.75)).get_submodule("blocks.8")
    assert isinstance(block, Block)
    images = torch.rand(400, 32, 4, 4)  # positive, as the ReLU before leaves them
    branch = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(images)))))
    found = block(images)
    left_out = (found == images).flatten(1).all(1)
    assert left_out.float().mean().item() == pytest.approx(0.75, abs=0.07)
    torch.testing.assert_close(found[~left_out], torch.relu(images + 4 * branch)[~left_out])


def test_it_learns_with_stochastic_depth():
    net, images, labels = resnet(depth=8, stochastic_depth=0.3), torch.randn(8, 3, 16, 16), torch.arange(8) % 7
    adam = partial(torch.optim.Adam, lr=0.01)
    # Guessing costs 1.95.
    assert descend(net, lambda: F.cross_entropy(net(images), labels), adam, steps=60, until=0.2) <= 0.2

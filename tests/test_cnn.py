"""The convolutional network."""

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kindling.errors import ConfigError
from kindling.testing.nets import descend

pytest.importorskip("my_project.models.cnn")
from my_project.models.cnn import CNN


def cnn(**settings: Any) -> CNN:
    torch.manual_seed(0)
    return CNN(**{"in_channels": 3, "num_classes": 7, "channels": [8, 16], "dropout": 0.0} | settings)


def test_each_stage_halves_the_image():
    assert cnn(channels=[16, 32, 64]).stages(torch.randn(2, 3, 32, 32)).shape == (2, 64, 4, 4)


def test_its_convolutions_start_kaiming_normal():
    weight = cnn(channels=[64, 64]).get_parameter("stages.1.4.weight")
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.05)


def test_without_a_stage_it_is_refused():
    with pytest.raises(ConfigError, match=r"model\.channels: given \[\]; allowed: the channels of at least one stage"):
        cnn(channels=[])


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_without_batch_norm_an_image_in_training_does_not_depend_on_its_batch(norm):
    net, images = cnn(norm=norm), torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(net(images)[:1], net(images[:1]), rtol=1e-4, atol=1e-5)
    assert not [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
def test_it_learns_with_each_norm(norm):
    net, images, labels = cnn(norm=norm), torch.randn(8, 3, 16, 16), torch.arange(8) % 7
    adam = partial(torch.optim.Adam, lr=0.01)
    # Guessing costs 1.95.
    assert descend(net, lambda: F.cross_entropy(net(images), labels), adam, steps=40, until=0.2) <= 0.2


def test_a_checkpoint_of_before_there_was_a_choice_is_of_batch_norm():
    net = cnn()  # as from a config that names neither norm nor checkpoint_activations
    assert isinstance(net.get_submodule("stages.0.2"), nn.BatchNorm2d)
    assert list(net.state_dict()) == list(cnn(norm="batch", checkpoint_activations=False).state_dict())

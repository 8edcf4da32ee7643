"""The multilayer perceptron."""

import math

import pytest
import torch
from torch import nn

pytest.importorskip("my_project.models.mlp")
from my_project.models.mlp import MLP


def mlp(hidden: list[int]) -> MLP:
    torch.manual_seed(0)
    return MLP(in_channels=3, image_size=8, num_classes=7, hidden=hidden, dropout=0.0)


def test_its_layers_have_the_widths_that_are_given():
    layers = [module for module in mlp([20, 10]).modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(3 * 8 * 8, 20), (20, 10), (10, 7)]


def test_without_hidden_layers_it_is_linear():
    net, images = mlp([]), torch.randn(2, 3, 8, 8)
    assert torch.allclose(net(images), images.flatten(1) @ net.head.weight.T + net.head.bias, atol=1e-6)


def test_its_hidden_layers_start_kaiming_normal_and_without_bias():
    net = mlp([300])
    assert net.get_parameter("hidden.1.weight").std().item() == pytest.approx(math.sqrt(2 / (3 * 8 * 8)), rel=0.05)
    assert not net.get_parameter("hidden.1.bias").any()

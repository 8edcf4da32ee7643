"""The perceptron for tables."""

import pytest
import torch
from torch import nn

pytest.importorskip("my_project.models.tabular")
from my_project.models.tabular import Tabular

FACTS = {"mean": [1.0, -200.0, 0.01], "std": [2.0, 30.0, 0.001], "target_mean": 150.0, "target_std": 80.0}


def tabular(**settings) -> Tabular:
    torch.manual_seed(0)
    net = Tabular(**FACTS | {"hidden": [16], "dropout": 0.0} | settings)
    nn.init.normal_(net.head.weight)
    return net


def rows(num: int) -> torch.Tensor:
    return torch.tensor(FACTS["mean"]) + torch.tensor(FACTS["std"]) * torch.randn(num, 3)


def test_it_gives_one_number_for_each_row():
    assert tabular()(rows(5)).shape == (5,)


def test_it_predicts_the_mean_of_the_targets_at_first():
    predictions = Tabular(**FACTS, hidden=[16], dropout=0.5)(rows(5))
    assert predictions.tolist() == [150.0] * 5


def test_without_hidden_layers_it_is_a_line_in_standard_units():
    net, features = tabular(hidden=[]), rows(5)
    standard = (features - torch.tensor(FACTS["mean"])) / torch.tensor(FACTS["std"])
    expected = 150 + 80 * (standard @ net.head.weight[0] + net.head.bias)
    assert torch.allclose(net(features), expected, rtol=1e-5)


def test_its_answer_does_not_depend_on_the_unit_of_a_feature():
    in_metres = FACTS | {"mean": [1.0, -0.2, 0.01], "std": [2.0, 0.03, 0.001]}
    features = rows(5)
    assert torch.allclose(tabular()(features), tabular(**in_metres)(features * torch.tensor([1, 0.001, 1])), rtol=1e-4)


def test_its_statistics_are_in_a_checkpoint_and_are_not_trained():
    net = tabular()
    assert {"mean", "std"} <= set(net.state_dict())
    assert {"mean", "std"}.isdisjoint(dict(net.named_parameters()))


def test_its_layers_have_the_widths_that_are_given():
    layers = [module for module in tabular(hidden=[20, 10]).modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(3, 20), (20, 10), (10, 1)]

import pytest
import torch
from test_models import model_of
from torch import nn
from torchvision.ops import StochasticDepth

from kindling.errors import ConfigError
from my_project.models.resnet import Block
from my_project.models.stochastic_depth import branch_drops


def rates_of(net: nn.Module) -> list[float]:
    return [module.p for module in net.modules() if isinstance(module, StochasticDepth)]


def test_the_probability_rises_linearly_to_that_of_the_last_block():
    assert rates_of(model_of("resnet", "model.stochastic_depth=0.9")) == pytest.approx([0.1 * n for n in range(1, 10)])
    layers = model_of("vit", "model.stochastic_depth=0.6").get_submodule("encoder.layers")
    for number, layer in enumerate(layers, start=1):
        assert [rates_of(layer.dropout1), rates_of(layer.dropout2)] == [pytest.approx([0.1 * number])] * 2


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_without_it_nothing_is_there_and_the_weights_have_the_same_names(name):
    plain, deep = model_of(name), model_of(name, "model.stochastic_depth=0.5")
    assert rates_of(plain) == []
    assert list(plain.state_dict()) == list(deep.state_dict())
    assert all(torch.equal(each, deep.state_dict()[key]) for key, each in plain.state_dict().items())


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_it_acts_in_training_alone(name):
    plain, deep = model_of(name), model_of(name, "model.stochastic_depth=0.9")
    for net in (plain, deep):
        for key, parameter in net.named_parameters():
            if "norm2.weight" in key:  # zero, where branches have no effect
                nn.init.ones_(parameter)
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(plain.eval()(images), deep.eval()(images))
    assert not torch.equal(plain.train()(images), deep.train()(images))


def test_a_residual_branch_is_left_out_of_some_images_and_scaled_in_the_others():
    block = model_of("resnet", "model.stochastic_depth=0.75").get_submodule("blocks.8")
    assert isinstance(block, Block)
    nn.init.ones_(block.norm2.weight)
    images = torch.rand(400, 64, 4, 4)  # positive, as the ReLU before leaves them
    branch = block.norm2(block.conv2(torch.relu(block.norm1(block.conv1(images)))))
    found = block(images)
    left_out = (found == images).flatten(1).all(1)
    assert left_out.float().mean().item() == pytest.approx(0.75, abs=0.07)
    torch.testing.assert_close(found[~left_out], torch.relu(images + 4 * branch)[~left_out])


def test_both_branches_of_an_encoder_layer_are_left_out_after_their_dropout():
    layer = model_of("vit", "model.stochastic_depth=0.75", "model.dropout=0").get_submodule("encoder.layers.5")
    assert isinstance(layer, nn.TransformerEncoderLayer)
    for end_of_branch in (layer.dropout1, layer.dropout2):
        found = end_of_branch(torch.ones(400, 3, 5)).flatten(1)
        kept = found[:, 0] > 0
        assert kept.float().mean().item() == pytest.approx(0.25, abs=0.07)
        assert torch.equal(found, 4 * kept[:, None].float().expand(-1, 15)), "whole images, so that the mean stays"


@pytest.mark.parametrize("given", [1.0, -0.1, 1.5])
def test_a_branch_that_is_never_kept_is_refused(given):
    with pytest.raises(ConfigError, match=f"model.stochastic_depth: given {given}; allowed: 0 or more and less than 1"):
        branch_drops(given, 3)
    with pytest.raises(ConfigError, match=f"model.stochastic_depth: given {given}; allowed: 0 or more and less than 1"):
        model_of("vit", f"model.stochastic_depth={given}")


def test_a_run_with_it_learns(train_run):
    small = ["model=resnet", "model.depth=8", "model.width=8", "optimizer.lr=0.02"]
    assert train_run(*small, "model.stochastic_depth=0.3").metrics["train/accuracy"] > 0.8

"""debug=gradcheck compares each gradient with finite differences, and trains nothing."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.models.mlp import MLP
from kindling.debug.gradient_check import gradient_checks
from kindling.errors import GradientError
from nets import model_of

RANDOM = ["model.dropout=0.3", "model.stochastic_depth=0.5"]
SETTINGS = {
    "mlp": ["model.hidden=[16,8]", "model.dropout=0.3"],
    "cnn": ["model.channels=[4,8]", "model.dropout=0.3"],
    "cnn, group norm": ["model.channels=[4,8]", "model.norm=group"],
    "vit": RANDOM,
    "vit, recomputed": [*RANDOM, "model.checkpoint_activations=true"],
}


class Doubled(torch.autograd.Function):
    """2 x, whose backward forgets the 2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class WrongLinear(nn.Linear):
    """A layer whose weight alone gets half its gradient."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, Doubled.apply(self.weight), self.bias)


class LossOf(nn.Module):
    """The cross-entropy of a net, of images and labels."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])


def wrong_of(net: nn.Module, seed: int = 0) -> list[str]:
    torch.manual_seed(seed)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64).clamp(0)  # half of them tie
    batch = (images, torch.tensor([1, 4]))
    checks = dict(gradient_checks(LossOf(net.double()), batch, "the images"))
    assert [*checks] == ["the images", *(name for name, each in net.named_parameters() if each.requires_grad)]
    return [name for name, is_right in checks.items() if not is_right]


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_every_gradient_of_a_model_is_right(name):
    assert wrong_of(model_of(name.partition(",")[0], "data.image_size=16", *SETTINGS[name])) == []


def layers_of(net: nn.Module) -> nn.Sequential:
    hidden = net.get_submodule("hidden")
    assert isinstance(hidden, nn.Sequential)
    return hidden


def test_a_wrong_gradient_of_one_weight_is_found_by_its_name():
    net = model_of("mlp", "data.image_size=16", "model.hidden=[8,8]")
    layers_of(net)[4] = WrongLinear(8, 8)
    assert wrong_of(net) == ["hidden.4.weight"]


def test_images_without_any_contrast_are_no_tie_for_the_largest(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "clamp", lambda images, least: images.zero_())
    assert wrong_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(196, 7))) == []


def test_a_wrong_function_between_layers_is_wrong_for_all_before_it():
    net = model_of("mlp", "data.image_size=16", "model.hidden=[8,8]")
    layers_of(net)[2].forward = Doubled.apply  # in place of the first ReLU
    assert wrong_of(net) == ["the images", "hidden.1.weight", "hidden.1.bias"]


def test_a_run_whose_gradients_are_right_says_so_and_trains_nothing(train_run, caplog):
    caplog.set_level("INFO")
    run = train_run("debug=gradcheck", "model.channels=[4,8]")
    assert "gradients: all 15 are right: those with respect to the images and to each" in caplog.text
    assert json.loads((run.folder / "run.json").read_text())["status"] == "finished"
    assert run.metrics == {}
    assert not list(run.folder.glob("checkpoints/*"))


def test_a_run_whose_gradients_are_wrong_fails_with_the_nearest_to_the_loss(train_run, monkeypatch):
    forward = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda self, images: Doubled.apply(forward(self, images)))
    message = (
        r"gradients: given that of head.bias, and of 4 more before it, wrong; allowed: what finite differences give, "
        r"as it is with 0 others; mend the backward of what uses it$"
    )
    with pytest.raises(GradientError, match=message):
        train_run("debug=gradcheck", "model=mlp", "model.hidden=[8]")


@pytest.mark.slow
def test_the_check_leaves_the_net_and_the_random_numbers_alone(train_run):
    still = ["model.channels=[4,8]", "trainer.max_epochs=1"]
    check = "+callbacks.gradient_check={_target_: kindling.debug.gradient_check.GradientCheck, num_examples: 2}"
    plain, checked = train_run(*still), train_run(*still, check)
    assert plain.metrics == checked.metrics
    assert all(torch.equal(each, checked.weights()[name]) for name, each in plain.weights().items())

import inspect

import pytest
import torch
from test_models import model_of
from torch import nn

from kindling.checkpoint import DESCRIPTION
from kindling.classifier import rebuild
from kindling.config.targets import absolute
from my_project.models.norms import norm_of, num_groups


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8), (20, 10), (64, 32), (100, 25), (512, 32), (13, 1)]
)
def test_groups_are_as_many_as_can_be_of_two_channels_or_more(channels, groups):
    assert num_groups(channels) == groups


def test_no_more_groups_would_do():
    for channels in range(2, 300):
        allowed = [n for n in range(1, 33) if channels % n == 0 and channels // n >= 2]
        assert num_groups(channels) == max(allowed)
        assert isinstance(norm_of("group", channels), nn.GroupNorm)


def test_a_group_has_mean_zero_and_variance_one_in_each_image():
    images = 3 * torch.randn(2, 16, 8, 8) + 5
    groups = norm_of("group", 16)(images).detach().view(2, 8, -1)
    assert torch.allclose(groups.mean(2), torch.zeros(2, 8), atol=1e-5)
    assert torch.allclose(groups.var(2, correction=0), torch.ones(2, 8), atol=1e-3)


def test_layer_norm_takes_all_channels_of_an_image_together():
    images = 3 * torch.randn(2, 16, 8, 8) + 5
    expected = nn.functional.layer_norm(images, images.shape[1:])
    torch.testing.assert_close(norm_of("layer", 16)(images), expected)


@pytest.mark.parametrize("kind", ["layer", "group"])
@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_in_training_an_image_does_not_depend_on_its_batch_without_batch_norm(name, kind):
    net = model_of(name, f"model.norm={kind}", "model.dropout=0")
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(net(images)[:1], net(images[:1]), rtol=1e-4, atol=1e-5)
    assert not [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("kind", ["batch", "layer", "group"])
def test_each_residual_block_starts_as_its_shortcut_whatever_the_norm(kind):
    block = model_of("resnet", f"model.norm={kind}").get_submodule("blocks.1")
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(x), x)


def test_a_checkpoint_of_before_there_was_a_choice_is_of_batch_norm(finished):
    path = finished.folder / "checkpoints" / "best.ckpt"
    saved = torch.load(path, weights_only=True)
    saved[DESCRIPTION]["config"] = absolute(saved[DESCRIPTION]["config"])
    for key in ("norm", "checkpoint_activations"):
        del saved[DESCRIPTION]["config"]["model"][key]
    assert isinstance(rebuild(saved, path).get_submodule("net.stages.0.2"), nn.BatchNorm2d)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_a_model_of_before_can_be_built_too(name):
    new = {"norm", "stochastic_depth", "checkpoint_activations"}
    before = [f"~model.{key}" for key in new & inspect.signature(type(model_of(name))).parameters.keys()]
    assert list(model_of(name).state_dict()) == list(model_of(name, *before).state_dict())


@pytest.mark.parametrize("kind", ["layer", "group"])
def test_each_norm_trains(train_run, kind):
    small = ["model=cnn", "model.channels=[8,16]", "optimizer.lr=0.02", "trainer.max_epochs=3"]  # guessing: 0.1
    assert train_run(*small, f"model.norm={kind}").metrics["val/accuracy"] > 0.9

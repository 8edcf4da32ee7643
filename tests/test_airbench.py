"""The network of cifar10-airbench, and the recipe that trains it."""

import pytest
import torch
from torch import nn

from kindling.config import project
from kindling.errors import ConfigError
from kindling.training.example import check_example
from kindling.training.task import Task

pytest.importorskip("my_project.models.airbench")
from my_project.models.airbench import Airbench, pass_on


def airbench(widths: list[int]) -> Airbench:
    torch.manual_seed(0)
    return Airbench(in_channels=3, num_classes=7, widths=widths, whitening_size=2)


def test_it_takes_images_down_to_one_pixel_after_its_stages_and_refuses_smaller_ones():
    task = Task(airbench([8, 8, 8]), config={"model": {"_target_": "Airbench"}})
    check_example(task, torch.zeros(2, 3, 9, 9))
    with pytest.raises(ConfigError, match=r"Airbench for inputs of shape \(3, 8, 8\), which it cannot"):
        check_example(task, torch.zeros(2, 3, 8, 8))


def test_without_a_stage_it_is_refused():
    with pytest.raises(ConfigError, match=r"model\.widths: given \[\]; allowed: the channels of at least one stage"):
        airbench([])


def test_its_whitening_and_the_scales_of_its_norms_are_frozen():
    frozen = {key: p for key, p in airbench([8, 8, 8]).named_parameters() if not p.requires_grad}
    del frozen["whitening.weight"]
    assert len(frozen) == 2 * 3
    assert all(torch.equal(scale, torch.ones_like(scale)) for scale in frozen.values())


@pytest.mark.parametrize(("in_channels", "out_channels"), [(3, 5), (5, 5), (5, 3)])
def test_dirac_filters_pass_their_channels_on(in_channels, out_channels):
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    pass_on(conv)
    images = torch.randn(2, in_channels, 6, 6)
    passed = min(in_channels, out_channels)
    assert torch.allclose(conv(images)[:, :passed], images[:, :passed], atol=1e-6)
    assert (conv.weight[passed:] != 0).all(), "the others are random"


def test_its_convolutions_start_with_dirac_filters():
    net = airbench([32, 40])
    for name, in_channels in (("stages.1.0", 32), ("stages.1.4", 40)):
        weight = net.get_parameter(f"{name}.weight")
        assert torch.equal(weight[:32, :, 1, 1], torch.eye(32, in_channels))


@pytest.mark.slow
def test_the_speed_recipe_learns_in_a_few_steps(train_run):
    if not (project.current().configs / "experiment" / "cifar10_speed.yaml").is_file():
        pytest.skip("there is no experiment=cifar10_speed")
    small = ["data=fake", "data.channels=3", "data.num_images=128", "data.batch_size=32", "trainer.max_epochs=4"]
    run = train_run("experiment=cifar10_speed", *small)
    assert run.metrics["test/accuracy"] > 0.9
    assert run.weights()["net.whitening.is_fitted"]

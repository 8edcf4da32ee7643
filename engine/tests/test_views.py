import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import functional as reference

from kindling.images.views import average_logits


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()


IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def moved(images: Tensor, down: int, right: int) -> Tensor:
    return reference.crop(reference.pad(images, [1], padding_mode="reflect"), 1 - down, 1 - right, 8, 8)


def test_one_view_is_the_image_itself(net):
    assert torch.equal(average_logits(net, IMAGES, "none"), net(IMAGES))


def test_two_views_are_the_image_and_its_mirror_image(net):
    expected = (net(IMAGES) + net(reference.hflip(IMAGES))) / 2
    assert torch.allclose(average_logits(net, IMAGES, "flip"), expected, atol=1e-6)


def test_six_views_weigh_the_unmoved_pair_as_much_as_the_four_moved_ones(net):
    views = dict.fromkeys((IMAGES, reference.hflip(IMAGES)), 1 / 4)
    for down, right in ((1, 1), (-1, -1)):
        shifted = moved(IMAGES, down, right)
        views |= dict.fromkeys((shifted, reference.hflip(shifted)), 1 / 8)
    assert len(views) == 6
    assert sum(views.values()) == 1
    expected = sum(weight * net(image) for image, weight in views.items())
    assert torch.allclose(average_logits(net, IMAGES, "flip_and_shift"), expected, atol=1e-6)


def test_two_views_do_not_know_left_from_right(net):
    assert not torch.allclose(net(IMAGES), net(IMAGES.flip(3)), atol=1e-3)
    assert torch.equal(average_logits(net, IMAGES, "flip"), average_logits(net, IMAGES.flip(3), "flip"))


@pytest.mark.parametrize("views", ["none", "flip", "flip_and_shift"])
def test_views_of_a_blank_image_are_all_the_same(net, views):
    blank = torch.ones(2, 3, 8, 8)
    assert torch.allclose(average_logits(net, blank, views), net(blank), atol=1e-6)

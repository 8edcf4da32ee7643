"""Batch, group and layer norm."""

import pytest
import torch
from torch import nn

pytest.importorskip("my_project.models.norms")
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


def test_batch_norm_takes_a_channel_of_all_images_together():
    images = 3 * torch.randn(4, 16, 8, 8) + 5
    expected = nn.functional.batch_norm(images, None, None, training=True)
    torch.testing.assert_close(norm_of("batch", 16)(images), expected)

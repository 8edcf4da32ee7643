"""The layer that whitens patches, and the callback that fits it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kindling.config import project
from kindling.config.composition import instantiate
from kindling.testing.runs import Run

pytest.importorskip("my_project.models.whitening")
from my_project.models.whitening import EPS, IMAGES_AT_ONCE, Whitening


def images_of(num_images: int, channels: int = 3) -> Tensor:
    """Blurred noise off zero, whose neighbouring pixels and channels are correlated."""
    noise = torch.randn(num_images, channels, 12, 12, generator=torch.Generator().manual_seed(0))
    return 3 * F.avg_pool2d(noise, 3, stride=1) + noise[:, :1, 1:-1, 1:-1] + 0.7


def fitted(images: Tensor, kernel_size: int) -> Whitening:
    layer = Whitening(images.shape[1], kernel_size)
    layer.fit(images)
    return layer


@pytest.mark.parametrize(("channels", "kernel_size"), [(1, 2), (3, 2), (3, 3)])
def test_what_it_was_fitted_to_comes_out_uncorrelated_with_variance_one(channels, kernel_size):
    images = images_of(200, channels)
    outputs = fitted(images, kernel_size)(images).detach()
    assert outputs.shape == (200, 2 * channels * kernel_size**2, 11 - kernel_size, 11 - kernel_size)
    half, other = outputs.transpose(0, 1).flatten(1).chunk(2)
    assert torch.allclose(torch.cov(half), torch.eye(len(half)), atol=0.02)
    assert torch.allclose(half, -other, atol=1e-5)


def test_its_filters_are_those_of_numpy_but_for_their_signs():
    images = images_of(IMAGES_AT_ONCE + 3, 2)
    patches = np.lib.stride_tricks.sliding_window_view(images.double().numpy(), (2, 2), axis=(2, 3))
    patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 8)
    variances, axes = np.linalg.eigh(np.cov(patches.T, bias=True))
    expected = axes.T / np.sqrt(variances + EPS)[:, None]
    found = fitted(images, 2).weight[:8].flatten(1).numpy()
    assert np.abs(np.abs((found * expected).sum(1)) / (expected**2).sum(1) - 1).max() < 1e-5


def test_directions_without_variance_are_not_blown_up():
    grey = images_of(50, 1).expand(-1, 3, -1, -1)
    assert fitted(grey, 2).weight.abs().max() <= EPS**-0.5 + 1e-3


def test_before_it_is_fitted_it_shows_each_pixel_and_its_negative():
    images = images_of(2)
    half, other = Whitening(3, 2)(images).detach().chunk(2, dim=1)
    assert torch.equal(half[:, 0], images[:, 0, :-1, :-1])
    assert torch.equal(half, -other)


def test_only_its_bias_is_trained():
    assert [key for key, p in Whitening(3, 2).named_parameters() if p.requires_grad] == ["bias"]


# --- the callback


@pytest.fixture
def fit() -> str:
    """The override that adds the callback."""
    pytest.importorskip("my_project.callbacks.whitening")
    return "+callbacks.whitening={_target_: my_project.callbacks.whitening.FitWhitening, num_images: 40}"


@pytest.fixture
def small(fit: str) -> list[str]:
    """A small run of a model that has such a layer."""
    if not (project.current().configs / "model" / "airbench.yaml").is_file():
        pytest.skip("there is no model=airbench")
    model = ["model=airbench", "model.widths=[4,8]", "optimizer=sgd", "optimizer.lr=0.01", "scheduler=constant"]
    return [*model, "data.image_size=8", "data.num_images=64", "logger=none", fit]


def whitening_of(run: Run) -> Tensor:
    return run.weights("last")["net.whitening.weight"]


def test_a_run_fits_it_to_normalised_training_images_whatever_the_seed(train_run, small):
    run = train_run(*small, "trainer.max_epochs=1")
    other = train_run(*small, "trainer.max_epochs=1", "seed=1")
    assert torch.equal(whitening_of(run), whitening_of(other))
    pixels = instantiate(run.cfg.data, "data").splits.train.images.permute(0, 3, 1, 2) / 255
    half = F.conv2d((pixels - 0.5) / 0.25, whitening_of(run)[:4]).transpose(0, 1).flatten(1)
    assert torch.allclose(torch.cov(half), torch.eye(4), atol=0.2), "of 40 of the 64 images"


@pytest.mark.slow
def test_a_resumed_run_keeps_the_layer_that_it_was_started_with(train_run, small, monkeypatch):
    run = train_run(*small, "trainer.max_epochs=1")
    before, fits = whitening_of(run), []
    monkeypatch.setattr(Whitening, "fit", lambda *_: fits.append(1))
    train_run(*small, "trainer.max_epochs=2", f"resume={run.folder}")
    assert fits == []
    assert torch.equal(whitening_of(run), before)


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_a_model_without_such_a_layer_is_left_alone_and_so_is_the_randomness_of_the_run(fit, stage):
    from my_project.callbacks.whitening import FitWhitening

    net, state = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Dropout()), torch.get_rng_state()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    FitWhitening(num_images=40).setup(SimpleNamespace(), net, stage)  # no data, since none is asked for
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_is_fitted_to_be_tested(fit):
    from my_project.callbacks.whitening import FitWhitening

    layer = Whitening(3, 2)
    FitWhitening(num_images=40).setup(SimpleNamespace(), nn.Sequential(layer), "test")
    assert not layer.is_fitted

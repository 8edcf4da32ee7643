import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from kindling.config.check import annotations
from kindling.config.check.values import annotation_of
from kindling.errors import ConfigError
from kindling.training.initialisation import HEAD_STD, SCHEMES, STD, initialise
from nets import model_of

OURS = ["mlp", "cnn", "vit"]
MODELS = [*OURS, "squeezenet1_1", "mobilenet_v3_small"]
CUT = 0.8796  # std of a normal distribution without what is beyond two of its std


def net_of(name: str, scheme: str | None = None) -> nn.Module:
    net = model_of(name) if name in OURS else models.get_model(name, num_classes=7)
    if scheme:
        initialise(net, scheme)
    return net


def expected_std(scheme: str, weight: Tensor) -> float:
    """By the formulas in the documentation of torch.nn.init."""
    rows, columns = len(weight), weight[0].numel()
    fan_in, fan_out = columns, rows * weight[0, 0].numel()
    if scheme.startswith("kaiming"):
        return math.sqrt(2 / fan_in)
    if scheme.startswith("xavier"):
        return math.sqrt(2) * math.sqrt(2 / (fan_in + fan_out))
    if scheme == "orthogonal":  # rows or columns of length 1, times the gain
        return math.sqrt(2 / max(rows, columns))
    return CUT * STD


def layers_of(net: nn.Module) -> dict[str, Tensor]:
    kinds = (nn.Conv2d, nn.Linear)
    layers = {key: module for key, module in net.named_modules() if isinstance(module, kinds)}
    return {key: layer.weight for key, layer in layers.items()}


@pytest.mark.parametrize("name", OURS)
def test_each_layer_has_the_spread_of_its_scheme_and_the_head_a_small_one(name):
    net = net_of(name)
    for scheme in SCHEMES:
        initialise(net, scheme)
        *hidden, head = layers_of(net).values()
        for weight in hidden:
            error = 1 / math.sqrt(weight.numel())
            assert weight.std().item() == pytest.approx(expected_std(scheme, weight), rel=4 * error), scheme
            assert weight.mean().item() == pytest.approx(0, abs=6 * error * weight.std().item()), scheme
        assert head.std().item() == pytest.approx(HEAD_STD, rel=4 / math.sqrt(head.numel())), scheme


@pytest.mark.parametrize("scheme", SCHEMES)
def test_attention_is_three_square_matrices(scheme):
    for part in net_of("vit", scheme).get_parameter("encoder.layers.0.self_attn.in_proj_weight").chunk(3):
        assert part.std().item() == pytest.approx(expected_std(scheme, part), rel=0.05)
        if scheme == "orthogonal":
            torch.testing.assert_close(part @ part.T, 2 * torch.eye(16), atol=1e-4, rtol=0)


def test_attention_with_keys_of_another_width_has_three_matrices():
    net = nn.Sequential(nn.MultiheadAttention(8, 2, kdim=4), nn.Linear(8, 2))
    initialise(net, "orthogonal")
    keys = net[0].k_proj_weight
    torch.testing.assert_close(keys.T @ keys, 2 * torch.eye(4))


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if "uniform" in name])
def test_uniform_weights_have_a_bound(scheme):
    weight = net_of("cnn", scheme).get_parameter("stages.2.4.weight")
    assert weight.abs().max().item() == pytest.approx(math.sqrt(3) * expected_std(scheme, weight), rel=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_the_first_loss_is_that_of_guessing(name):
    net, images = net_of(name), torch.randn(14, 3, 32, 32)
    for scheme in SCHEMES:
        initialise(net, scheme)
        with torch.inference_mode():
            loss = F.cross_entropy(net(images), torch.arange(14) % 7)
        assert loss.item() == pytest.approx(math.log(7), rel=0.15), scheme


@pytest.mark.parametrize("name", MODELS)
def test_biases_start_at_zero_and_norms_stay(name):
    net = net_of(name)
    norms = {key: each.clone() for key, each in net.named_parameters() if each.ndim == 1 and key.endswith("weight")}
    initialise(net, "xavier_normal")
    assert not [key for key, each in net.named_parameters() if key.endswith("bias") and each.any()]
    assert all(torch.equal(each, net.get_parameter(key)) for key, each in norms.items())


def test_what_is_frozen_stays_as_it_is():
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    before = net.get_parameter("0.weight").requires_grad_(False).clone()
    initialise(net, "orthogonal")
    assert torch.equal(net.get_parameter("0.weight"), before)


def test_a_net_without_layers_is_refused():
    with pytest.raises(ConfigError, match="init: given orthogonal for ReLU, which has no layer for it; allowed: null"):
        initialise(nn.ReLU(), "orthogonal")


def test_the_config_allows_all_schemes_and_none():
    allowed = annotation_of("init")
    assert allowed
    assert annotations.choices(allowed) == [*SCHEMES]
    assert annotations.accepts(allowed, None)


@pytest.mark.slow
def test_a_run_starts_with_it_and_its_seed(train_run):
    still = ["model=mlp", "optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_epochs=1"]
    run = train_run(*still, "init=orthogonal")
    weight = run.weights()["net.hidden.4.weight"]
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(len(weight)), atol=1e-3, rtol=0)
    assert not torch.equal(weight, train_run(*still, "init=orthogonal", "seed=1").weights()["net.hidden.4.weight"])

"""Checkpointed activations: the same numbers from less memory."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kindling.training.recomputation import recomputed
from nets import model_of

ON = "model.checkpoint_activations=true"
RANDOM = {
    "cnn": ["model.dropout=0.3"],
    "vit": ["model.dropout=0.3", "model.stochastic_depth=0.5"],
}


def step(net: nn.Module, autocast: bool = False) -> Tensor:
    """The loss of one step on 16 images, after its backward pass."""
    torch.manual_seed(1)
    images = torch.randn(16, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = F.cross_entropy(net(images), torch.arange(16) % 7)
    loss.backward()
    return loss.detach()


def saved_bytes(net: nn.Module) -> int:
    """What a forward pass keeps for the backward pass, parameters apart."""
    from kindling.debug.bytes_held import kept_for_backward

    with kept_for_backward(net.parameters()) as kept:
        logits = net(torch.randn(16, 3, 32, 32))
    assert logits.requires_grad
    return kept.num_bytes


@pytest.mark.parametrize("autocast", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RANDOM)
def test_recomputing_changes_neither_loss_nor_gradients_nor_statistics(name, autocast):
    plain, thrifty = model_of(name, *RANDOM[name]), model_of(name, *RANDOM[name], ON)
    for _ in range(2):  # gradients add up, statistics go on
        assert torch.equal(step(plain, autocast), step(thrifty, autocast))
    for (key, expected), found in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        assert expected.grad is not None
        assert torch.equal(expected.grad, found.grad), key
    assert list(plain.state_dict()) == list(thrifty.state_dict())
    for (key, expected), found in zip(plain.named_buffers(), thrifty.buffers(), strict=True):
        assert torch.equal(expected, found), key


@pytest.mark.needs("debug")
@pytest.mark.parametrize(("name", "most"), [("cnn", 0.2), ("vit", 0.3)])
def test_less_is_kept_for_the_backward_pass(name, most):
    ratio = saved_bytes(model_of(name, ON)) / saved_bytes(model_of(name))
    assert ratio < most, ratio


@pytest.mark.parametrize("name", RANDOM)
def test_each_block_is_computed_twice_in_training_and_once_in_evaluation(name):
    net, calls = model_of(name, ON), []
    block = {"cnn": "stages.0", "vit": "encoder.layers.1"}[name]
    net.get_submodule(block).register_forward_pre_hook(lambda *_: calls.append(name))
    step(net)
    assert len(calls) == 2
    net.eval()
    with torch.no_grad():
        net(torch.randn(2, 3, 32, 32))
    assert len(calls) == 3


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_are_those_of_the_first_pass_alone(momentum):
    norm = nn.BatchNorm2d(3, momentum=momentum)
    buffers = dict(norm.named_buffers())
    images = torch.randn(8, 3, 4, 4, requires_grad=True)
    recomputed([norm], images).sum().backward()
    assert norm.num_batches_tracked == 1
    weight = 1.0 if momentum is None else momentum
    torch.testing.assert_close(norm.running_mean, weight * images.detach().mean((0, 2, 3)))
    assert all(dict(norm.named_buffers())[name] is each for name, each in buffers.items()), "the very same tensors"


def test_a_second_backward_pass_recomputes_once_more():
    net = model_of("cnn", ON)
    loss = F.cross_entropy(net(torch.randn(4, 3, 32, 32)), torch.arange(4))
    statistics = [each.clone() for each in net.buffers()]
    once, twice = (torch.autograd.grad(loss, [*net.parameters()], retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, once, twice))
    assert all(map(torch.equal, statistics, net.buffers()))


def test_a_norm_without_statistics_is_recomputed_too():
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    images = torch.randn(8, 3, 4, 4, requires_grad=True)
    recomputed([norm], images).square().sum().backward()
    assert images.grad is not None
    assert norm.running_mean is None


@pytest.mark.slow
def test_a_run_that_recomputes_ends_with_the_same_bits(train_run):
    small = ["model=vit", "model.stochastic_depth=0.5", "trainer.max_epochs=1"]
    plain, thrifty = train_run(*small), train_run(*small, ON)
    assert plain.metrics == thrifty.metrics
    assert all(torch.equal(each, thrifty.weights()[name]) for name, each in plain.weights().items())

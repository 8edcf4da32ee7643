"""What every model of configs/model keeps, with the smallest images of configs/data that it takes."""

import copy
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from kindling.checkpoints import checkpoint
from kindling.cli.entry import compose
from kindling.config.composition import instantiate, to_plain
from kindling.export import export
from kindling.inference import runtimes
from kindling.inference.exporting import parity
from kindling.inference.predictor import load
from kindling.testing.nets import MODELS, Case, build_net, descend, fitting, freeze_batch_norm, loss_of, seeded
from kindling.testing.runs import same_weights
from kindling.training.rebuild import rebuild


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    """Each model of configs/model in turn."""
    return request.param


@pytest.fixture
def case(model: str, offline: Path) -> Case:
    """Each model with the smallest images that it takes, to train as one likes."""
    return fitting(model, offline)[0].copy()


def test_a_model_gives_a_finite_float_for_each_image_and_class_of_whatever_shape_it_takes(model, offline):
    for case in map(Case.copy, fitting(model, offline)):
        for net in (case.net.train(), case.net.eval()):
            logits = net(case.images)
            assert logits.dtype == torch.float32
            assert logits.shape == (len(case.images), case.cfg.data.num_classes)
            assert logits.isfinite().all()


def test_the_first_loss_is_about_that_of_guessing(case):
    guessing = math.log(case.cfg.data.num_classes)
    for net in (case.net.train(), case.net.eval()):
        assert loss_of(net, case.images, case.labels).item() == pytest.approx(guessing, rel=0.4)


def test_the_first_weights_are_a_function_of_the_seed(case):
    first, again, other = (build_net(case.cfg, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_model_learns_a_batch_by_heart_and_knows_it_in_evaluation(case):
    first = loss_of(copy.deepcopy(case.net).train(), case.images, case.labels).item()
    for lr in (0.01, 0.1, 0.001):
        learner = case._replace(net=copy.deepcopy(case.net))
        if descend(learner, partial(torch.optim.Adam, lr=lr), steps=60, until=0.1 * first) <= 0.1 * first:
            break
    else:
        pytest.fail("the loss of one batch does not fall to a tenth in 60 steps")
    with torch.no_grad():
        # Statistics of batch norm follow the weights slowly.
        for _ in range(30):
            learner.net(case.images)
        assert loss_of(learner.net.eval(), case.images, case.labels).item() < 0.5 * first


def test_every_trainable_parameter_gets_a_gradient_within_three_steps(case):
    """Three, since a branch that starts at zero stops the gradients of what is before it."""
    optimizer = torch.optim.SGD(case.net.parameters(), lr=0.01)
    without = {key for key, parameter in case.net.named_parameters() if parameter.requires_grad}
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(case.net.train(), case.images, case.labels).backward()
        optimizer.step()
        gradients = {key: parameter.grad for key, parameter in case.net.named_parameters()}
        without -= {key for key, gradient in gradients.items() if gradient is not None and gradient.any()}
    assert without == set()


def test_the_gradient_is_the_slope_of_the_loss(case):
    """A branch that is detached still counts in the loss, so the slope along a line shows it."""
    net, images = copy.deepcopy(case.net).double().train(), case.images.double()
    generator = torch.Generator().manual_seed(0)
    trainable = {key: parameter for key, parameter in net.named_parameters() if parameter.requires_grad}
    ways = {key: torch.randn(p.shape, generator=generator, dtype=p.dtype) for key, p in trainable.items()}
    start = {key: parameter.detach() + 0.02 * ways[key] for key, parameter in trainable.items()}

    def loss_at(distance: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        moved = {key: start[key] + distance * ways[key] for key in ways}
        return F.cross_entropy(functional_call(net, moved, images), case.labels)

    here = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss_at(here), here)
    # Larger ones cross the kinks of ReLUs.
    step = torch.tensor(1e-9, dtype=torch.float64)
    with torch.no_grad():
        assert slope.item() == pytest.approx(((loss_at(step) - loss_at(-step)) / (2 * step)).item(), rel=1e-3)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_an_image_has_no_part_in_the_logits_of_another(case, mode):
    net = freeze_batch_norm(case.net.train(mode == "train"))
    images = case.images.clone().requires_grad_()
    (gradients,) = torch.autograd.grad(seeded(net, images)[2].square().sum(), images)
    reached = [bool(gradient.any()) for gradient in gradients]
    assert reached == [index == 2 for index in range(len(images))]
    assert gradients[2].flatten(1).any(1).all(), "a channel of the image is not looked at"
    with torch.no_grad():
        others = torch.where(torch.arange(len(images)).view(-1, 1, 1, 1) == 2, case.images, -case.images)
        assert torch.allclose(seeded(net, case.images)[2], seeded(net, others)[2], atol=1e-5)


def test_evaluation_repeats_its_bits_and_changes_nothing(case):
    net, images = case.net.eval(), case.images.clone()
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        assert torch.equal(net(images), net(images))
    assert torch.equal(images, case.images)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_evaluation_does_not_depend_on_the_size_or_the_order_of_a_batch(case):
    descend(case, partial(torch.optim.SGD, lr=0.01), steps=1)
    net = case.net.eval()
    with torch.no_grad():
        logits = net(case.images)
        one_by_one = torch.cat([net(image[None]) for image in case.images])
        order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
        permuted = net(case.images[order])
    scale = logits.abs().max().item()
    assert torch.allclose(logits, one_by_one, atol=1e-5 * max(1.0, scale))
    assert torch.allclose(logits[order], permuted, atol=1e-5 * max(1.0, scale))


def test_a_model_comes_back_from_a_checkpoint_with_the_same_bits(case, tmp_path):
    descend(case, partial(torch.optim.SGD, lr=0.01), steps=1)
    config = to_plain(case.cfg)
    task = instantiate(config["task"], "task", net=case.net)
    saved = {"state_dict": task.state_dict()}
    checkpoint.describe(saved, config, {"classes": None, "mean": config["data"]["mean"]})
    torch.save(saved, tmp_path / "model.ckpt")
    torch.manual_seed(1)
    again = rebuild(checkpoint.load(tmp_path / "model.ckpt"), tmp_path / "model.ckpt")
    with torch.no_grad():
        assert torch.equal(again.eval()(case.images), task.eval()(case.images))


def test_dropout_acts_in_training_alone(case):
    if "dropout" not in case.cfg.model:
        pytest.skip("it has none")
    net = freeze_batch_norm(build_net(case.cfg, dropout=0.5).train())
    assert not torch.equal(net(case.images), net(case.images))
    net.eval()
    assert torch.equal(net(case.images), net(case.images))


def test_recomputing_activations_changes_neither_loss_nor_gradients(case):
    if "checkpoint_activations" not in case.cfg.model:
        pytest.skip("it does not")
    plain, thrifty = (build_net(case.cfg, checkpoint_activations=on).train() for on in (False, True))
    losses = [loss_of(net, case.images, case.labels) for net in (plain, thrifty)]
    assert losses[0] == losses[1]
    for loss in losses:
        loss.backward()
    assert same_weights(gradients_of(plain), gradients_of(thrifty))


def gradients_of(net: nn.Module) -> dict[str, Tensor]:
    return {key: each.grad for key, each in net.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_activations_are_computed_again_in_training_alone(case, mode):
    if "checkpoint_activations" not in case.cfg.model:
        pytest.skip("it does not")
    calls = {True: 0, False: 0}
    for again in calls:
        net = build_net(case.cfg, checkpoint_activations=again).train(mode == "train")

        def count(*_: object, again: bool = again) -> None:
            calls[again] += 1

        for module in net.modules():
            module.register_forward_hook(count)
        loss_of(net, case.images, case.labels).backward()
    assert (calls[True] > calls[False]) == (mode == "train")


@pytest.mark.slow
@pytest.mark.parametrize("export_format", ["onnx", "int8", "pt2", "torchscript"])
def test_a_model_is_exported_in_every_format(case, model, export_format, train_run, monkeypatch):
    # One of 64 images is more than a point.
    monkeypatch.setattr(parity, "LARGEST_LOSS", 10)
    shape = [f"data.{key}={case.cfg.data[key]}" for key in ("channels", "image_size", "num_classes")]
    run = train_run("trainer.max_epochs=1", f"model={model}", *shape)
    given = [f"run={run.folder}", f"format={export_format}", "benchmark=false"]
    found = export(compose(given, name="export"))
    described, compute = runtimes.open_model(run.folder / "export" / export_format, threads=1)
    size, channels = described.image_size, described.channels
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, channels), dtype=np.uint8)
    expected = load(run.folder, device="cpu").probabilities(pixels).numpy()
    assert np.abs(compute(pixels) - expected).max() < (0.2 if export_format == "int8" else 1e-5)
    assert found["max_logit_difference"] <= 1e-4 or export_format == "int8"

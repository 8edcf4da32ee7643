"""What every model of configs/model keeps, with the smallest images that it takes, or else with data that fits."""

import copy
import math
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from kindling.checkpoints import checkpoint
from kindling.cli.entry import compose
from kindling.config.composition import to_plain
from kindling.inference import runtimes
from kindling.inference.predictor import load
from kindling.testing import batches
from kindling.testing.independence import *  # noqa: F403
from kindling.testing.nets import (
    MODELS,
    Case,
    a_little_trained,
    build_net,
    fitting,
    freeze_batch_norm,
    has_classes,
    trained,
)
from kindling.testing.runs import same_weights
from kindling.training.rebuild import rebuild


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    """Each model of configs/model in turn; of a module, so that all tests of one follow each other."""
    return request.param


@pytest.fixture
def case(model: str, offline: Path) -> Case:
    """Each model with a batch that it takes, to train as one likes."""
    return fitting(model, offline)[0].copy()


@pytest.fixture(scope="module")
def once_trained(model: str, offline: Path) -> Case:
    return a_little_trained(fitting(model, offline)[0].copy())


@pytest.fixture
def trained_case(once_trained: Case) -> Case:
    """The same after two steps."""
    return once_trained.copy()


def test_a_model_gives_finite_numbers_for_each_example_of_whatever_shape_it_takes(model, offline):
    for case in map(Case.copy, fitting(model, offline)):
        for net in (case.net.train(), case.net.eval()):
            for outputs in batches.leaves(net(*case.inputs)):
                assert outputs.dtype == torch.float32
                assert outputs.isfinite().all()
                assert len(outputs) == batches.num_in(case.inputs)


def test_the_first_loss_is_about_that_of_guessing(case):
    step = case.step()
    if not has_classes(step):
        pytest.skip("its targets are no classes")
    guessing = math.log(step.outputs.shape[-1])
    for task in (case.task.train(), case.task.eval()):
        assert case._replace(task=task).loss().item() == pytest.approx(guessing, rel=0.4)


def test_the_first_weights_are_a_function_of_the_seed(case):
    first, again, other = (build_net(case, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    # With nothing random in it, all seeds are alike.
    if any(value.is_floating_point() and value.unique().numel() > 2 for value in first.values()):
        assert any(not torch.equal(first[key], other[key]) for key in first)


# Autograd gives the gradient of amax, amin and max over all to the values that equal the result.
BY_EQUALITY = re.compile(r"(Amax|Amin)Backward|(Max|Min)Backward1")


def test_no_gradient_goes_to_whatever_equals_the_largest_value(case):
    """A compiled net of bfloat16 rounds at other places, so that none may equal it: 0 / 0 on a GPU."""
    found = sorted(filter(BY_EQUALITY.match, gradients_in(case.net.train()(*case.inputs))))
    assert not found, f"given a net with {', '.join(found)}; allowed: x.max(dim).values, or amax of x.detach()"


def gradients_in(outputs: Any) -> set[str]:
    """The names of the functions that gradients of outputs go through."""
    waiting = [each.grad_fn for each in batches.leaves(outputs) if each.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        new = {before for before, _ in waiting.pop().next_functions if before is not None} - seen
        seen |= new
        waiting += new
    return {each.name() for each in seen}


def test_a_model_learns_a_batch_by_heart_and_knows_it_in_evaluation(case):
    """Of classes the loss falls to a tenth; of anything else, which has a floor of its own, by half."""
    case = without_dropout(case)
    first, share = case.loss().item(), 0.9 if has_classes(case.step()) else 0.5
    # One rate is soon found to do, or another is.
    found = "the loss of one batch does not fall by {:.0%} in 60 steps"
    for steps, lr in product((30, 60), (0.01, 0.1, 0.001)):
        learner = case.copy()
        if any(loss <= first - share * abs(first) for loss in trained(learner, steps, lr)):
            if evaluated(learner) < first - 0.5 * share * abs(first):
                return
            found = "the loss of the batch falls by {:.0%} in training, and not by half as much in evaluation"
    pytest.fail(found.format(share))


def evaluated(case: Case) -> float:
    """The loss of its batch in evaluation, with statistics of batch norm that are those of the batch."""
    with torch.no_grad():
        for norm in batch_norms(case.net):
            # They follow the weights slowly.
            norm.momentum = 1.0
        case.outputs()
        case.task.eval()
        return case.loss().item()


def without_dropout(case: Case) -> Case:
    """The same case, if its model says how much dropout it has."""
    return case.with_net(build_net(case, dropout=0.0)) if "dropout" in case.cfg.model else case


def batch_norms(net: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def test_every_trainable_parameter_gets_a_gradient_within_three_steps(case):
    """Three, since a branch that starts at zero stops the gradients of what is before it."""
    optimizer = torch.optim.SGD(case.net.parameters(), lr=0.01)
    without = {key for key, parameter in case.net.named_parameters() if parameter.requires_grad}
    case.task.train()
    for _ in range(3):
        optimizer.zero_grad()
        case.loss().backward()
        optimizer.step()
        gradients = {key: parameter.grad for key, parameter in case.net.named_parameters()}
        without -= {key for key, gradient in gradients.items() if gradient is not None and gradient.any()}
    assert without == set()


class StepLoss(nn.Module):
    """The loss of a task as a function of its weights."""

    def __init__(self, task: Any):
        super().__init__()
        self.task = task

    def forward(self, batch: Any) -> Tensor:
        torch.manual_seed(0)
        return self.task.step(batch, "train").loss


def test_the_gradient_is_the_slope_of_the_loss_in_double_precision(case):
    """A branch that is detached still counts in the loss, so the slope along a line shows it."""
    loss_of, batch = StepLoss(case.task.double().train()), batches.in_double(case.batch)
    generator = torch.Generator().manual_seed(0)
    trainable = {key: each for key, each in loss_of.named_parameters() if each.requires_grad}
    ways = {key: torch.randn(p.shape, generator=generator, dtype=p.dtype) for key, p in trainable.items()}
    start = {key: parameter.detach() + 0.02 * ways[key] for key, parameter in trainable.items()}

    def loss_at(distance: torch.Tensor) -> torch.Tensor:
        return functional_call(loss_of, {key: start[key] + distance * ways[key] for key in ways}, (batch,))

    here = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss_at(here), here)
    # Larger ones cross the kinks of ReLUs.
    step = torch.tensor(1e-9, dtype=torch.float64)
    with torch.no_grad():
        assert slope.item() == pytest.approx(((loss_at(step) - loss_at(-step)) / (2 * step)).item(), rel=1e-3)


def test_evaluation_repeats_its_bits_and_changes_nothing(case):
    case.task.eval()
    inputs, before = batches.copied(case.inputs), copy.deepcopy(case.net.state_dict())
    with torch.no_grad():
        assert batches.equal(case.net(*inputs), case.net(*inputs))
    assert batches.equal(inputs, case.inputs)
    assert same_weights(case.net.state_dict(), before)


def test_a_model_comes_back_from_a_checkpoint_with_the_same_bits(trained_case, tmp_path):
    case, task = trained_case, trained_case.task
    saved = {"state_dict": task.state_dict()}
    checkpoint.describe(saved, to_plain(case.cfg), case.facts)
    torch.save(saved, tmp_path / "model.ckpt")
    torch.manual_seed(1)
    again = rebuild(checkpoint.load(tmp_path / "model.ckpt"), tmp_path / "model.ckpt")
    with torch.no_grad():
        assert batches.equal(again.eval()(*case.inputs), task.eval()(*case.inputs))


def test_dropout_acts_in_training_alone(case):
    if "dropout" not in case.cfg.model:
        pytest.skip("it has none")
    net = freeze_batch_norm(a_little_trained(case.with_net(build_net(case, dropout=0.5))).net.train())
    assert not batches.equal(net(*case.inputs), net(*case.inputs))
    net.eval()
    assert batches.equal(net(*case.inputs), net(*case.inputs))


def test_recomputing_activations_changes_neither_loss_nor_gradients(case):
    if "checkpoint_activations" not in case.cfg.model:
        pytest.skip("it does not")
    plain, thrifty = (case.with_net(build_net(case, checkpoint_activations=on)) for on in (False, True))
    losses = [each.loss() for each in (plain, thrifty)]
    assert losses[0] == losses[1]
    for loss in losses:
        loss.backward()
    assert same_weights(gradients_of(plain.net), gradients_of(thrifty.net))


def gradients_of(net: nn.Module) -> dict[str, Tensor]:
    return {key: each.grad for key, each in net.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_activations_are_computed_again_in_training_alone(case, mode):
    if "checkpoint_activations" not in case.cfg.model:
        pytest.skip("it does not")
    calls = {True: 0, False: 0}
    for again in calls:
        found = case.with_net(build_net(case, checkpoint_activations=again).train(mode == "train"))

        def count(*_: object, again: bool = again) -> None:
            calls[again] += 1

        for module in found.net.modules():
            module.register_forward_hook(count)
        found.loss().backward()
    assert (calls[True] > calls[False]) == (mode == "train")


@pytest.mark.slow
@pytest.mark.parametrize("export_format", ["onnx", "int8", "pt2", "torchscript"])
def test_a_model_of_images_is_exported_in_every_format(case, model, export_format, train_run, monkeypatch):
    if "channels" not in case.cfg.data:
        pytest.skip("it takes no images")
    export = pytest.importorskip("kindling.export").export
    from kindling.inference.exporting import parity

    # One of 64 images is more than a point.
    monkeypatch.setattr(parity, "LARGEST_LOSS", 10)
    shape = [f"data.{key}={case.cfg.data[key]}" for key in ("channels", "image_size", "num_classes")]
    run = train_run("trainer.max_epochs=1", f"model={model}", *shape)
    given = [f"run={run.folder}", f"format={export_format}", "benchmark=false"]
    found = export(compose(given, name="export"))
    described, compute = runtimes.open_model(run.folder / "export" / export_format, threads=1, trust=True)
    size, channels = (described.processor[name] for name in ("image_size", "channels"))
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, channels), dtype=np.uint8)
    expected = load(run.folder, device="cpu").probabilities(pixels).numpy()
    assert np.abs(compute(pixels) - expected).max() < (0.2 if export_format == "int8" else 1e-5)
    assert found["max_difference"] <= 1e-4 or export_format == "int8"

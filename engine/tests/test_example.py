"""The example that a net passes before training: lazy layers get their shapes from it, and nothing else changes."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from kindling.cli.entry import compose
from kindling.config.composition import to_plain
from kindling.errors import ConfigError
from kindling.evaluate import evaluate
from kindling.inference.predictor import load
from kindling.testing.runs import same_weights
from kindling.train import build_task, train
from kindling.training.example import check_example, has_lazy_layers, pass_example
from kindling.training.optimization import parameter_groups
from kindling.training.task import Task
from test_wrong_tasks import ROWS, TARGETS, Line, Plain

LAZY = ("model=lazy", "data.num_images=64", "trainer.num_sanity_val_steps=0")


def built(config, *overrides: str) -> Task:
    cfg = config("model=lazy", *overrides)
    task = build_task(cfg, to_plain(cfg))
    assert isinstance(task, Task)
    return task


def test_lazy_layers_have_weights_that_can_be_trained_before_the_optimizer_is_made(config):
    task = built(config)
    assert not has_lazy_layers(task)
    assert not any(each.is_inference() for each in (*task.parameters(), *task.buffers()))
    matrices, others = parameter_groups(task.net)
    assert [each.ndim for each in matrices["params"]] == [4, 2, 2]
    assert others["weight_decay"] == 0


def test_lazy_layers_are_initialised_as_init_says(config):
    task = built(config, "init=orthogonal")
    weight = task.net.get_parameter("head.0.weight").detach() / nn.init.calculate_gain("relu")
    assert torch.allclose(weight @ weight.T, torch.eye(len(weight)), atol=1e-5)


def test_lazy_layers_learn_and_come_back_from_a_checkpoint(train_run):
    run = train_run(*LAZY, "trainer.max_epochs=2", "callbacks=ema")
    assert run.metrics["train/accuracy"] > 0.2
    assert run.cfg.model._target_.endswith(".Lazy")
    found = evaluate(compose([f"run={run.folder}"], name="evaluate"))
    assert found["test/loss"] == pytest.approx(run.metrics["test/loss"])
    assert load(run.folder, device="cpu").probabilities(np.zeros((1, 16, 16, 1), np.uint8)).shape == (1, 10)


class Touchy(nn.Module):
    """Changes what it holds, and the random numbers of others, even in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.frozen = nn.BatchNorm1d(2).eval()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, rows: Tensor) -> Tensor:
        self.seen = self.seen + torch.rand(()) + random.random()
        self.frozen.get_buffer("running_mean").add_(1)
        return self.frozen(self.head(rows))


def test_an_example_leaves_modes_buffers_and_random_numbers_as_they_were():
    task = Task(Touchy())
    before = {name: each.clone() for name, each in task.state_dict().items()}
    modes = [each.training for each in task.net.modules()]
    states = torch.get_rng_state(), random.getstate()
    check_example(task, torch.zeros(2, 4))
    assert same_weights(task.state_dict(), before)
    assert [each.training for each in task.net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_lazy_layers_of_a_task_without_an_example_are_refused_by_name(config, monkeypatch):
    monkeypatch.setattr("bench.tasks.classification.Classification.example", lambda self: None)
    with pytest.raises(
        ConfigError, match=r"model: given lazy layers such as net.features.0, and Classification has no"
    ):
        built(config, "task.criterion.label_smoothing=0.0")


class LazyLine(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.LazyLinear(1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_lazy_layers_of_any_module_are_trained_although_validation_is_tried_first(config, caplog):
    caplog.set_level("INFO")
    module, rows = LazyLine(), TensorDataset(ROWS, TARGETS)
    cfg = config("callbacks=none", "trainer.num_sanity_val_steps=2", "trainer.max_epochs=20", "test=false")
    metrics = train(cfg, task=module, data={"train": rows, "val": rows})
    assert metrics["val_loss"] < 0.5
    assert "trainer.num_sanity_val_steps: left out, as LazyLine has lazy layers" in caplog.messages


def test_lazy_layers_of_a_task_of_a_program_see_its_example(config):
    class Known(Line):
        def example(self) -> Tensor:
            return torch.zeros(2, 4)

    task = Known(nn.LazyLinear(1), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1))
    rows = TensorDataset(ROWS, TARGETS)
    metrics = train(
        config("callbacks=none", "test=false", "trainer.max_epochs=10"), task=task, data={"train": rows, "val": rows}
    )
    assert metrics["val/loss"] < 2


class OfSquares(Task):
    def example(self) -> Tensor:
        return torch.zeros(2, 3, 4, 4)


def test_a_net_that_cannot_take_images_of_the_size_of_evaluation_is_named():
    task = OfSquares(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)))
    for size in (None, 4):
        task.config = {"data": {"crop": size}}
        pass_example(task)
    task.config = {"data": {"crop": 6}}
    with pytest.raises(ConfigError, match=r"for inputs of shape \(3, 6, 6\), which it cannot take"):
        pass_example(task)

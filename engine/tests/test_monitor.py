import math
import re

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from bench.models.cnn import CNN
from bench.models.mlp import MLP
from bench.tasks.classification import Classification
from kindling.callbacks.activations import recording
from kindling.callbacks.monitor import LayerMonitor
from kindling.testing.runs import same_weights
from kindling.training.task import Task
from long_run import some

LOOK = ["callbacks=monitor", "callbacks.monitor.every_n_steps=1", "trainer.max_epochs=1"]
SMALL = ["model=mlp", "model.hidden=[8,8]", "data.image_size=8", "model.dropout=0"]

NO_BEST = ["callbacks.best_checkpoint=null", "callbacks.early_stopping=null"]  # a run may end before a validation
LOG = "logger=default"


@pytest.fixture
def warnings_of(train_run, monkeypatch, caplog):
    """Trains with a net that was changed first; returns the monitor's warnings."""

    def run(change, *overrides: str) -> list[str]:
        original = Task.on_train_start

        def start(self):
            original(self)
            with torch.no_grad():
                change(self.net)

        monkeypatch.setattr(Task, "on_train_start", start)
        train_run(*LOOK, *SMALL, "trainer.max_steps=3", *NO_BEST, *overrides)
        return re.findall(r"warning: (.*)", caplog.text)

    return run


def linears(net: nn.Module) -> list[nn.Linear]:
    return [each for each in net.modules() if isinstance(each, nn.Linear)]


@pytest.mark.parametrize("model", some(["mlp", "cnn"], "mlp"))
def test_a_healthy_net_is_not_warned_of(train_run, caplog, model):
    train_run(*LOOK, f"model={model}", "data.image_size=28", "data.batch_size=32")
    assert "warning" not in caplog.text


def test_layers_whose_gradient_vanishes_are_named_once(warnings_of):
    def shrink(net):
        for each in linears(net)[1:]:
            each.weight.mul_(1e-6)

    found = warnings_of(shrink, "optimizer.lr=1e-12")
    assert len(found) == 1
    assert re.match(r"net\.hidden\.\d: the gradient vanishes, with a norm of \S+e-\d+, of \S+ in the layer", found[0])


def test_a_gradient_that_explodes_is_named(warnings_of):
    found = warnings_of(lambda net: linears(net)[-1].weight.mul_(1e6), "optimizer.lr=1e-12")
    assert [line for line in found if "explodes" in line]
    assert not [line for line in found if line.startswith("net.head: the gradient explodes")]


def test_a_dead_relu_is_named(warnings_of):
    (found,) = warnings_of(lambda net: linears(net)[0].bias[:5].fill_(-1e3), "optimizer.lr=1e-12")
    assert re.fullmatch(r"net\.hidden\.\d: 62 % of the ReLU's units are zero for a batch", found)


def test_half_of_the_units_may_be_dead(warnings_of):
    assert warnings_of(lambda net: linears(net)[0].bias[:4].fill_(-1e3), "optimizer.lr=1e-12") == []


def monitored(net: nn.Module, images: torch.Tensor, caplog) -> dict[str, float]:
    """What the monitor writes of one backward pass."""
    classifier = Classification(net, nn.CrossEntropyLoss(), "none")
    trainer = type("T", (), {"global_step": 0, "accumulate_grad_batches": 1, "loggers": [], "precision_plugin": None})()
    written: dict[str, float] = {}
    monitor = LayerMonitor(every_n_steps=1, vanishing=1e-7, exploding=1e3, dead=0.5)
    monitor._write = lambda trainer, values: written.update(values)
    monitor.on_train_batch_start(trainer, classifier, None, 0)
    classifier(images).logsumexp(1).mean().backward()
    monitor.on_before_optimizer_step(trainer, classifier, None)
    return written


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        (lambda net: net.head.weight.data.fill_(math.nan), "the parameter net.head.weight is NaN"),
        (
            lambda net: net.head.register_forward_hook(lambda module, given, output: output * math.inf),
            "the output of net.head is NaN",
        ),
        (lambda net: net.head.bias.register_hook(lambda grad: grad * math.nan), "the gradient of net.head.bias is NaN"),
    ],
)
def test_the_first_that_is_not_finite_is_named(caplog, plant, named):
    net = MLP(1, 4, 3, [8], 0.0)
    plant(net)
    monitored(net, torch.randn(16, 1, 4, 4), caplog)
    assert named in caplog.text
    assert caplog.text.count("step 0:") == 1


def test_a_gradient_may_vanish_at_the_first_look(caplog):
    net = MLP(1, 4, 3, [8], 0.0)
    net.head.weight.data.mul_(1e-12)
    written = monitored(net, torch.randn(16, 1, 4, 4), caplog)
    assert min(value for tag, value in written.items() if tag.startswith("gradients/")) < 1e-10
    assert "vanishes" not in caplog.text


def test_the_norms_are_those_by_hand(caplog):
    net, images = CNN(1, 3, [4, 8], 0.0), torch.randn(16, 1, 8, 8)
    written = monitored(net, images, caplog)
    kernel, head = net.get_parameter("stages.0.0.weight"), net.get_submodule("head.1")
    assert kernel.grad is not None
    outputs = nn.functional.conv2d(images, kernel, padding=1)
    gradient, weight = kernel.grad.square().sum().sqrt().item(), kernel.square().sum().sqrt().item()
    assert written["gradients/net.stages.0.0"] == pytest.approx(gradient)
    assert written["weights/net.stages.0.0"] == pytest.approx(weight)
    assert written["gradient_to_weight/net.stages.0.0"] == pytest.approx(gradient / weight)
    assert written["activation_means/net.stages.0.0"] == pytest.approx(outputs.mean().item(), abs=1e-6)
    assert written["activation_stds/net.stages.0.0"] == pytest.approx(outputs.std(correction=0).item(), rel=1e-4)
    both = torch.cat([each.grad.flatten() for each in head.parameters() if each.grad is not None])
    assert written["gradients/net.head.1"] == pytest.approx(both.norm().item())


def test_relus_that_are_functions_are_seen_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))

        def forward(self, x):
            x = torch.relu(self.inner(x) - torch.tensor([9, 9, 9, 0]))
            return nn.functional.relu(x.reshape(-1, 2, 2) - 1e9)

    with recording(net := nn.Sequential(Net())) as recorder:
        net(torch.ones(3, 4) * 0.01)
    assert list(recorder.dead) == ["0.inner.1", "0", "0 (2)"]
    assert recorder.dead["0 (2)"] == 1
    assert 0.75 <= recorder.dead["0"] <= 1


def test_a_unit_is_a_channel_or_a_feature():
    with recording(net := nn.Sequential(nn.ReLU())) as recorder:
        images = -torch.ones(2, 4, 3, 3)
        images[1, 0, 2, 2] = 1
        net(images)
    assert recorder.dead["0"] == 0.75
    with recording(net) as recorder:
        tokens = -torch.ones(2, 3, 8)
        tokens[1, 0, :2] = 1
        net(tokens)
    assert recorder.dead["0"] == 0.75


def test_a_monitored_run_has_the_bits_of_one_that_is_not(train_run):
    plain = ["model=cnn", "trainer.max_epochs=1", "data.batch_size=16"]
    watched, expected = train_run(*plain, *LOOK), train_run(*plain)
    assert watched.metrics == expected.metrics
    assert same_weights(watched.weights("last"), expected.weights("last"))
    assert watched.folder.joinpath("metrics.csv").read_text() == expected.folder.joinpath("metrics.csv").read_text()


def test_only_the_steps_that_are_looked_at_have_hooks(train_run, monkeypatch):
    hooks: list[int] = []

    def count(self, *arguments):
        hooks.append(sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in self.net.modules()))
        return original(self, *arguments)

    original = Task.training_step
    monkeypatch.setattr(Task, "training_step", count)
    every = "callbacks.monitor.every_n_steps=2"
    run = train_run(*LOOK, *SMALL, every, "data.batch_size=8", "trainer.max_steps=5", LOG, *NO_BEST)
    assert [number > 0 for number in hooks] == [True, False, True, False, True]
    curves = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert [point.step for point in curves.Scalars("watched/gradients/net.head")] == [0, 2, 4]


def test_gradients_of_a_window_are_looked_at_once_summed(train_run):
    halves = ["data.batch_size=8", "trainer.accumulate_grad_batches=2", "trainer.max_steps=2", LOG, *NO_BEST]
    run = train_run(*LOOK, *SMALL, *halves)
    curves = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert [point.step for point in curves.Scalars("watched/gradients/net.head")] == [0, 1]

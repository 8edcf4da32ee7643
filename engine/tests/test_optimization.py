import copy
import math
from collections import OrderedDict
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader
from torchvision import models

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.errors import ConfigError
from kindling.lightning_internals.loops import total_steps
from kindling.training.optimization import apply_lr_factors, build_scheduler, layer_numbers, parameter_groups
from kindling.training.task import Task


def rates(scheduler: str, num_steps: int, *overrides: str, metrics: list[float] | None = None) -> list[float]:
    """The learning rate before each step of a run, with optimizer.lr = 1."""
    cfg = compose([f"scheduler={scheduler}", "optimizer=sgd", "optimizer.lr=1.0", *overrides])
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    settings = instantiate(cfg.scheduler, "scheduler")
    schedule = build_scheduler(settings["scheduler"], optimizer, lambda: num_steps)
    found = []
    for step in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([metrics[step]] if metrics else []))
    return found


def test_norms_and_biases_do_not_decay():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    decaying, others = parameter_groups(net)
    assert {p.shape for p in decaying["params"]} == {(2, 1, 3, 3), (2, 2)}
    assert others["weight_decay"] == 0
    assert len(decaying["params"]) + len(others["params"]) == len(list(net.parameters()))


def test_frozen_parameters_are_left_out():
    net = nn.Linear(2, 2).requires_grad_(False)
    assert parameter_groups(net) == []


@pytest.mark.parametrize(("precision", "clip", "fuses"), [("16-mixed", 1.0, False), ("16-mixed", None, True)])
def test_a_fused_step_does_not_unscale_what_has_to_be_clipped_before(precision, clip, fuses):
    task: Any = Task(nn.Linear(1, 1), optimizer=partial(SGD, lr=0.1, fused=True))
    task._trainer = SimpleNamespace(precision=precision, gradient_clip_val=clip)
    assert task.configure_optimizers().defaults["fused"] == fuses


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_each_optimizer_steps_with_and_without_decay(name):
    cfg = compose([f"optimizer={name}", "optimizer.weight_decay=0.1"])
    net = nn.Linear(2, 2)
    optimizer = instantiate(cfg.optimizer, "optimizer")(parameter_groups(net))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    before = net.weight.clone()
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(net.weight, before)


NET = nn.Sequential(
    OrderedDict(
        stem=nn.Conv2d(1, 2, 3),
        blocks=nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)) for _ in range(3))),
        norm=nn.LayerNorm(2),
        head=nn.Linear(2, 5),
    )
)


def test_layers_are_a_stem_numbered_blocks_and_a_head():
    numbers = layer_numbers(NET)
    found = {name.removesuffix(".weight"): number for name, number in numbers.items() if name.endswith("weight")}
    expected = {"stem": 0, "blocks.0.0": 1, "blocks.0.1": 1, "blocks.1.0": 2, "blocks.1.1": 2, "blocks.2.0": 3}
    assert found == expected | {"blocks.2.1": 3, "norm": 3, "head": 4}
    assert all(numbers[f"{name}.bias"] == number for name, number in found.items())


@pytest.mark.parametrize(("model", "num_layers"), [("mlp", 3), ("cnn", 4), ("vit", 4)])
def test_the_layers_of_models_are_their_blocks(model, num_layers):
    cfg = compose([f"model={model}"])
    numbers = layer_numbers(instantiate(cfg.model, "model"))
    assert max(numbers.values()) + 1 == num_layers
    assert list(numbers.values()) == sorted(numbers.values())


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "onecycle", "step", "plateau", "constant"])
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_each_layer_learns_at_its_share_of_the_rate_at_every_step(scheduler, optimizer):
    cfg = compose([f"scheduler={scheduler}", f"optimizer={optimizer}"])
    made = instantiate(cfg.optimizer, "optimizer")(parameter_groups(NET, layer_lr_decay=0.5))
    apply_lr_factors(made)
    schedule = build_scheduler(instantiate(cfg.scheduler, "scheduler")["scheduler"], made, lambda: 10)
    plain = instantiate(cfg.optimizer, "optimizer")(parameter_groups(NET))
    other = build_scheduler(instantiate(cfg.scheduler, "scheduler")["scheduler"], plain, lambda: 10)
    names = {id(parameter): name for name, parameter in NET.named_parameters()}
    depths = {name: 4 - number for name, number in layer_numbers(NET).items()}
    for _ in range(9):
        full = {names[id(each)]: group["lr"] for group in plain.param_groups for each in group["params"]}
        rates_now = {names[id(each)]: group["lr"] for group in made.param_groups for each in group["params"]}
        assert rates_now == pytest.approx({name: rate * 0.5 ** depths[name] for name, rate in full.items()}, rel=1e-3)
        for each in (made, plain):
            each.step()
        for each in (schedule, other):
            each.step(*([1.0] if scheduler == "plateau" else []))
    assert sum(len(group["params"]) for group in made.param_groups) == len(names)


@pytest.mark.parametrize(
    ("name", "least", "most"), [("densenet121", 5, 20), ("vit_b_16", 14, 15), ("resnet18", 10, 10), ("swin_t", 9, 9)]
)
def test_the_layers_of_torchvisions_models_have_numbers_in_their_names(name, least, most):
    with torch.device("meta"):
        net = models.get_model(name)
    assert least <= len(set(layer_numbers(net).values())) <= most


def test_norms_and_biases_of_no_layer_decay():
    groups = parameter_groups(NET, layer_lr_decay=0.5)
    assert all((group.get("weight_decay") == 0.0) == all(p.ndim <= 1 for p in group["params"]) for group in groups)


def test_a_layers_rate_reaches_the_step(train_run):
    still = train_run("layer_lr_decay=1e-9", "optimizer=sgd", "scheduler=constant", "seed=3", "trainer.max_epochs=1")
    moved = train_run("optimizer=sgd", "scheduler=constant", "seed=3", "trainer.max_epochs=1")
    start = train_run(
        "optimizer.lr=0", "optimizer=sgd", "scheduler=constant", "seed=3", "trainer.max_epochs=1"
    ).weights()
    first, last = "net.stages.0.0.weight", "net.head.1.weight"
    assert torch.allclose(still.weights()[first], start[first], atol=1e-6)
    assert not torch.allclose(moved.weights()[first], start[first], atol=1e-6)
    assert not torch.allclose(still.weights()[last], start[last], atol=1e-6)


@pytest.mark.parametrize("name", ["NAdam", "RAdam", "RMSprop", "Adamax", "Adagrad", "Adadelta", "ASGD", "Rprop"])
def test_any_optimizer_of_torch_steps_as_torch_does(name):
    given = ["~optimizer.momentum", "~optimizer.nesterov", "~optimizer.fused", "optimizer.weight_decay=0"]
    decay = ["~optimizer.weight_decay"] if name == "Rprop" else []
    cfg = compose(["optimizer=sgd", f"optimizer._target_=torch.optim.{name}", *given[: 4 - len(decay)], *decay])
    ours, plain = copy.deepcopy(NET), copy.deepcopy(NET)
    optimizers = [
        instantiate(cfg.optimizer, "optimizer")(parameter_groups(ours)),
        getattr(torch.optim, name)(plain.parameters(), lr=0.1),
    ]
    for net, optimizer in zip((ours, plain), optimizers, strict=True):
        for _ in range(3):
            sum((parameter**2).sum() for parameter in net.parameters()).backward()
            optimizer.step()
    assert all(torch.allclose(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))
    assert not torch.allclose(ours.head.weight, NET.head.weight)


def test_cosine_warms_up_linearly_and_then_follows_half_a_cosine():
    found = rates("cosine", 100, "scheduler.scheduler.warmup=0.1", "scheduler.scheduler.final=0.01")
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    expected = [0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / 90)) for step in range(90)]
    assert found[10:] == pytest.approx(expected)


def test_cosine_without_warmup_starts_at_the_full_rate():
    assert rates("cosine", 10, "scheduler.scheduler.warmup=0")[0] == 1.0


def test_linear_warms_up_and_then_falls_along_a_straight_line():
    found = rates("linear", 100, "scheduler.scheduler.warmup=0.1", "scheduler.scheduler.final=0.01")
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert found[10:] == pytest.approx([0.01 + 0.99 * (1 - step / 90) for step in range(90)])


@pytest.mark.parametrize("name", ["linear", "cosine", "onecycle", "step"])
def test_each_group_of_muon_keeps_its_own_rate_under_a_schedule(name):
    cfg = compose([f"scheduler={name}", "optimizer=muon", "optimizer.lr=0.1", "optimizer.head_lr=0.2"])
    optimizer = instantiate(cfg.optimizer, "optimizer")(
        parameter_groups(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)))
    )
    settings = instantiate(cfg.scheduler, "scheduler")
    schedule = build_scheduler(settings["scheduler"], optimizer, lambda: 20)
    found = []
    for _ in range(19):
        optimizer.step()
        schedule.step()
        found.append([group["lr"] for group in optimizer.param_groups])
    assert max(rate for rate, *_ in found) == pytest.approx(0.1, rel=0.1)
    assert all(head == pytest.approx(2 * hidden, rel=1e-3) for hidden, head, _ in found)


def test_onecycle_peaks_after_its_share_of_the_steps():
    found = rates("onecycle", 100)
    assert max(found) == pytest.approx(1.0)
    assert abs(found.index(max(found)) - 30) <= 1
    assert found[-1] < 1e-3


def test_step_drops_by_gamma_after_step_size_epochs():
    assert rates("step", 12, "scheduler.scheduler.step_size=5") == pytest.approx([1.0] * 5 + [0.1] * 5 + [0.01] * 2)


def test_plateau_drops_when_the_monitor_no_longer_improves():
    found = rates("plateau", 7, "scheduler.scheduler.patience=1", metrics=[3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0])
    assert found == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1])


def test_constant_stays():
    assert rates("constant", 5) == [1.0] * 5


def test_a_schedule_over_a_run_without_end_is_refused():
    make = instantiate(compose().scheduler, "scheduler")["scheduler"]
    with pytest.raises(ConfigError, match=r"set trainer\.max_epochs or trainer\.max_steps"):
        build_scheduler(make, SGD([nn.Parameter(torch.zeros(1))]), lambda: math.inf)


class Counting(BoringModel):
    def configure_optimizers(self):
        self.foreseen = total_steps(self.trainer), self.trainer.estimated_stepping_batches
        return super().configure_optimizers()


@pytest.mark.parametrize(("limit", "expected"), [({}, 4 + 14 + 9), ({"max_steps": 10}, 10), ({"max_steps": 99}, 27)])
@pytest.mark.filterwarnings("ignore::Warning")
def test_the_steps_of_a_table_of_accumulation_are_foreseen(limit, expected):
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    table = GradientAccumulationScheduler({0: 4, 2: 1, 4: 3})
    trainer = Trainer(callbacks=[table], max_epochs=7, enable_model_summary=False, **settings, **limit)
    module = Counting()
    trainer.fit(module, DataLoader(torch.zeros(7, 32)))
    # A module that knows nothing of the engine asks Lightning.
    assert module.foreseen == (trainer.global_step,) * 2 == (expected, expected)

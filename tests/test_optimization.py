import math

import pytest
import torch
from torch import nn
from torch.optim import SGD

from kindling.config.composition import instantiate
from kindling.config.entry import compose
from kindling.errors import ConfigError
from kindling.optimization import build_scheduler, parameter_groups


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

"""Which parameters decay, and how the learning rate runs over the steps."""

import inspect
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from kindling.errors import ConfigError


def parameter_groups(net: nn.Module) -> list[dict[str, Any]]:
    """Matrices and kernels, which decay, and norms and biases, which do not."""
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    decaying = [parameter for parameter in trainable if parameter.ndim > 1]
    others = [parameter for parameter in trainable if parameter.ndim <= 1]
    groups = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def cosine(optimizer: Optimizer, total_steps: int, warmup: float, final: float) -> LRScheduler:
    """Linear warm-up over a share of the steps, then half a cosine down to `final` times lr (arXiv 1608.03983)."""
    return _decay(optimizer, total_steps, warmup, final, lambda progress: 0.5 * (1 + math.cos(math.pi * progress)))


def linear(optimizer: Optimizer, total_steps: int, warmup: float, final: float) -> LRScheduler:
    """Linear warm-up over a share of the steps, then a straight line down to `final` times lr."""
    return _decay(optimizer, total_steps, warmup, final, lambda progress: 1 - progress)


def _decay(
    optimizer: Optimizer, total_steps: int, warmup: float, final: float, shape: Callable[[float], float]
) -> LRScheduler:
    """Warm-up, then lr times `shape`, which goes from 1 to 0 with the progress from 0 to 1, but ends at `final`."""
    warmup_steps = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final + (1 - final) * shape(progress)

    return LambdaLR(optimizer, factor)


def build_scheduler(make: partial[Any], optimizer: Optimizer, total_steps: Callable[[], float]) -> Any:
    """The schedule, told the run's number of optimiser steps if it asks for it.

    Raises:
        ConfigError: the schedule needs the number of steps and the run has no end.
    """
    if "total_steps" not in inspect.signature(make.func).parameters:
        return make(optimizer)
    steps = total_steps()
    if math.isinf(steps):
        raise ConfigError(
            "scheduler: given a schedule over the whole run, and a run without end; "
            "set trainer.max_epochs or trainer.max_steps, or take scheduler=constant"
        )
    return make(optimizer, total_steps=max(1, int(steps)), **_peaks(make, optimizer))


def _peaks(make: partial[Any], optimizer: Optimizer) -> dict[str, list[float]]:
    """OneCycleLR's highest rate for each group, in proportion to the group's own; Muon has several."""
    if "max_lr" not in make.keywords:
        return {}
    common = optimizer.defaults["lr"]
    rates = [group["lr"] / common if common else 1.0 for group in optimizer.param_groups]
    return {"max_lr": [make.keywords["max_lr"] * rate for rate in rates]}


def scale_rates(optimizers: Iterable[Optimizer], schedules: Iterable[Any], factor: float) -> None:
    """Multiply all learning rates by a factor, those to come too."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for key in ("lr", "initial_lr", "max_lr", "min_lr"):  # the last two are OneCycleLR's
                if key in group:
                    group[key] *= factor
    for schedule in schedules:
        _scale_schedule(schedule.scheduler, factor)


def _scale_schedule(schedule: Any, factor: float) -> None:
    for part in getattr(schedule, "_schedulers", []):  # of SequentialLR and ChainedScheduler
        _scale_schedule(part, factor)
    for name in ("base_lrs", "_last_lr", "min_lrs", "max_lrs"):
        if hasattr(schedule, name):
            setattr(schedule, name, [rate * factor for rate in getattr(schedule, name)])
    if hasattr(schedule, "eta_min"):  # of CosineAnnealingLR
        schedule.eta_min *= factor

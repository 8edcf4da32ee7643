"""Which parameters decay, and how the learning rate runs over the steps."""

import inspect
import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from kindling.errors import ConfigError
from kindling.ranges import NotNegative, Probability

# blocks.3 of blocks.3.conv1.weight, layer1.0 of layer1.0.conv1.weight, layer_3 of layer_3.mlp.0.weight
NUMBERED = re.compile(r"([^.\d]+\.)*(\d+(?=\.)|[^.]*\d[^.]*(\.\d+)?(?=\.))")


def parameter_groups(net: nn.Module, layer_lr_decay: float = 1.0) -> list[dict[str, Any]]:
    """Matrices and kernels, which decay, and norms and biases, which do not; with layer_lr_decay < 1, of each layer.

    Then `lr_factor` of a group says how much less it learns than the last layer (arXiv 1801.06146, section 3.2).
    """
    numbers = layer_numbers(net) if layer_lr_decay != 1 else {}
    last = max(numbers.values(), default=0)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            number, is_other = numbers.get(name, last), parameter.ndim <= 1
            group = groups.setdefault((number, is_other), {"params": []} | ({"weight_decay": 0.0} if is_other else {}))
            group["params"].append(parameter)
            if numbers:
                group["lr_factor"] = layer_lr_decay ** (last - number)
    # Muon expects the head's matrix last.
    return [groups[key] for key in sorted(groups)]


def layer_numbers(net: nn.Module) -> dict[str, int]:
    """The layer of each parameter by its name, counted from 0 at the input.

    What shares its name up to the first number in it (blocks.3, layer1.0) is one layer, if it has a matrix or kernel,
    and so is what comes before, between and after without a number: a stem, a head. A net that has a method of this
    name says it itself.
    """
    own: Any = getattr(net, "layer_numbers", None)
    if callable(own):
        return own()  # pyright: ignore[reportReturnType]
    numbers: dict[str, int] = {}
    layer, number = None, -1
    for name, parameter in net.named_parameters():
        found = NUMBERED.match(name)
        prefix = found[0] if found else ""
        if layer is None or (prefix != layer and parameter.ndim > 1):
            layer, number = prefix, number + 1
        numbers[name] = number
    return numbers


def apply_lr_factors(optimizer: Optimizer) -> None:
    """Let each group learn as much as its `lr_factor` says, before a schedule takes its rate as the base."""
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_factor", 1.0)


def cosine(optimizer: Optimizer, total_steps: int, warmup: Probability, final: NotNegative) -> LRScheduler:
    """Linear warm-up over a share of the steps, then half a cosine down to `final` times lr (arXiv 1608.03983)."""
    return _decay(optimizer, total_steps, warmup, final, lambda progress: 0.5 * (1 + math.cos(math.pi * progress)))


def linear(optimizer: Optimizer, total_steps: int, warmup: Probability, final: NotNegative) -> LRScheduler:
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
    """The schedule, given the run's number of optimiser steps if it asks for it.

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
            # The last two are OneCycleLR's.
            for key in ("lr", "initial_lr", "max_lr", "min_lr"):
                if key in group:
                    group[key] *= factor
    for schedule in schedules:
        _scale_schedule(schedule.scheduler, factor)


def _scale_schedule(schedule: Any, factor: float) -> None:
    # SequentialLR and ChainedScheduler have parts.
    for part in getattr(schedule, "_schedulers", []):
        _scale_schedule(part, factor)
    for name in ("base_lrs", "_last_lr", "min_lrs", "max_lrs"):
        if hasattr(schedule, name):
            setattr(schedule, name, [rate * factor for rate in getattr(schedule, name)])
    # CosineAnnealingLR has a lowest rate too.
    if hasattr(schedule, "eta_min"):
        schedule.eta_min *= factor

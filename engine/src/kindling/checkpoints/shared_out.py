"""What each process had summed up in an epoch, for a run that goes on with another number of them."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from kindling.console import warn
from kindling.lightning_internals.results import metrics_of

# How Lightning reduces what is logged, where a process that has logged nothing counts as 0.
ADDED = ("mean", "sum")


def train_sums(saved: list[dict[str, Any] | None], trainer: Trainer) -> dict[str, Any] | None:
    """The sums of this process: with other processes than before, the first has the total."""
    if len(saved) == trainer.world_size:
        return saved[trainer.global_rank]
    known = [each for each in saved if each]
    if trainer.global_rank or not known:
        return None
    names = dict.fromkeys(name for each in known for name in each)
    return {name: sum(each[name] for each in known if name in each) for name in names}


def sums(saved: list[dict[str, Any]], trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """The same of what was logged, and of the states of torchmetrics."""
    if len(saved) == trainer.world_size:
        return saved[trainer.global_rank]
    keys = dict.fromkeys(key for each in saved for key in each["logged"])
    is_first = trainer.global_rank == 0
    return {
        "logged": {key: _logged([s["logged"][key] for s in saved if key in s["logged"]], is_first) for key in keys},
        "metrics": _metrics([each["metrics"] for each in saved], module) if is_first else {},
    }


def _logged(each: list[dict[str, Any]], is_first: bool) -> dict[str, Any]:
    how = each[0].get("call", {}).get("reduce_fx", ADDED[0])
    merged = dict(each[0])
    for name, value in each[0].items():
        if isinstance(value, Tensor):
            values = torch.stack([one[name] for one in each])
            is_added = name != "value" or how in ADDED
            total = values.sum(0) if is_added else getattr(values, how)(0)
            total = total if isinstance(total, Tensor) else total.values
            merged[name] = total if is_first or not is_added else torch.zeros_like(total)
    return merged


def _metrics(each: list[dict[str, Any]], module: LightningModule) -> dict[str, Any]:
    found = {}
    for name, metric in metrics_of(module):
        # Older checkpoints call those of a task `metrics`.
        names = (name, name.removeprefix("kindling_"))
        saved = [one[known] for one in each for known in names if known in one]
        if not saved:
            continue
        try:
            state = {
                key: _reduced(metric._reductions[key], [one["state"][key] for one in saved])
                for key in saved[0]["state"]
            }
        except (TypeError, KeyError, RuntimeError):
            warn(f"resume: {type(metric).__name__} cannot be shared among other processes; it counts from here on")
            continue
        found[name] = {"count": sum(one["count"] for one in saved), "state": state}
    return found


def _reduced(how: Any, values: list[Any]) -> Any:
    """By the function that a metric reduces a state with over processes; lists grow."""
    if isinstance(values[0], list):
        return [item for value in values for item in value]
    return how(torch.stack(values))

"""The states that training goes on with, compared with the run's own before they are restored: torch compares little,
and a step computes on what it is given.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.optim import Optimizer

from kindling.checkpoints.checkpoint import PROGRESS, refuse_other_kinds
from kindling.checkpoints.values import is_of_kind
from kindling.errors import CheckpointError
from kindling.lightning_internals.results import metrics_of


class FittingStates(Callback):
    """Refuses the states of a checkpoint that are not of the kind of the run's own."""

    def __init__(self) -> None:
        self._saved: dict[str, Any] | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit" and shares_out_nothing(trainer):
            refuse_other_kinds(pl_module, checkpoint.get("state_dict", {}), Path(trainer.ckpt_path or ""))
        if trainer.state.fn != "fit" or PROGRESS not in checkpoint:
            return
        self._saved = checkpoint
        refuse(misfits(checkpoint["loops"]["fit_loop"], trainer.fit_loop.state_dict(), "loops"))
        refuse(misfits_of_metrics(checkpoint[PROGRESS].get("sums", []), trainer, pl_module))
        for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            saved = checkpoint["callbacks"].get(callback.state_key)
            if saved is not None:
                refuse(misfits(saved, callback.state_dict(), f"callbacks, {type(callback).__name__}", sizes=False))
            if saved is not None and isinstance(callback, ModelCheckpoint):
                refuse(misfits_of_best(saved, callback.save_top_k))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        saved, self._saved = self._saved, None
        if saved is None or not shares_out_nothing(trainer):
            return
        same_precision = saved[PROGRESS]["conditions"].get("precision") == str(trainer.precision)
        refuse(misfits_of_optimizers(saved["optimizer_states"], trainer.optimizers, same_precision=same_precision))
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        refuse(misfits_of_schedulers(saved["lr_schedulers"], schedulers))


def shares_out_nothing(trainer: Trainer) -> bool:
    """Whether each process has all states; other strategies restore theirs themselves."""
    return type(trainer.strategy).load_optimizer_state_dict is Strategy.load_optimizer_state_dict


def refuse(found: Iterator[str]) -> None:
    """
    Raises:
        CheckpointError: something was found.
    """
    for misfit in found:
        raise CheckpointError(f"given {misfit}; use another checkpoint")


def misfits_of_best(saved: dict[str, Any], num_kept: int) -> Iterator[str]:
    """What of the state of a ModelCheckpoint names no file that the next better one could replace."""
    kept, worst = saved["best_k_models"], saved.get("kth_best_model_path")
    if 0 < num_kept <= len(kept) and worst not in kept:
        yield f"{worst!r} as kth_best_model_path of ModelCheckpoint, which keeps {', '.join(map(str, kept))[:200]}"


def misfits_of_optimizers(saved: list[Any], optimizers: list[Optimizer], *, same_precision: bool) -> Iterator[str]:
    """What of the states of optimizers they could not have made themselves."""
    if len(saved) != len(optimizers):
        yield f"the states of {len(saved)} optimizers for {len(optimizers)}"
    for number, (state, optimizer) in enumerate(zip(saved, optimizers, strict=False)):
        place, own = f"optimizer_states[{number}]", optimizer.state_dict()
        if not own:
            # Lightning's stand-in for none.
            yield from misfits(state, {}, place)
            continue
        yield from misfits(state, {"state": {}, "param_groups": own["param_groups"]}, place)
        if not isinstance(state, dict) or set(state.get("state", ())) - {
            each for group in own["param_groups"] for each in group["params"]
        }:
            yield f"states of other parameters as {place}"
            return
        for index, group in enumerate(state["param_groups"]):
            missing = optimizer.param_groups[index].keys() - keys_after(optimizer, group)
            yield from (f"no {key} in {place}.param_groups[{index}]" for key in sorted(missing))
            for key, value in group.items():
                # None of the run's own may become anything, but one value.
                if isinstance(value, Tensor) and value.ndim > 0:
                    yield f"a tensor of {tuple(value.shape)} as {place}.param_groups[{index}].{key}, which is one value"
        groups = zip(own["param_groups"], optimizer.param_groups, strict=True)
        numbered = {i: p for named, group in groups for i, p in zip(named["params"], group["params"], strict=True)}
        made = states_made_by(optimizer)
        for parameter, values in state["state"].items():
            expected = made.get(id(numbered[parameter]), {})
            yield from misfits(values, expected, f"{place}.state[{parameter}]", dtypes=same_precision)
            yield from (f"no {key} in {place}.state[{parameter}]" for key in expected if key not in values)


def keys_after(optimizer: Optimizer, group: dict[str, Any]) -> set[str]:
    """What a group of an optimizer has once it is restored: what was added since has a default then."""
    twin = object.__new__(type(optimizer))
    vars(twin).update(vars(optimizer))
    restored = {**group}
    # It may read what the group lacks.
    with suppress(Exception):
        twin.__setstate__({"state": defaultdict(dict), "param_groups": [restored]})
    return set(restored)


def states_made_by(optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    """What a first step would keep of each parameter, by its id, without memory; {} where a step cannot be tried."""
    twin = object.__new__(type(optimizer))
    vars(twin).update(vars(optimizer))
    twin._optimizer_step_pre_hooks, twin._optimizer_step_post_hooks = OrderedDict(), OrderedDict()
    twin.state = defaultdict(dict)
    made: dict[int, dict[str, Any]] = {}
    for group in optimizer.param_groups:
        copies = [torch.empty_like(each, device="meta").requires_grad_() for each in group["params"]]
        for copy, each in zip(copies, group["params"], strict=True):
            copy.grad = torch.empty_like(copy)
            twin.state[copy] = made[id(each)] = dict(optimizer.state.get(each, {}))
        # Fused steps look for a device.
        twin.param_groups = [{**group, "params": copies, **dict.fromkeys(group.keys() & {"fused", "foreach"}, False)}]
        # It has made its states before it fails, or wants a closure.
        with suppress(Exception):
            type(optimizer).step(twin)
    return made


def misfits_of_metrics(saved: list[Any], trainer: Trainer, pl_module: LightningModule) -> Iterator[str]:
    """What of the states of torchmetrics is not theirs; they take any attribute."""
    of_rank = saved[trainer.global_rank] if len(saved) == trainer.world_size else {}
    for name, metric in metrics_of(pl_module):
        saved_of = of_rank.get("metrics", {})
        # As they are restored: older checkpoints have another name.
        state = saved_of.get(name) or saved_of.get(name.removeprefix("kindling_"))
        if state:
            # Lists grow with each batch.
            own = {key: value for key, value in metric._defaults.items() if isinstance(value, Tensor)}
            yield from misfits(state["state"], own, f"sums, {name}")
            yield from (
                f"{key}, which is no state, in sums, {name}" for key in state["state"].keys() - metric._defaults
            )


def misfits_of_schedulers(saved: list[Any], schedulers: list[Any]) -> Iterator[str]:
    """What of the states of schedules is not theirs; they take any attribute."""
    if len(saved) != len(schedulers):
        yield f"the states of {len(saved)} schedules for {len(schedulers)}"
    for number, (state, scheduler) in enumerate(zip(saved, schedulers, strict=False)):
        place, own = f"lr_schedulers[{number}]", scheduler.state_dict()
        yield from misfits(state, own, place)
        foreign = [key for key in state if key not in own and hasattr(scheduler, str(key))]
        yield from (f"{key}, which is no state, in {place}" for key in foreign)


def misfits(saved: Any, own: Any, place: str, *, sizes: bool = True, dtypes: bool = True) -> Iterator[str]:
    """What of a saved state is of another kind than the run's own.

    Args:
        saved: of a checkpoint.
        own: of the run; what is None, or not there, may be anything.
        place: in the checkpoint.
        sizes: whether tensors have the shape, and lists the length, of the run's own.
        dtypes: whether tensors have the dtype of the run's own, and not just one of its kind.
    """
    if own is None or saved is None:
        return
    if kind(saved) != kind(own):
        yield f"{kind(saved)} as {place}, which is {kind(own)}"
    elif isinstance(own, Tensor) and isinstance(saved, Tensor):
        if sizes and saved.shape != own.shape:
            yield f"a tensor of {tuple(saved.shape)} as {place}, which has {tuple(own.shape)}"
        elif not is_of_kind(saved, own) or (dtypes and sizes and saved.dtype != own.dtype):
            yield f"{saved.dtype} as {place}, which is {own.dtype}"
    elif isinstance(own, Mapping):
        for key in own.keys() & saved.keys():
            yield from misfits(saved[key], own[key], f"{place}.{key}", sizes=sizes, dtypes=dtypes)
    elif isinstance(own, list | tuple):
        if sizes and len(saved) != len(own):
            yield f"{len(saved)} values as {place}, which has {len(own)}"
        for number, (each, mine) in enumerate(zip(saved, own, strict=False)):
            yield from misfits(each, mine, f"{place}[{number}]", sizes=sizes, dtypes=dtypes)


def kind(value: Any) -> str:
    """What may stand for each other: an older version kept a number where a tensor of one is kept now."""
    if isinstance(value, bool | str | Mapping):
        return "a bool" if isinstance(value, bool) else "a text" if isinstance(value, str) else "a mapping"
    if isinstance(value, int | float) or (isinstance(value, Tensor) and value.ndim == 0):
        return "a number"
    if isinstance(value, list | tuple):
        return "a list"
    return f"a {type(value).__name__}"

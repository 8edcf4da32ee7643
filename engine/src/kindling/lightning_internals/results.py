"""What has been logged so far, which Lightning leaves out of its checkpoints.

The last value of each metric, the sums of an epoch of `self.log(..., on_epoch=True)` in a training step, and the states
of torchmetrics in the module.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from torch import Tensor
from torchmetrics import Metric

# What `self.log` was called with, for a value that is not logged again.
CALLED_WITH = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "add_dataloader_idx", "dataloader_idx")


def callback_metrics(trainer: Trainer) -> dict[str, Tensor]:
    """The last value of each metric, on the CPU."""
    return {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}


def restore_callback_metrics(trainer: Trainer, pl_module: LightningModule, metrics: dict[str, Tensor]) -> None:
    """Let early stopping and best checkpoints see the last value of each metric."""
    on_device = {name: value.to(pl_module.device) for name, value in metrics.items()}
    trainer._logger_connector._callback_metrics.update(on_device)


@contextmanager
def exact_means() -> Iterator[None]:
    """Let the mean of what several processes log be that over their examples.

    Lightning takes the mean of how many each has had as a whole number: of 16 and 15 that is 15, for which each value
    is 3 % too large.
    """
    original = _ResultMetric.__init__

    def init(self: _ResultMetric, metadata: _Metadata, is_tensor: bool) -> None:
        original(self, metadata, is_tensor)
        if is_tensor and metadata.is_mean_reduction:
            self.add_state("cumulated_batch_size", torch.tensor(0.0, dtype=torch.float32), dist_reduce_fx=torch.sum)

    _ResultMetric.__init__ = init
    try:
        yield
    finally:
        _ResultMetric.__init__ = original


def name_first_of_several(trainer: Trainer, names: Iterable[str]) -> dict[str, str]:
    """Let metrics that are logged for each of several dataloaders be found by their plain names too.

    Returns the names, each with that of the first dataloader, whose value it has.
    """
    metrics = trainer.callback_metrics
    firsts = {name: f"{name}/dataloader_idx_0" for name in names}
    found = {name: full_name for name, full_name in firsts.items() if full_name in metrics}
    trainer._logger_connector._callback_metrics.update({name: metrics[first] for name, first in found.items()})
    return found


def epoch_sums(
    trainer: Trainer, pl_module: LightningModule, rest: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The sums of the epoch so far of each process, by rank.

    Args:
        trainer: of the run.
        pl_module: that is trained.
        rest: what a resumed epoch has yet to add to its own.
    """
    logged = {
        key: {name: _on_cpu(getattr(result, name)) for name in result._defaults} | {"call": _call(result.meta)}
        for key, result in trainer.fit_loop.epoch_loop._results.items()
        if result.is_tensor and result.meta.on_epoch and not result.has_reset
    }
    logged |= rest or {}
    metrics = {
        name: {"count": metric._update_count, "state": {key: _on_cpu(getattr(metric, key)) for key in metric._defaults}}
        for name, metric in metrics_of(pl_module)
    }
    return gather(trainer, {"logged": logged, "metrics": metrics})


def restore_torchmetrics(pl_module: LightningModule, sums: dict[str, Any]) -> None:
    """Give the module's torchmetrics their states."""
    for name, metric in metrics_of(pl_module):
        # Older checkpoints call those of a task `metrics`.
        saved = sums["metrics"].get(name) or sums["metrics"].get(name.removeprefix("kindling_"))
        if saved:
            metric._update_count = saved["count"]
            for key, value in saved["state"].items():
                setattr(metric, key, _to(value, pl_module.device))


def add_logged_sums(trainer: Trainer, sums: dict[str, Any]) -> None:
    """Add what was logged before to what has been logged since; what has been added is taken out of `sums`.

    Lightning knows of a value only once it is logged; a + b is b + a to the last bit.
    """
    results = trainer.fit_loop.epoch_loop._results
    for key in [key for key in sums["logged"] if key in results]:
        result: Any = results[key]
        for name, value in _states(sums["logged"].pop(key)):
            now = getattr(result, name)
            adds = name != "value" or result.meta.is_mean_reduction or result.meta.is_sum_reduction
            before = value.to(now.device)
            setattr(result, name, before + now if adds else result.meta.reduce_fx(before, now))


def forget_step_values(trainer: Trainer) -> None:
    """Drop what training steps have logged of single steps, so that a step that is left out does not log it again."""
    logged = trainer.fit_loop.epoch_loop._results
    for key in [key for key, value in logged.items() if value.meta.on_step and not value.meta.on_epoch]:
        logged.pop(key)


def log_again(trainer: Trainer, sums: dict[str, Any]) -> list[str]:
    """Log what is left in `sums`: the resumed part of the epoch did not, such as a hook of the epoch's start.

    Returns the keys, to be forgotten as the next epoch starts.
    """
    # Older checkpoints do not say how it was logged.
    left = {key: saved for key, saved in sums["logged"].items() if "call" in saved}
    for key, saved in left.items():
        call = dict(saved["call"])
        sync = {name: call.pop(name) for name in ("_should", "rank_zero_only")}
        meta = _Metadata(**call)
        meta.sync = _Sync(fn=trainer.strategy.reduce, **sync)
        result = _ResultMetric(meta, is_tensor=True)
        for name, value in _states(saved):
            setattr(result, name, value.to(trainer.strategy.root_device))
        # Else it warns that nothing was logged.
        result._update_count = 1
        trainer.fit_loop.epoch_loop._results[key] = result
    return list(left)


def forget_logged(trainer: Trainer, keys: list[str]) -> None:
    """Take values out, so that Lightning does not compare how they are logged next."""
    for key in keys:
        trainer.fit_loop.epoch_loop._results.pop(key, None)


def forget_logged_at_start(trainer: Trainer) -> None:
    """Take out what `on_train_start` has logged again, which belongs to the epoch that training began with."""
    results = trainer.fit_loop.epoch_loop._results
    forget_logged(trainer, [key for key, result in results.items() if result.meta.fx == "on_train_start"])


def _call(meta: _Metadata) -> dict[str, Any]:
    called = {name: getattr(meta, name) for name in CALLED_WITH} | {"reduce_fx": meta.reduce_fx.__name__}
    return called | {"_should": meta.sync.should, "rank_zero_only": meta.sync.rank_zero_only}


def _states(saved: dict[str, Any]) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in saved.items() if isinstance(value, Tensor)]


def gather(trainer: Trainer, value: Any) -> list[Any]:
    """What each process has, by rank; plain values and tensors on the CPU alone."""
    values = [value] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def metrics_of(pl_module: LightningModule) -> list[tuple[str, Any]]:
    """The torchmetrics of a module, by name."""
    return [(name, module) for name, module in pl_module.named_modules() if isinstance(module, Metric)]


def _on_cpu(value: Any) -> Any:
    return _to(value, torch.device("cpu"))


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_to(each, device) for each in value]
    return value.detach().to(device, copy=True) if isinstance(value, Tensor) else value

"""What has been logged so far, which Lightning leaves out of its checkpoints.

The last value of each metric, the sums of an epoch of `self.log(..., on_epoch=True)` in a training step, and the states
of torchmetrics in the module.
"""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric


def callback_metrics(trainer: Trainer) -> dict[str, Tensor]:
    """The last value of each metric, on the CPU."""
    return {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}


def restore_callback_metrics(trainer: Trainer, pl_module: LightningModule, metrics: dict[str, Tensor]) -> None:
    """Let early stopping and best checkpoints see the last value of each metric."""
    on_device = {name: value.to(pl_module.device) for name, value in metrics.items()}
    trainer._logger_connector._callback_metrics.update(on_device)


def epoch_sums(trainer: Trainer, pl_module: LightningModule) -> list[dict[str, Any]]:
    """The sums of the epoch so far of each process, by rank."""
    logged = {
        key: {name: _on_cpu(getattr(result, name)) for name in result._defaults}
        for key, result in trainer.fit_loop.epoch_loop._results.items()
        if result.is_tensor and result.meta.on_epoch
    }
    metrics = {
        name: {"count": metric._update_count, "state": {key: _on_cpu(getattr(metric, key)) for key in metric._defaults}}
        for name, metric in _metrics_of(pl_module)
    }
    return gather(trainer, {"logged": logged, "metrics": metrics})


def restore_torchmetrics(pl_module: LightningModule, sums: dict[str, Any]) -> None:
    """Give the module's torchmetrics their states."""
    for name, metric in _metrics_of(pl_module):
        saved = sums["metrics"].get(name)
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
        for name, value in sums["logged"].pop(key).items():
            now = getattr(result, name)
            adds = name != "value" or result.meta.is_mean_reduction or result.meta.is_sum_reduction
            before = value.to(now.device)
            setattr(result, name, before + now if adds else result.meta.reduce_fx(before, now))


def forget_step_values(trainer: Trainer) -> None:
    """Drop what training steps have logged of single steps, so that a step that is left out does not log it again."""
    logged = trainer.fit_loop.epoch_loop._results
    for key in [key for key, value in logged.items() if value.meta.on_step and not value.meta.on_epoch]:
        logged.pop(key)


def gather(trainer: Trainer, value: Any) -> list[Any]:
    """What each process has, by rank; plain values and tensors on the CPU alone."""
    values = [value] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def _metrics_of(pl_module: LightningModule) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in pl_module.named_modules() if isinstance(module, Metric)]


def _on_cpu(value: Any) -> Any:
    return _to(value, torch.device("cpu"))


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_to(each, device) for each in value]
    return value.detach().to(device, copy=True) if isinstance(value, Tensor) else value

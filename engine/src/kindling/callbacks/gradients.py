"""Gradients as the loss gives them, before an optimizer step."""

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer


def unscaled_gradients(trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> dict[str, Tensor]:
    """By name of the parameter, from `on_before_optimizer_step`, which comes before they are clipped.

    With a scaler a fused step takes scaled gradients and divides them itself; this waits for the device then.
    """
    found = {name: each.grad for name, each in pl_module.named_parameters() if each.grad is not None}
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return found
    scale = scaler.get_scale()
    return {name: gradient / scale for name, gradient in found.items()}

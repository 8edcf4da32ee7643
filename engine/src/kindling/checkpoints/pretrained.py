"""Weights of another training, for a net whose last layer may be a new one."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from kindling.checkpoints.values import is_of_kind
from kindling.errors import CheckpointError


def load_all_but_head(net: nn.Module, weights: dict[str, Tensor]) -> bool:
    """Load weights, but for the last layer's if their shape differs; returns whether it did.

    Raises:
        CheckpointError: anything but the last layer is missing, surplus or of another shape.
    """
    own = net.state_dict()
    misfits = [key for key in own if key not in weights or getattr(weights[key], "shape", None) != own[key].shape]
    surplus = [key for key in weights if key not in own]
    heads = {key.rpartition(".")[0] for key in misfits}
    if surplus or len(heads) > 1 or (misfits and list(own)[-1] not in misfits):
        raise CheckpointError(f"given weights of another model (first misfit: {(surplus or misfits)[0]})")
    net.load_state_dict({key: value for key, value in weights.items() if key not in misfits}, strict=False)
    return bool(misfits)


def refuse_other_kinds(module: nn.Module, weights: dict[str, Any], path: Path) -> None:
    """
    Raises:
        CheckpointError: a tensor is complex where the module's is real, or likewise; torch would convert it.
    """
    for name, own in module.state_dict().items():
        given = weights.get(name)
        if isinstance(own, Tensor) and isinstance(given, Tensor) and not (is_lazy(own) or is_of_kind(given, own)):
            raise CheckpointError(
                f"{path}: given {given.dtype} ({given.layout}) as {name}; allowed: {own.dtype}; use another checkpoint"
            )

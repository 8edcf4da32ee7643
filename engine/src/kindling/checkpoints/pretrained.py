"""Weights of another training, for a net whose last layer may be a new one."""

from torch import Tensor, nn

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

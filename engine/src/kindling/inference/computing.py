"""A net that takes arrays and gives arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kindling.data.processor import Compute


def compute_by(net: nn.Module, device: torch.device) -> Compute:
    """Batches of inputs, one array each, to the outputs of the net; it is put into evaluation mode, on the device."""
    net.eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def compute(*inputs: np.ndarray) -> Any:
        return arrays(net(*(torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in inputs)))

    return compute


def arrays(outputs: Any) -> Any:
    """Tensors, also in tuples, lists and mappings, as arrays; floats as float32."""
    if isinstance(outputs, Tensor):
        return (outputs.float() if outputs.is_floating_point() else outputs).detach().cpu().numpy()
    if isinstance(outputs, Mapping):
        return {name: arrays(each) for name, each in outputs.items()}
    if isinstance(outputs, tuple | list):
        return tuple(arrays(each) for each in outputs)
    return outputs

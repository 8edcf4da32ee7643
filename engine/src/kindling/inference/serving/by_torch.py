"""A net of a checkpoint as a runtime."""

import numpy as np
import torch
from torch import nn

from kindling.data.processor import Processor
from kindling.images.augment import Normalize
from kindling.images.processor import classifies
from kindling.inference.computing import compute_by
from kindling.inference.runtimes import Runtime


def runtime_of(net: nn.Module, processor: Processor, device: torch.device) -> Runtime:
    """What the processor reads -> what it writes; of classes of images, pixels -> probabilities."""
    compute = compute_by(net, device)
    if not classifies(processor):
        return compute
    normalize = Normalize(processor.mean, processor.std).to(device)

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> np.ndarray:
        logits = net(normalize(torch.from_numpy(pixels).to(device)))
        return logits.float().softmax(1).cpu().numpy()

    return run

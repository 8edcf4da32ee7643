"""A net of a checkpoint as a runtime."""

import numpy as np
import torch
from torch import nn

from kindling.data.processor import Processor
from kindling.errors import ConfigError
from kindling.images.augment import Normalize
from kindling.images.processor import ImageProcessor
from kindling.inference.computing import compute_by
from kindling.inference.runtimes import Runtime


def runtime_of(net: nn.Module, processor: Processor, device: torch.device) -> Runtime:
    """
    Raises:
        ConfigError: what its images are read or written by is of an own kind, of which no page could be shown.
    """
    compute = compute_by(net, device)
    if processor.kind != "image":
        return compute
    if not isinstance(processor, ImageProcessor):
        raise ConfigError(f"processor: given {type(processor).__name__} for images; allowed: an ImageProcessor")
    # It refuses a subclass that reads or writes otherwise.
    processor.as_dict()
    normalize = Normalize(processor.mean, processor.std).to(device)

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> np.ndarray:
        logits = net(normalize(torch.from_numpy(pixels).to(device)))
        return logits.float().softmax(1).cpu().numpy()

    return run

"""Seeds made of several numbers, and the generators that they are given to."""

import random

import numpy as np
import torch


def mix_seeds(*numbers: int) -> int:
    """A 32-bit seed for, say, (seed, epoch); torch's CPU generator ignores the higher bits of a seed."""
    return np.random.SeedSequence(numbers).generate_state(1).item()


def seed_all(seed: int, device: torch.device) -> None:
    """Seed the generators of Python, numpy and torch, as torch.manual_seed does in ten times the time."""
    seed %= 2**32
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  the generator that augmentation libraries use

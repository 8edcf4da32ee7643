"""Seeds made of several numbers, and the generators that they are given to."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def generators_kept() -> Iterator[None]:
    """Give the CPU's generators of Python, numpy and torch back the state that they had."""
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])  # noqa: NPY002

"""Seeds made of several numbers."""

import numpy as np


def mix_seeds(*numbers: int) -> int:
    """A 32-bit seed for, say, (seed, epoch); torch's CPU generator ignores the higher bits of a seed."""
    return np.random.SeedSequence(numbers).generate_state(1).item()

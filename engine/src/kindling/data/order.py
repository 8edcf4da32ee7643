"""Which examples are drawn in which order, and which process gets them: functions of (seed, epoch, position) alone."""

import torch
from torch import Tensor

from kindling.data.seeds import mix_seeds


class EpochOrder:
    """A permutation as a function of (seed, epoch); with weights (N,) examples are drawn by them, with repetition."""

    def __init__(self, num_examples: int, seed: int, shuffle: bool, weights: Tensor | None = None):
        self.num_examples = num_examples
        self.weights = weights
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        # Where a resumed epoch goes on, otherwise 0.
        self.first_batch = 0
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch; a resumed epoch keeps its place."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def draw(self) -> tuple[Tensor, torch.Generator]:
        """Indices (N,) of the current epoch, and the generator of what else is drawn for each position."""
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, self.epoch))
        if self.weights is not None:
            indices = torch.multinomial(self.weights, self.num_examples, replacement=True, generator=generator)
        elif self.shuffle:
            indices = torch.randperm(self.num_examples, generator=generator)
        else:
            indices = torch.arange(self.num_examples)
        return indices, generator

    def draw_seeds(self, generator: torch.Generator) -> Tensor:
        """A seed (N,) for each position, of what is random in an example."""
        return torch.randint(2**31, (self.num_examples,), generator=generator)


def balanced_weights(labels: Tensor) -> Tensor:
    """Weights (N,) by which each class is drawn equally often."""
    return 1 / labels.bincount()[labels]


def training_batches(num_examples: int, batch_size: int, world_size: int) -> list[slice]:
    """The batches of each process, as slices of its share `[rank::world_size]`.

    All of them are full, as the uneven rest is left out, unless there are too few examples for one.
    """
    share = num_examples // world_size
    num_full = share // batch_size
    # Some shares hold one more, which a single batch keeps.
    return [slice(i * batch_size, (i + 1) * batch_size) for i in range(num_full or min(1, share))]


def evaluation_batches(num_examples: int, batch_size: int, rank: int, world_size: int) -> list[slice]:
    """The batches of a process, as slices of its share `[rank::world_size]`; together they hold each example once.

    Each process has as many batches, except with batches of one example, or with fewer examples than processes.
    """
    share, longest = (-(-(num_examples - first) // world_size) for first in (rank, 0))
    starts = list(range(0, longest, batch_size))
    # A lone last example would be missing in other processes.
    if longest % batch_size == 1 and len(starts) > 1 and num_examples % world_size:
        starts[-1] -= 1
    ends = [*starts[1:], longest]
    return [slice(start, min(end, share)) for start, end in zip(starts, ends, strict=True) if start < share]


def repeated_batches(num_examples: int, batch_size: int, rank: int, world_size: int) -> list[slice]:
    """The batch of an example that has been shown already, where other processes evaluate one more; else none."""
    own, most = (len(evaluation_batches(num_examples, batch_size, each, world_size)) for each in (rank, 0))
    last = max(0, -(-(num_examples - rank) // world_size) - 1)
    return [slice(last, last + 1)] * (most - own)

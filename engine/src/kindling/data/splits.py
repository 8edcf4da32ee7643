"""Splits that do not depend on the run's seed, so that runs with other seeds stay comparable."""

import torch
from torch import Tensor

SPLIT_SEED = 0


def folds(labels: Tensor, num_folds: int) -> Tensor:
    """The fold (N,) of each image, 0 to num_folds - 1; classes and images are shared out as evenly as can be."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    found = torch.empty_like(labels)
    # Dealt like cards, one class after the other.
    found[by_class] = torch.arange(len(labels)) % num_folds
    return found


def hold_out(labels: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out), ascending; of each class the same share, and at least one image, is held out.

    A class with a single image keeps it.
    """
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        num_held = min(max(1, round(fraction * len(members))), len(members) - 1)
        held[members[torch.randperm(len(members), generator=generator)[:num_held]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()

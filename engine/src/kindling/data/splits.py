"""Splits that do not depend on the run's seed, so that runs with other seeds stay comparable."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kindling.data.examples import join, labels_of, num_examples, take

SPLIT_SEED = 0


@dataclass(frozen=True)
class Splits:
    """What is trained on, validated on and tested on; None for what there is not."""

    train: Any
    val: Any
    test: Any

    def of_fold(self, fold: int, num_folds: int) -> "Splits":
        """Train and val cut anew, such that val is one of `num_folds` parts, of each class alike if there are any."""
        examples = self.train if self.val is None else join(self.train, self.val)
        labels = labels_of(examples)
        if labels is None:
            labels = torch.zeros(num_examples(examples), dtype=torch.int64)
        held = folds(labels, num_folds) == fold
        train, val = take(examples, (~held).nonzero().flatten()), take(examples, held.nonzero().flatten())
        return replace(self, train=train, val=val)


def folds(labels: Tensor, num_folds: int) -> Tensor:
    """The fold (N,) of each image, 0 to num_folds - 1; classes and images are shared out as evenly as can be."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    found = torch.empty_like(labels)
    # Dealt like cards, one class after the other.
    found[by_class] = torch.arange(len(labels)) % num_folds
    return found


def rarest(labels: Tensor) -> Tensor:
    """Of the labels (N, K) bool of each example the one that fewest have: (N,); K for an example without any."""
    num_classes = labels.shape[1]
    order = labels.sum(0).argsort(stable=True)
    first = labels[:, order].to(torch.uint8).argmax(1)
    return torch.where(labels.any(1), order[first], num_classes)


def hold_out(labels: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out), ascending; of each class the same share, and at least one image, is held out.

    A class with a single image keeps it. Of labels (N, K) bool, an image counts for the rarest of its labels.
    """
    labels = rarest(labels) if labels.ndim > 1 else labels
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    held = torch.zeros(len(labels), dtype=torch.bool)
    # Those of each class, ascending.
    for members in labels.argsort(stable=True).split(labels.unique(return_counts=True)[1].tolist()):
        num_held = min(max(1, round(fraction * len(members))), len(members) - 1)
        held[members[torch.randperm(len(members), generator=generator)[:num_held]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()

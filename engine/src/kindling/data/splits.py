"""Splits that do not depend on the run's seed, so that runs with other seeds stay comparable."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kindling.data.examples import join, labels_of, num_examples, several_labels_of, take

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
        if (several := several_labels_of(examples)) is not None:
            labels = rarest(several)
        elif labels is None:
            labels = torch.zeros(num_examples(examples), dtype=torch.int64)
        held = folds(labels, num_folds) == fold
        train, val = take(examples, (~held).nonzero().flatten()), take(examples, held.nonzero().flatten())
        return replace(self, train=train, val=val)


def folds(labels: Tensor, num_folds: int) -> Tensor:
    """The fold (N,) of each image, 0 to num_folds - 1; classes and images are shared out as evenly as can be."""
    by_class = _by_class(labels, torch.Generator().manual_seed(SPLIT_SEED))
    found = torch.empty_like(labels)
    # Dealt like cards, one class after the other.
    found[by_class] = torch.arange(len(labels)) % num_folds
    return found


def _by_class(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Indices (N,) of one class after the other, shuffled within each."""
    shuffled = torch.randperm(len(labels), generator=generator)
    return shuffled[labels[shuffled].argsort(stable=True)]


def rarest(labels: Tensor) -> Tensor:
    """Of the labels (N, K) bool of each example the one that fewest have: (N,); K for an example without any."""
    num_classes = labels.shape[1]
    order = labels.sum(0).argsort(stable=True)
    first = labels[:, order].to(torch.uint8).argmax(1)
    return torch.where(labels.any(1), order[first], num_classes)


def hold_out(labels: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out), ascending; of each class the same share, and at least one image, is held out.

    A class with a single image keeps it. Of labels (N, K) bool, the share is that of all images: an image counts for
    the rarest of its labels, and those with few images may have none held out.
    """
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    held = torch.zeros(len(labels), dtype=torch.bool)
    if labels.ndim > 1:
        parts = [_evenly(_by_class(rarest(labels), generator), fraction)]
    else:
        # Those of each class, ascending.
        classes = labels.argsort(stable=True).split(labels.unique(return_counts=True)[1].tolist())
        parts = [_some(members, fraction, generator) for members in classes]
    for part in parts:
        held[part] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _num_held(num: int, fraction: float) -> int:
    return max(0, min(max(1, round(fraction * num)), num - 1))


def _some(members: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    return members[torch.randperm(len(members), generator=generator)[: _num_held(len(members), fraction)]]


def _evenly(members: Tensor, fraction: float) -> Tensor:
    """Members that are evenly apart, so that each label that follows another has its share."""
    num = _num_held(len(members), fraction)
    return members[(torch.arange(num) + 0.5).mul(len(members) / max(1, num)).long()]

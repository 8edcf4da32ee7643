"""Mistakes that training shows: one small function a rule, which yields what is to be reported.

Add yours to the tuple of the moment at which it is to be asked.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import RandomSampler

from kindling.data.datamodule import DataModule
from kindling.errors import counted
from kindling.images.criterion import CrossEntropy
from kindling.images.datamodule import ImageDataModule
from kindling.images.doctor.data_rules import class_names
from kindling.images.doctor.seen import Rule, Seen
from kindling.images.images import ImageTensors

# In bfloat16 probabilities sum to 1 within this.
ROUNDING = 0.02
# Parameters that a message names at most.
MOST_NAMES = 3
# Epochs in which a class may stay unpredicted.
FIRST_EPOCHS = 3
# A good net may miss a class with fewer images.
FEW = 5
# The share of an epoch spent waiting for batches.
TOO_MUCH = 0.5
SHARDED = re.compile("fsdp|deepspeed|modelparallel", re.IGNORECASE)


def logits_are_no_probabilities(seen: Seen) -> Iterator[str]:
    if not isinstance(getattr(seen.task, "criterion", None), nn.CrossEntropyLoss | CrossEntropy) or seen.logits is None:
        return
    logits, to_do = seen.logits.float(), "end the model without it"
    rows = torch.stack([logits.min(), (logits.sum(1) - 1).abs().max(), logits.logsumexp(1).abs().max()])
    least, off_one, off_zero = rows.tolist()
    if least >= 0 and off_one < ROUNDING:
        yield f"model: gives probabilities to the cross-entropy, which takes a softmax itself; usual: logits; {to_do}"
    elif off_zero < ROUNDING:
        yield f"model: gives log-probabilities to the cross-entropy, in vain; usual: logits; {to_do}"
    elif seen.made_by.startswith("Sigmoid"):
        yield f"model: gives a sigmoid to the cross-entropy, so no loss gets low; usual: logits; {to_do}"


def batch_norm_has_a_batch(seen: Seen) -> Iterator[str]:
    shared = seen.trainer.world_size > 1
    norms = (each for each in seen.task.modules() if isinstance(each, _BatchNorm) and each.training)
    own = any(not (shared and isinstance(each, nn.SyncBatchNorm)) for each in norms)
    if own and seen.logits is not None and len(seen.logits) == 1:
        given = f"{seen.trainer.world_size} for as many processes" if shared else "1"
        usual = "usual: 16 or more; give more"
        yield f"data.batch_size: given {given} with batch norm, which then knows one image; {usual}"


def validation_has_one_order(seen: Seen) -> Iterator[str]:
    loader = seen.trainer.val_dataloaders
    shuffles = getattr(getattr(loader, "order", None), "shuffle", False)
    if shuffles or isinstance(getattr(loader, "sampler", None), RandomSampler) or _differ(seen.validated):
        yield "data: validation is shuffled; usual: one order; give val_dataloader() a loader with shuffle=False"


def _differ(pair: tuple[str, str] | None) -> bool:
    return pair is not None and pair[0] != pair[1]


def training_is_shuffled(seen: Seen) -> Iterator[str]:
    several = math.isfinite(seen.trainer.num_training_batches) and seen.trainer.num_training_batches > 1
    overfits = getattr(seen.trainer, "overfit_batches", 0)
    if several and not overfits and seen.trained is not None and not _differ(seen.trained):
        yield (
            "data: two epochs of training begin with the same batch; usual: another order in each; give "
            "train_dataloader() a loader with shuffle=True, unless the order is what is learnt"
        )


def each_parameter_has_a_gradient(seen: Seen) -> Iterator[str]:
    # A process may hold no part of a gradient.
    if SHARDED.search(type(seen.trainer.strategy).__name__):
        return
    trained = list(seen.parameters())
    without = [name for name in trained if seen.without_gradient is not None and name in seen.without_gradient]

    # If all lack one, the batches were left out.
    if without and len(without) < len(trained):
        names = ", ".join(without[:MOST_NAMES]) + ", ..." * (len(without) > MOST_NAMES)
        yield (
            f"model: no gradient reaches {len(without)} of {len(trained)} trainable parameters: {names}; usual: all; "
            "use them in forward(), or freeze them with requires_grad_(False)"
        )


def each_class_is_predicted(seen: Seen) -> Iterator[str]:
    epochs = seen.trainer.current_epoch + 1
    if seen.predicted is None or epochs <= max(FIRST_EPOCHS, (seen.trainer.max_epochs or 0) / 4):
        return
    labels = seen.data.splits.val.labels
    counts = labels.bincount(minlength=seen.data.num_classes).tolist()
    predicted = seen.predicted.tolist()
    never = [label for label, count in enumerate(counts) if count >= FEW and not predicted[label]]
    if never:
        yield (
            f"model: after {counted(epochs, 'epoch')} predicts {class_names(seen, never)} for no val image; usual: "
            "each class; look at its labels, lower optimizer.lr, or train longer"
        )


def loss_is_possible(seen: Seen) -> Iterator[str]:
    criterion: Any = getattr(seen.task, "criterion", None)
    if not isinstance(criterion, nn.CrossEntropyLoss | nn.NLLLoss | CrossEntropy) or seen.train_loss is None:
        return
    smoothing = getattr(criterion, "label_smoothing", 0.0)
    weighs = criterion.weight is not None or getattr(criterion, "focal_gamma", 0.0)
    floor = 0.0 if weighs else entropy(smoothing, seen.data.num_classes)
    if seen.train_loss < floor * (1 - ROUNDING):
        yield (
            f"criterion: train/loss is {seen.train_loss:.4f}; with label_smoothing={smoothing:g} it cannot be below "
            f"{floor:.4f}; look at criterion and at the model's output"
        )


def entropy(smoothing: float, num_classes: int) -> float:
    """Of a smoothed label: the least cross-entropy that there is (arXiv 1906.02629)."""
    other = smoothing / num_classes
    right = 1 - smoothing + other
    parts = [right] + [other] * (num_classes - 1)
    return -sum(part * math.log(part) for part in parts if part > 0)


def loading_is_short(seen: Seen) -> Iterator[str]:
    if seen.loading is None or seen.loading <= TOO_MUCH:
        return
    if isinstance(seen.data, ImageDataModule) and not isinstance(seen.data.splits.train, ImageTensors):
        to_do = f"raise data.num_workers={seen.data.num_workers}, or decode once with data.cache=disk"
    elif isinstance(seen.data, DataModule) and seen.data.is_read_one_by_one(seen.data.splits.train):
        to_do = f"raise data.num_workers={seen.data.num_workers}"
    else:
        to_do = "take a lighter data.augment" if isinstance(seen.data, DataModule) else "give its loaders more workers"
    yield f"data: waiting for batches took {seen.loading:.0%} of an epoch; usual: below {TOO_MUCH:.0%}; {to_do}"


FIRST_BATCH: tuple[Rule, ...] = (logits_are_no_probabilities, batch_norm_has_a_batch)
FIRST_STEPS: tuple[Rule, ...] = (each_parameter_has_a_gradient,)
VALIDATION: tuple[Rule, ...] = (validation_has_one_order, each_class_is_predicted)
EPOCH: tuple[Rule, ...] = (loss_is_possible, training_is_shuffled, loading_is_short)
# A second run of a config may not show them.
OF_THE_CLOCK: tuple[Rule, ...] = (loading_is_short,)

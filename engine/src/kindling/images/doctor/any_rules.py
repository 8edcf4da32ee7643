"""Mistakes in data of any kind that lies in memory: columns, targets and tokens that are all alike.

Add yours to `OF_TENSORS`.
"""

from collections.abc import Iterator

from torch import Tensor

from kindling.config.fault import MOST_NAMES
from kindling.data.examples import in_memory, labels_of, num_examples, tensors_of
from kindling.images.doctor.seen import Rule, Seen


def inputs_differ(seen: Seen) -> Iterator[str]:
    for name, values in _varied(seen)[:-1] or _varied(seen):
        if _is_one_value(values):
            yield (
                f"data: the training inputs{name} are all {values.flatten()[0].item():g}, so nothing can be learnt; "
                "usual: different ones; look at the data"
            )


def columns_differ(seen: Seen) -> Iterator[str]:
    for name, values in _varied(seen)[:-1]:
        if values.ndim != 2 or not values.is_floating_point() or _is_one_value(values):
            continue
        same = (values == values[0]).all(0).nonzero().flatten().tolist()
        if same:
            places = ", ".join(map(str, same[:MOST_NAMES])) + ", ..." * (len(same) > MOST_NAMES)
            yield (
                f"data: {len(same)} of {values.shape[1]} columns of the training inputs{name} hold one value each: "
                f"{places}; usual: different ones; leave them out"
            )


def targets_differ(seen: Seen) -> Iterator[str]:
    for _, values in _varied(seen)[1:][-1:]:
        if _is_one_value(values):
            yield (
                f"data: the training targets are all {values.flatten()[0].item():g}, so nothing can be learnt; usual: "
                "different ones; look at the data"
            )


def each_split_has_the_classes_of_training(seen: Seen) -> Iterator[str]:
    labels = {name: labels_of(examples) for name, examples in seen.data.present().items()}
    train = labels.pop("train", None)
    if train is None or train.ndim != 1:
        return
    known = set(train.unique().tolist())
    # Whole numbers that are measured, not classes.
    if len(known) > len(train) / 2:
        return
    for name, found in labels.items():
        there = set() if found is None or found.ndim != 1 else set(found.unique().tolist())
        if there and (other := sorted(there - known)):
            yield f"data: train lacks class {_names(other)} of {name}; usual: examples of each class; add some"
        if there and len(known) < num_examples(found) and (missing := sorted(known - there)):
            yield f"data: {name} lacks class {_names(missing)} of train; usual: examples of each class; add some"


def _names(labels: list[int]) -> str:
    return ", ".join(map(str, labels[:MOST_NAMES])) + ", ..." * (len(labels) > MOST_NAMES)


def _varied(seen: Seen) -> list[tuple[str, Tensor]]:
    """The tensors of several training examples, with their names where there are several inputs."""
    examples = seen.data.splits.train
    if not in_memory(examples) or num_examples(examples) < 2:
        return []
    named = [(name, each) for name, each in tensors_of(examples) if each.numel()]
    return [(f" {name}" if len(named) > 2 else "", each) for name, each in named]


def _is_one_value(values: Tensor) -> bool:
    # Most differ in the first ones.
    return bool((values[:2] == values.flatten()[0]).all()) and bool((values == values.flatten()[0]).all())


OF_TENSORS: tuple[Rule, ...] = (inputs_differ, columns_differ, targets_differ, each_split_has_the_classes_of_training)

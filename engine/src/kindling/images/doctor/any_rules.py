"""Mistakes in data of any kind that lies in memory: columns, targets and tokens that are all alike.

Add yours to `OF_TENSORS`.
"""

from collections.abc import Iterator
from itertools import combinations

from torch import Tensor

from kindling.config.fault import MOST_NAMES
from kindling.data.examples import in_memory, labels_of, num_examples, tensors_of
from kindling.images.doctor.data_rules import LEAKED
from kindling.images.doctor.seen import Rule, Seen

# Hashing more would take a second.
MOST_ROWS = 100_000


def inputs_differ(seen: Seen) -> Iterator[str]:
    for name, values in _varied(seen)[:-1] or _varied(seen):
        if _is_one_value(values):
            yield (
                f"data: the training inputs{name} are all {values.flatten()[0].item():g}, so nothing can be learnt; "
                "usual: different ones; look at the data"
            )


def numbers_are_finite(seen: Seen) -> Iterator[str]:
    for name, examples in seen.data.present().items():
        tensors = [each for _, each in tensors_of(examples)] if in_memory(examples) else []
        bad = sum(int((~each.flatten(1).isfinite()).any(1).sum()) for each in map(_with_columns, tensors))
        if bad:
            yield (
                f"data: {bad} of {num_examples(examples)} {name} examples hold NaN or infinity; usual: none; fill the "
                "gaps, or leave the examples out"
            )


def splits_have_no_row_in_common(seen: Seen) -> Iterator[str]:
    splits = {name: examples for name, examples in seen.data.present().items() if in_memory(examples)}
    first = [each for _, each in _varied(seen)][:1]
    # Rows of few whole numbers are often the same.
    if not first or not first[0].is_floating_point() or sum(map(num_examples, splits.values())) > MOST_ROWS:
        return
    found = {name: contents for name in splits if (contents := seen.data.contents(splits[name])) is not None}
    for one, other in combinations(found, 2):
        num_common = int(found[other].among(found[one].hashes).sum())
        if num_common > LEAKED * num_examples(splits[other]):
            yield (
                f"data: {num_common} of {num_examples(splits[other])} {other} examples are in {one} too; usual: none; "
                f"take them out of one, or {other}/... is too good"
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


def _with_columns(values: Tensor) -> Tensor:
    return values if values.ndim > 1 else values[:, None]


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


OF_TENSORS: tuple[Rule, ...] = (
    inputs_differ,
    numbers_are_finite,
    columns_differ,
    targets_differ,
    splits_have_no_row_in_common,
    each_split_has_the_classes_of_training,
)

"""Which examples an evaluation measures: a split or all of them, without those that the model was trained on."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from kindling.data.datamodule import DataModule
from kindling.data.examples import join, num_examples, take
from kindling.data.plain import is_loader
from kindling.errors import ConfigError, DataError
from kindling.stages import Stage

log = logging.getLogger(__name__)
Split = Literal["test", "val", "train", "all"]
# Hashes of a kind of what the model was trained on; None if there are none.
Trained = Callable[[str], Tensor | None]


@dataclass(frozen=True)
class Measured:
    """What metrics.json says of the data; None for what cannot be told.

    Args:
        root: where the data lies.
        split: which of it.
        examples: that are measured.
        of: how many the data has in all.
        trained_on: how many of the split the model was trained on.
        left_out: how many of these are not measured.
    """

    root: str | None
    split: Split
    examples: int | None = None
    of: int | None = None
    trained_on: int | None = None
    left_out: int = 0

    @property
    def stage(self) -> Stage:
        """Whose steps measure it."""
        return stage_of(self.split)


def stage_of(split: str | None) -> Stage:
    return "val" if split == "val" else "test"


def measure(data: Any, split: Split | None, trained: Trained, *, is_own: bool, include_train: bool) -> Measured:
    """Have the data module hold what is to be measured as the split of its stage.

    Args:
        data: any data module.
        split: None for test, unless it is not clear which examples are meant.
        trained: what the model was trained on.
        is_own: whether it is the run's data, as it was; its val and test are measured whole.
        include_train: leave nothing out.

    Raises:
        ConfigError: such data has no such split.
        DataError: it lacks the split, or the model was trained on all of it.
    """
    root = place_of(data)
    if isinstance(data, DataModule):
        refuse_what_is_not_there(data, split, is_own=is_own)
    split = split or "test"
    if not isinstance(data, DataModule) or any(map(is_stream, data.present().values())):
        if split in ("all", "train"):
            given = f"{type(data).__name__}, which gives batches and no examples"
            raise ConfigError(f"split: given {split} for {given}; allowed: test or val")
        return Measured(root, split)

    present = data.present()
    names: list[Stage] = [name for name in present if split in ("all", name)]
    counts = [num_examples(present[name]) for name in names]
    if is_own and split in ("all", "train"):
        seen = torch.cat([torch.full((count,), name == "train") for name, count in zip(names, counts, strict=True)])
    else:
        seen = trained_among(data, [present[name] for name in names], trained)
    examples, left_out = reduce(join, [present[name] for name in names]), 0
    num_seen = None if seen is None else int(seen.sum())
    if seen is not None and num_seen and not include_train and (split == "all" or not is_own):
        left_out, examples = num_seen, take(examples, (~seen).nonzero().flatten())
    found = Measured(root, split, num_examples(examples), sum(map(num_examples, present.values())), num_seen, left_out)
    data.describe()
    say(found, is_own=is_own)
    data.splits = replace(data.splits, **{found.stage: examples})
    return found


def place_of(data: Any) -> str | None:
    """Where the data lies, as far as it says so."""
    found = (getattr(data, name, None) for name in ("root", "file", "path", "folder"))
    return next((str(each) for each in found if isinstance(each, str | Path)), None)


def is_stream(examples: Any) -> bool:
    """Whether examples can be neither counted nor chosen."""
    return is_loader(examples) or isinstance(examples, IterableDataset)


def refuse_what_is_not_there(data: DataModule, split: Split | None, *, is_own: bool) -> None:
    """
    Raises:
        DataError: the data lacks the split, or it is not clear which examples are meant.
    """
    present = data.present()
    if split is None and not is_own and "test" in data.cut and "test" in present:
        counts = {name: num_examples(examples) for name, examples in present.items()}
        raise DataError(
            f"split: given none for {place_of(data) or 'data'}, which is not as in training and has no test split; "
            f"one cut from it would be {counts['test']} of {sum(counts.values())} examples; "
            "allowed: split=all, or split=test for that part"
        )
    if (split or "test") not in (*present, "all") or not present:
        raise DataError(f"split: given {split or 'test'}; the data has {', '.join(present) or 'no examples'}")


def trained_among(data: DataModule, parts: list[Any], trained: Trained) -> Tensor | None:
    """Which examples of some splits (N,) the model was trained on, by content; None if it cannot be told."""
    found = []
    for examples in parts:
        contents = data.contents(examples)
        hashes = contents and trained(contents.kind)
        if contents is None or hashes is None:
            return None
        found.append(torch.isin(contents.hashes, hashes))
    return torch.cat(found)


def say(found: Measured, *, is_own: bool) -> None:
    """What is measured, if it is not what anyone would think.

    Raises:
        DataError: nothing is left.
    """
    if found.left_out and not found.examples:
        raise DataError(
            f"data: all {found.left_out} examples were trained on; allowed: others, or include_train=true, "
            "which measures what was learnt by heart"
        )
    if found.trained_on:
        rest = "are left out; include_train=true measures them too" if found.left_out else "are measured too"
        log.info(
            "%d of %d examples are measured; %d were trained on and %s",
            found.examples,
            found.of,
            found.trained_on,
            rest,
        )
    elif not is_own:
        log.info("%d of %d examples are measured", found.examples, found.of)
    if found.trained_on is None and not is_own:
        log.info("which examples were trained on cannot be told: the run or the data keeps no hashes of its examples")

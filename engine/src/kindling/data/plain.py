"""Data sets and loaders that know nothing of Kindling, as a config or a program gives them."""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from kindling.console import report
from kindling.data.contents import Contents
from kindling.data.datamodule import DataModule
from kindling.data.examples import in_memory
from kindling.data.loader import put_together
from kindling.errors import ConfigError
from kindling.stages import Stage


class PlainData(DataModule):
    """Splits that are there already: data=plain data.train._target_=my_project.data.rows.Rows

    Each is a data set with __getitem__ and __len__, an IterableDataset, a tuple of tensors, or a loader, which keeps
    its own settings: those below are for the others.

    Args:
        train: the training split.
        val: of validation; None for none.
        test: likewise.
        collate_fn: puts a list of examples together, such as texts of different lengths; None for torch's default.
        settings: those of DataModule.
    """

    # Whoever has given the splits has them still.
    is_held_once = True

    def __init__(
        self,
        *,
        train: Any,
        val: Any = None,
        test: Any = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        **settings: Any,
    ):
        super().__init__(**settings)
        self.given = {"train": train, "val": val, "test": test}
        self.collate_fn = self._called(collate_fn)
        loaders = [name for name, given in self.given.items() if is_loader(given) or isinstance(given, IterableDataset)]
        for setting, chosen in (("fold", self.fold is not None), ("balanced_sampling", self.balanced_sampling)):
            if chosen and loaders:
                raise ConfigError(
                    f"data.{setting}: given with a loader for data.{loaders[0]}, whose examples cannot be chosen; "
                    "allowed: with data sets and tensors"
                )

    def _called(self, given: Any) -> Any:
        """
        Raises:
            ConfigError: it is no function, or nothing would call it.
        """
        if given is not None and not callable(given):
            raise ConfigError(
                f"data.collate_fn: given {type(given).__name__}; allowed: a function of a list of examples"
            )
        if given is not None and all(
            each is None or is_loader(each) or in_memory(each) for each in self.given.values()
        ):
            raise ConfigError(
                "data.collate_fn: given for tensors and loaders alone, which are in batches as they are; allowed: null"
            )
        return given

    def read(self) -> dict[str, Any]:
        for name, done in (("val", "validated"), ("test", "tested")):
            # With folds, val is cut from train.
            if self.given[name] is None and (name == "test" or self.fold is None):
                report("data.%s: null; nothing is %s", name, done)
        return self.given

    def check(self, name: Stage, examples: Any) -> None:
        # A loader may not know its length.
        if not is_loader(examples) and not isinstance(examples, IterableDataset):
            super().check(name, examples)

    def is_read_one_by_one(self, examples: Any) -> bool:
        return getattr(examples, "num_workers", 0) > 0 if is_loader(examples) else super().is_read_one_by_one(examples)

    @cached_property
    def fingerprint(self) -> str | None:
        """A hash of all splits; None if there is a loader, or a data set without a `fingerprint`."""
        return None if any(is_loader(each) for each in self.present().values()) else super().fingerprint

    def contents(self, examples: Any) -> Contents | None:
        return None if is_loader(examples) or isinstance(examples, IterableDataset) else super().contents(examples)

    @property
    def shares_batches(self) -> bool:
        train = self.given["train"]
        return super().shares_batches and not is_loader(train) and not isinstance(train, IterableDataset)

    def loader(self, split: Stage, **settings: Any) -> Any:
        examples = getattr(self.splits, split)
        if is_loader(examples):
            return examples
        if isinstance(examples, IterableDataset):
            return DataLoader(
                examples,
                batch_size=self.own_batch_size,
                collate_fn=self.collate_fn or put_together,
                num_workers=self.num_workers,
                prefetch_factor=self.prefetch_factor if self.num_workers else None,
                pin_memory=self.pin_memory is True,
                persistent_workers=self.persistent_workers and self.num_workers > 0,
            )
        return super().loader(split, **settings)


def is_loader(given: Any) -> bool:
    """Whether something gives batches, or holds several things that do; Lightning takes both as they are."""
    if isinstance(given, Mapping | list | tuple):
        parts = list(given.values() if isinstance(given, Mapping) else given)
        return bool(parts) and all(is_loader(part) for part in parts)
    if isinstance(given, DataLoader):
        return True
    return isinstance(given, Iterable) and not hasattr(given, "__getitem__") and not in_memory(given)

"""The LightningDataModule that data of any kind shares; data of your own says only how to read itself."""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from lightning.pytorch import LightningDataModule

from kindling.console import report
from kindling.data.contents import Contents, contents_of, fingerprint_of
from kindling.data.examples import in_memory, labels_of, num_examples, unwrapped
from kindling.data.held_once import can_hold_once, hold_once
from kindling.data.loader import OrderedLoader
from kindling.data.order import balanced_weights
from kindling.data.splits import Splits
from kindling.errors import ConfigError, DataError, counted
from kindling.process.cores import cores_for_decoding, share_cores
from kindling.process.ranks import is_first_process
from kindling.ranges import NotNegativeInt, PositiveInt, Seed
from kindling.stages import STAGES, Stage

log = logging.getLogger(__name__)


class DataModule(LightningDataModule):
    """Data of any kind; subclass it and write `read` to bring your own.

    A split is a tuple of tensors of one length, tensors by name, or a data set with __getitem__ and __len__. In a
    subclass `facts` says what a checkpoint must know of the data, and `augment`, as a method or an attribute, takes a
    training batch on the device and a torch.Generator on it, and returns the batch changed; `collate_fn`, likewise,
    puts a list of examples of a data set together.

    Args:
        batch_size: examples a step, which the processes of a run share.
        num_workers: processes that read a data set; unused for tensors.
        seed: of the order and of everything random.
        fold: of cross-validation: train and val together are cut into `num_folds` parts, of each class alike, and
            this one is val. Statistics that `read` finds are those of its own training split.
        num_folds: see fold.
        balanced_sampling: draws each class equally often in training, with repetition.
        prefetch_factor: batches that each worker reads ahead; None for torch's default.
        pin_memory: read into memory that a GPU copies from while it computes; "auto": if there is a GPU.
        persistent_workers: keep them from epoch to epoch.
    """

    # What a model that is evaluated knows of its data: a checkpoint's facts.
    known: Mapping[str, Any] = {}
    # Splits that the data does not have itself, cut from train.
    cut: Collection[Stage] = ()
    # Whether batch_size is that of each process, as when an older run began.
    batch_size_is_per_process = False
    # Classes that need neither leave them at that.
    augment: Callable[..., Any] | None = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    _is_described = is_held_once = False

    def __init__(
        self,
        *,
        batch_size: PositiveInt,
        num_workers: NotNegativeInt | Literal["auto"],
        seed: Seed,
        # Older checkpoints lack these, hence the defaults.
        fold: NotNegativeInt | None = None,
        num_folds: Annotated[int, Ge(2)] = 5,
        balanced_sampling: bool = False,
        prefetch_factor: PositiveInt | None = None,
        pin_memory: bool | Literal["auto"] = "auto",
        persistent_workers: bool = True,
    ):
        super().__init__()
        self.batch_size = batch_size
        self._has_workers_by_cores = num_workers == "auto"
        self.num_workers = cores_for_decoding(1) if num_workers == "auto" else num_workers
        self.seed = seed
        self.fold, self.num_folds = fold, num_folds
        self.balanced_sampling = balanced_sampling
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.persistent_workers = persistent_workers

    def read(self) -> Any:
        """The splits "train", "val" and "test"; called once in each process, after `prepare_data`.

        A split that is missing or None is left out. The processes of a machine share the memory of tensors in which
        they have read the same, so keep no tensor of a split elsewhere.
        """
        raise NotImplementedError

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a checkpoint must know of the data, beyond the config: names, statistics, a vocabulary."""
        return {}

    @cached_property
    def splits(self) -> Any:
        """What `read` returns, cut anew if there are folds."""
        return self._read_splits()

    def _read_splits(self) -> Any:
        splits = self.read()
        if isinstance(splits, Mapping):
            unknown = sorted(set(splits) - set(STAGES))
            if unknown or "train" not in splits:
                raise DataError(
                    f"data: given splits named {list(splits)} by {type(self).__name__}.read; allowed: train, val, test"
                )
            splits = Splits(*(unwrapped(splits.get(name)) for name in STAGES))
        return splits if self.fold is None or splits.train is None else splits.of_fold(self.fold, self.num_folds)

    def present(self) -> dict[Stage, Any]:
        """The splits that are there, by name."""
        found: dict[Stage, Any] = {name: getattr(self.splits, name) for name in STAGES}
        return {name: examples for name, examples in found.items() if examples is not None}

    def setup(self, stage: str) -> None:
        """Check the splits and give this process its share of the cores."""
        splits = self.present()
        for name, examples in splits.items():
            self.check(name, examples)
        self.describe()
        num_processes = self.trainer.num_devices if self.trainer else 1
        decoding = any(self.is_read_one_by_one(examples) for examples in splits.values())
        share_cores(decoding=decoding, num_processes=num_processes)
        if self._has_workers_by_cores:
            self.num_workers = cores_for_decoding(num_processes)
        if self.balanced_sampling:
            self._labels(splits["train"])
        if not self.is_held_once and can_hold_once(self.trainer):
            self.is_held_once = True
            hold_once(self)
        for name in ("val", "test"):
            if self.trainer and name not in splits:
                # By this Lightning knows that there is nothing.
                setattr(self.trainer, f"limit_{name}_batches", 0)

    def describe(self) -> None:
        """Say once what it holds; before an evaluation puts examples of several splits into one."""
        if not self._is_described and is_first_process():
            self._is_described = True
            for line in self.described():
                report("%s", line)

    def described(self) -> list[str]:
        """What is said of it, a line each."""
        counts = []
        for name, examples in self.present().items():
            # Loaders and streams do not say.
            with suppress(DataError):
                counts.append(f"{num_examples(examples)} {name}")
        return [f"data: {', '.join(counts)} examples"] if counts else []

    def check(self, name: Stage, examples: Any) -> None:
        """
        Raises:
            DataError: the split is empty, or so small that a process would have none of it.
        """
        num, num_processes = num_examples(examples), self.trainer.world_size if self.trainer else 1
        if num == 0:
            raise DataError(f"data: the {name} split is empty; allowed: at least one example; add some")
        if num < num_processes and (name == "train" or not self._module_has("can_count_none")):
            raise DataError(
                f"data: the {name} split has {counted(num, 'example')} for {num_processes} processes; allowed: one for "
                "each; add examples, or lower trainer.devices"
            )

    def is_read_one_by_one(self, examples: Any) -> bool:
        """Whether workers have something to do."""
        return not in_memory(examples)

    @cached_property
    def fingerprint(self) -> str | None:
        """A hash of all splits; None if a data set has no `fingerprint` of its own."""
        return fingerprint_of(self.present())

    def contents(self, examples: Any) -> Contents | None:
        """A hash of each example of a split; None if they cannot be told apart without reading each."""
        return contents_of(examples)

    def train_dataloader(self) -> Any:
        # Overfitting takes the same examples each epoch, as they are.
        if getattr(self.trainer, "overfit_batches", 0):
            return self.loader("train", train=True)
        return self.loader("train", train=True, shuffle=True, **self.changes())

    def changes(self) -> dict[str, Any]:
        """What is done to training examples alone."""
        return {"augment": self.augment}

    def val_dataloader(self) -> Any:
        return self.loader("val", repeats=self._module_has("leaves_out_repeated"))

    def test_dataloader(self) -> Any:
        return self.loader("test", repeats=self._module_has("leaves_out_repeated"))

    def _module_has(self, ability: str) -> bool:
        return bool(getattr(getattr(self.trainer, "lightning_module", None), ability, False))

    def loader(self, split: Stage, *, train: bool = False, shuffle: bool = False, **changes: Any) -> Any:
        """The loader of a split; no loaders if the split is not there."""
        examples = getattr(self.splits, split)
        if examples is None:
            return []
        return self.make_loader(
            examples,
            batch_size=self.own_batch_size,
            seed=self.seed,
            train=train,
            shuffle=shuffle,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor,
            pin_memory=self.pin_memory,
            persistent_workers=self.persistent_workers,
            device=self.trainer.strategy.root_device if self.trainer else torch.device("cpu"),
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            **({"weights": balanced_weights(self._labels(examples))} if shuffle and self.balanced_sampling else {}),
            **changes,
        )

    @property
    def shares_batches(self) -> bool:
        """Whether any number of processes trains on the same batches."""
        return not self.batch_size_is_per_process

    @property
    def own_batch_size(self) -> int:
        """What this process takes of the batch of a step.

        Raises:
            ConfigError: the processes cannot share it.
        """
        processes = self.trainer.world_size if self.trainer and not self.batch_size_is_per_process else 1
        if self.batch_size % processes:
            raise ConfigError(
                f"data.batch_size: given {self.batch_size}; allowed: a multiple of {processes}, as {processes} "
                "processes share the batch of a step"
            )
        return self.batch_size // processes

    def make_loader(self, examples: Any, **settings: Any) -> OrderedLoader:
        return OrderedLoader(examples, collate_fn=self.collate_fn, **settings)

    def _labels(self, examples: Any) -> torch.Tensor:
        labels = labels_of(examples)
        if labels is None:
            raise ConfigError(
                f"data.balanced_sampling: given true for {type(self).__name__}, whose examples have not one label "
                "each; allowed: with whole numbers from 0 on, as the last of the tensors or as `labels` or `targets`"
            )
        return labels

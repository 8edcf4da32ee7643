"""Batches of any data whose order and augmentation depend on (seed, epoch, position) alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torch.utils.data import default_collate

from kindling.data.examples import in_memory, num_examples, select, unwrapped
from kindling.data.order import EpochOrder, evaluation_batches, repeated_batches, training_batches
from kindling.data.seeds import mix_seeds
from kindling.data.workers import Workers
from kindling.errors import DataError, one_line


class OrderedLoader:
    """Batches on the device, bit-identical for any number of workers.

    Tensors lie on the device and cost one gather a batch; a data set is read one by one, each example with generators
    of Python, numpy and torch that are seeded for its position. Training leaves out the last uneven batch; evaluation
    shows each example once, whatever the number of processes.

    Args:
        examples: tensors of one length, in a tuple or by name; or a data set with __getitem__ and __len__.
        batch_size: examples a step and process.
        seed: of the order and of everything random.
        train: whether the last uneven batch is left out.
        shuffle: a new order each epoch.
        weights: (N,), by which examples are drawn, with repetition.
        augment: takes a batch on the device and a generator on it, and returns it changed; targets too, if it likes.
        collate_fn: puts a list of examples together.
        num_workers: processes that read a data set; tensors need none.
        prefetch_factor: batches that each worker reads ahead; None for torch's default.
        pin_memory: read into memory that a GPU copies from while it computes; "auto": if there is a GPU.
        persistent_workers: keep them from epoch to epoch.
        device: of the batches; None for the CPU.
        rank: of this process.
        world_size: number of processes, each of which gets a share.
        repeats: let each process evaluate as many batches; those beyond `num_own` are of examples shown already.
    """

    def __init__(
        self,
        examples: Any,
        *,
        batch_size: int,
        seed: int = 0,
        train: bool = False,
        shuffle: bool = False,
        weights: Tensor | None = None,
        augment: Callable[..., Any] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        pin_memory: bool | Literal["auto"] = "auto",
        persistent_workers: bool = True,
        device: torch.device | None = None,
        rank: int = 0,
        world_size: int = 1,
        repeats: bool = False,
    ):
        self.device = device or torch.device("cpu")
        self.examples = self._held(unwrapped(examples))
        self.batch_size = batch_size
        self.order = EpochOrder(num_examples(self.examples), seed, shuffle, weights)
        # Lightning sets the epoch of batch_sampler.sampler.
        self.batch_sampler = self.order
        # Batches of the current epoch, for a resumption.
        self.batches_done = 0
        self.train = train
        self.augment: Any = augment
        self.rank, self.world_size = rank, world_size
        self.repeats = repeats
        self._workers = Workers(
            self._read_one_by_one(),
            collate_fn or put_together,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor,
            pin_memory=self.device.type == "cuda" if pin_memory == "auto" else pin_memory,
            persistent_workers=persistent_workers,
        )

    @property
    def dataset(self) -> Any:
        """By this name others find what a loader reads."""
        return self.examples

    def __len__(self) -> int:
        return len(self._slices())

    def __iter__(self) -> Iterator[Any]:
        self.batches_done, self.order.first_batch = self.order.first_batch, 0
        for batch in self._batches(self._slices()[self.batches_done :]):
            self.batches_done += 1
            yield batch

    @property
    def num_own(self) -> int:
        """The batches of an epoch whose examples no process shows but this one."""
        return len(self._own_slices())

    def _slices(self) -> list[slice]:
        """Each batch of an epoch, as a slice of this process's share."""
        own, shares = self._own_slices(), (self.batch_size, self.rank, self.world_size)
        return own + repeated_batches(self.order.num_examples, *shares) if self.repeats and not self.train else own

    def _own_slices(self) -> list[slice]:
        total = self.order.num_examples
        if self.train:
            return training_batches(total, self.batch_size, self.world_size)
        return evaluation_batches(total, self.batch_size, self.rank, self.world_size)

    def _batches(self, slices: Sequence[slice]) -> Iterator[Any]:
        indices, generator = self.order.draw()
        indices, seeds = self._share(indices, self.order.draw_seeds(generator))
        for number, batch in enumerate(self._read(indices, seeds, slices), self.batches_done):
            yield self.augment(batch, self._generator(number)) if self.augment else batch

    def _share(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """This process's part of what is drawn for all positions (N, ...)."""
        # Where there are fewer than processes, it may repeat one.
        first = self.rank % max(1, self.order.num_examples)
        return tuple(part[first :: self.world_size] for part in parts)

    def _read(self, indices: Tensor, seeds: Tensor, slices: Sequence[slice]) -> Iterator[Any]:
        """The batch of each slice, on the device, as it is."""
        if in_memory(self.examples):
            # Sent once an epoch, not batch by batch.
            indices = self._send(indices)
            return (select(self.examples, indices[part]) for part in slices)
        batches = self._workers.read((indices[part], seeds[part]) for part in slices)
        return (self._send(batch) for batch in batches)

    def _generator(self, batch: int) -> torch.Generator:
        seed = mix_seeds(self.order.seed, self.order.epoch, batch, self.rank)
        return torch.Generator(self.device).manual_seed(seed)

    def _held(self, examples: Any) -> Any:
        """Where they are to be while the loader lives."""
        return self._send(examples) if in_memory(examples) else examples

    def _read_one_by_one(self) -> Any:
        """What workers read."""
        return self.examples

    def _send(self, batch: Any) -> Any:
        """On the device; a GPU may still be busy with it."""
        return move_data_to_device(batch, self.device)

    @property
    def _iterator(self) -> Any:
        """By this name Lightning ends the workers of a DataLoader."""
        return self._workers.iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._workers.iterator = iterator

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.order.epoch, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on exactly there: in that epoch, after that many batches."""
        self.order.epoch, self.order.first_batch = state["epoch"], state["batches_done"]


def put_together(examples: list[Any]) -> Any:
    """A batch, by torch's default.

    Raises:
        DataError: they are of different shapes, or of a kind that torch knows nothing of.
    """
    try:
        return default_collate(examples)
    except (RuntimeError, TypeError) as error:
        raise DataError(
            f"data: given examples that cannot be put together ({one_line(error)}); allowed: tensors of one shape, "
            "numbers and texts; pad them, or write a collate_fn: data.collate_fn of data=plain"
        ) from error

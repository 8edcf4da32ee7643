"""Examples that are read one by one, by worker processes or by this one, with the same bits for any number of them."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._C import _remove_worker_pids
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from kindling.data import shared_memory
from kindling.data.seeds import generators_kept, seed_all
from kindling.errors import Interrupted, KindlingError
from kindling.process.parent import die_with
from kindling.process.signals import ENDING

# Until a worker that was asked to end is killed.
PATIENCE_S = 0.5


class Workers:
    """Batches of a data set, each example read with generators that are seeded for it.

    Args:
        dataset: gives an example by its index.
        collate: puts a list of examples together.
        num_workers: processes that read; 0 for this one.
        prefetch_factor: batches that each of them reads ahead; None for torch's default.
        pin_memory: read into memory that a GPU copies from while it computes.
        persistent_workers: keep them from epoch to epoch.
    """

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list[Any]], Any],
        *,
        num_workers: int,
        prefetch_factor: int | None,
        pin_memory: bool,
        persistent_workers: bool,
    ):
        # What they read, set as an epoch starts.
        self._batches: list[list[tuple[int, int]]] = []
        self._loader = DataLoader(
            _Seeded(dataset, collate),
            batch_sampler=self._batches,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            prefetch_factor=prefetch_factor if num_workers else None,
            persistent_workers=persistent_workers and num_workers > 0,
            worker_init_fn=partial(_belong_to_parent, os.getpid()),
            # Else dropout would depend on the number of workers.
            generator=torch.Generator(),
            pin_memory=pin_memory,
        )

    def read(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Any]:
        """The batch of each pair of indices (B,) and seeds (B,), on the CPU.

        Raises:
            KindlingError: an example cannot be read, a worker has died, or there is too little shared memory.
        """
        self._batches[:] = [list(zip(indices.tolist(), seeds.tolist(), strict=True)) for indices, seeds in batches]
        # Pinning empties it at once.
        space = shared_memory.space() if self._loader.num_workers and not self._loader.pin_memory else None
        self.iterator = iter(self._loader)
        try:
            for number, batch in enumerate(self.iterator):
                if isinstance(batch, KindlingError):
                    raise batch
                if space and not number:
                    self._refuse_too_little_shared_memory(batch, space[1])
                yield batch
        except Interrupted:
            self._end_at_once()
            raise
        except Exception as error:
            # Garbage collection would wait 5 s for the workers.
            if isinstance(self.iterator, _MultiProcessingDataLoaderIter):
                self.iterator._shutdown_workers()
            self.iterator = None
            lost = shared_memory.remedy(error)
            if lost:
                raise KindlingError(lost) from error
            raise

    def _end_at_once(self) -> None:
        """A worker may hang, for which a loader would wait 5 s, and its process for ever."""
        iterator = self.iterator
        if not isinstance(iterator, _MultiProcessingDataLoaderIter):
            return
        for worker in iterator._workers:
            worker.terminate()
        if iterator._worker_pids_set:
            # Else torch takes their end for an error.
            _remove_worker_pids(id(iterator))
            iterator._worker_pids_set = False
        for worker in iterator._workers:
            worker.join(timeout=PATIENCE_S)
            worker.kill()

    def _refuse_too_little_shared_memory(self, batch: Any, free: int) -> None:
        num_workers, each = self._loader.num_workers, self._loader.prefetch_factor or 0
        num_batches = min(len(self._batches), num_workers * each)
        shared_memory.refuse_too_little(batch, num_batches=num_batches, num_workers=num_workers, free=free)

    @property
    def iterator(self) -> Any:
        return self._loader._iterator

    @iterator.setter
    def iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator


class _Seeded(Dataset):
    """Batches by the indices and seeds of their examples; a mistake comes back as its error, so that it stays one line.

    The generators of this process are as they were when nobody reads in another one.
    """

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any]):
        self.dataset = dataset
        self.collate = collate

    def __getitems__(self, places: list[tuple[int, int]]) -> Any:
        with generators_kept():
            try:
                return self.collate([self._example(*place) for place in places])
            except KindlingError as error:
                return error

    def _example(self, index: int, seed: int) -> Any:
        seed_all(seed, torch.device("cpu"))
        return self.dataset[index]


def _as_it_is(batch: Any) -> Any:
    return batch


def _belong_to_parent(parent: int, worker: int) -> None:
    """End with the parent, or when it says so; signals to all processes of a run are for the parent alone."""
    shared_memory.answer_for_unsent_batches()
    for signum in ENDING:
        signal.signal(signum, signal.SIG_IGN)
    # MacOS lacks it, so any SIGTERM ends a worker.
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_on_sigterm_from, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with(parent)


def _end_on_sigterm_from(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)

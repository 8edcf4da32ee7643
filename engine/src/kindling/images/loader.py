"""Batches whose order and augmentation depend on (seed, epoch, position) alone."""

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from kindling.data.seeds import mix_seeds
from kindling.errors import KindlingError
from kindling.images.augment import FLIP_DRAW, NUM_DRAWS, Augment, Normalize
from kindling.images.images import NO_LABEL, ImageFiles, Images, ImageTensors
from kindling.images.transform import transformed
from kindling.process.parent import die_with
from kindling.process.signals import ENDING

# Images (B, C, H, W) and labels (B,).
Batch = tuple[Tensor, Tensor]


class EpochOrder:
    """A permutation, and each position's augmentation draws, as a function of (seed, epoch).

    With weights (N,) the images are drawn by them, with repetition.
    """

    def __init__(
        self, num_images: int, seed: int, shuffle: bool, alternating_flip: bool, weights: Tensor | None = None
    ):
        self.num_images = num_images
        self.weights = weights
        self.seed = seed
        self.shuffle = shuffle
        self.alternating_flip = alternating_flip
        self.epoch = 0
        # Where a resumed epoch goes on, otherwise 0.
        self.first_batch = 0
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch; a resumed epoch keeps its place."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Indices (N,), uniform draws (N, NUM_DRAWS) and seeds (N,) of the current epoch."""
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, self.epoch))
        if self.weights is not None:
            indices = torch.multinomial(self.weights, self.num_images, replacement=True, generator=generator)
        elif self.shuffle:
            indices = torch.randperm(self.num_images, generator=generator)
        else:
            indices = torch.arange(self.num_images)
        draws = torch.rand(self.num_images, NUM_DRAWS, generator=generator)
        if self.alternating_flip:
            draws[:, FLIP_DRAW] = self._alternating_draws()[indices]
        return indices, draws, torch.randint(2**31, (self.num_images,), generator=generator)

    def _alternating_draws(self) -> Tensor:
        """A draw (N,) for each image, which lies in the other half of [0, 1) in each following epoch."""
        # Three numbers, unlike the seed of any epoch.
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, 0, 1))
        first = torch.rand(self.num_images, generator=generator)
        # Subtracted, since adding could round.
        return (first - 0.5 * (self.epoch % 2)) % 1


class EpochLoader:
    """Normalised batches (B, C, H, W) float32 and labels (B,), on the device.

    Images in memory cost one gather a batch; files are decoded by worker processes. Both give bit-identical
    batches, for any number of workers. Training drops the last uneven batch; evaluation keeps it and, over several
    processes, pads with `NO_LABEL` so that each process has as many batches.
    """

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,
        normalize: Normalize,
        seed: int = 0,
        train: bool = False,
        shuffle: bool = False,
        balance: bool = False,
        augment: Augment | None = None,
        transform: nn.Module | None = None,
        num_workers: int = 0,
        device: torch.device | None = None,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.device = device or torch.device("cpu")
        if isinstance(images, ImageTensors):
            images = ImageTensors(images.images.to(self.device), images.labels)
        self.images = images
        self.batch_size = batch_size
        self.normalize = normalize.to(self.device)
        alternating_flip = augment is not None and augment.alternating_flip
        weights = 1 / images.labels.bincount()[images.labels] if balance else None
        self.order = EpochOrder(len(images), seed, shuffle, alternating_flip, weights)
        # Lightning sets the epoch of batch_sampler.sampler.
        self.batch_sampler = self.order
        # Batches of the current epoch, for a resumption.
        self.batches_done = 0
        self.train = train
        self.augment = augment
        self.transform = transform
        self.rank, self.world_size = rank, world_size

        # What the workers decode, set as an epoch starts.
        self._batches: list[list[tuple[int, int]]] = []
        self._decoder = DataLoader(
            _Decoded(images, transform),
            batch_sampler=self._batches,
            num_workers=num_workers,
            collate_fn=_stack,
            persistent_workers=num_workers > 0,
            worker_init_fn=partial(_belong_to_parent, os.getpid()),
            # Else dropout would depend on the number of workers.
            generator=torch.Generator(),
            pin_memory=self.device.type == "cuda",
        )

    def __len__(self) -> int:
        images_here = len(self.images) // self.world_size if self.train else -(-len(self.images) // self.world_size)
        whole, rest = divmod(images_here, self.batch_size)
        return whole + bool(rest and (not self.train or whole == 0))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        indices, draws, seeds = (part[self.rank :: self.world_size] for part in self.order.draw())
        labels = self.images.labels[indices]
        # This process's share is one image short.
        if not self.train and len(indices) * self.world_size < len(self.images):
            indices, draws, seeds = (torch.cat([each, each[:1]]) for each in (indices, draws, seeds))
            labels = torch.cat([labels, torch.tensor([NO_LABEL])])

        size = self.batch_size
        self.batches_done, self.order.first_batch = self.order.first_batch, 0
        parts = [slice(i * size, (i + 1) * size) for i in range(self.batches_done, len(self))]
        labels, draws = self._send(labels), self._send(draws)
        # Sent once an epoch, not batch by batch.
        if isinstance(self.images, ImageTensors):
            indices = self._send(indices)

        batches = [(indices[part], seeds[part]) for part in parts]
        for part, images in zip(parts, self._read(batches), strict=True):
            if self.augment:
                images = self.augment(images, draws[part])
            self.batches_done += 1
            yield self.normalize(images), labels[part]

    def _read(self, batches: list[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Images of each batch of indices and seeds."""
        if isinstance(self.images, ImageFiles):
            return self._decode(batches)
        pixels = self.images.images
        # Ten times quicker than indexing with [].
        gathered = (pixels.index_select(0, indices) for indices, _ in batches)
        if self.transform is None:
            return gathered
        return (self._transform(images, seeds) for images, (_, seeds) in zip(gathered, batches, strict=True))

    def _transform(self, images: Tensor, seeds: Tensor) -> Tensor:
        assert self.transform
        each = [transformed(self.transform, *pair) for pair in zip(images, seeds.tolist(), strict=True)]
        return torch.stack(each)

    def _decode(self, batches: list[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        self._batches[:] = [list(zip(indices.tolist(), seeds.tolist(), strict=True)) for indices, seeds in batches]
        for images in self._decoder:
            if isinstance(images, KindlingError):
                # Garbage collection would wait 5 s for the workers.
                if self._iterator:
                    self._iterator._shutdown_workers()
                raise images
            yield self._send(images)

    @property
    def _iterator(self) -> Any:
        """By this name Lightning ends the workers of a DataLoader."""
        return self._decoder._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._decoder._iterator = iterator

    def _send(self, tensor: Tensor) -> Tensor:
        """On the device; a GPU may still be busy with it."""
        return tensor.to(self.device, non_blocking=self.device.type == "cuda")

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.order.epoch, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on exactly there: in that epoch, after that many batches."""
        self.order.epoch, self.order.first_batch = state["epoch"], state["batches_done"]


def _belong_to_parent(parent: int, worker: int) -> None:
    """End with the parent, or when it says so; signals to all processes of a run are for the parent alone."""
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


class _Decoded(Dataset):
    """Images by index and seed; a damaged file comes back as its error, so that the message stays one line."""

    def __init__(self, images: Images, transform: nn.Module | None):
        self.images = images
        self.transform = transform

    def __getitem__(self, place: tuple[int, int]) -> Tensor | KindlingError:
        index, seed = place
        try:
            image = self.images[index]
            return image if self.transform is None else transformed(self.transform, image, seed)
        except KindlingError as error:
            return error


def _stack(items: list[Tensor | KindlingError]) -> Tensor | KindlingError:
    errors = [item for item in items if isinstance(item, KindlingError)]
    return errors[0] if errors else torch.stack([item for item in items if isinstance(item, Tensor)])

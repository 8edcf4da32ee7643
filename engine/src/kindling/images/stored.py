"""All files of a split decoded once: kept on disk or in memory, or for what is found in them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kindling.data.splits import SPLIT_SEED
from kindling.errors import DataError
from kindling.images.decoder import Decoder
from kindling.images.decoding import resized_size
from kindling.images.images import HALF_IN_MEMORY, ImageFiles, Images, joined
from kindling.images.looks import spread
from kindling.images.paths import as_paths
from kindling.images.store import HeldPictures, PictureStore, keys_of, refuse_too_little_space
from kindling.process.cores import available_cores

# Images that mean and std are taken from.
STATISTICS_SAMPLE = 4096
# Headers that are read to say how many bytes all pictures take.
SAMPLE = 64


@dataclass(frozen=True)
class StoredImages(ImageFiles):
    """Pictures whose shorter side is resized already; `places` (N,) int64 in the store."""

    store: PictureStore | HeldPictures
    places: Tensor

    def __getitem__(self, index: int) -> Tensor:  # (H, W, C)
        assert isinstance(self.decode, Decoder)
        return self.decode.cut(self.picture(index))

    def picture(self, index: int) -> Tensor:
        return self.store.picture(int(self.places[index]))

    def take(self, indices: Tensor) -> "StoredImages":
        kept = as_paths(self.paths).take(indices)
        return replace(self, paths=kept, labels=self.labels[indices], places=self.places[indices])

    def join(self, other: Images) -> "StoredImages":
        """The images of both.

        Raises:
            DataError: the others are kept otherwise.
        """
        if not isinstance(other, StoredImages) or type(self.store) is not type(other.store):
            raise DataError(HALF_IN_MEMORY)
        store, places = self.store, other.places
        if isinstance(store, HeldPictures) and isinstance(other.store, HeldPictures):
            places = places + len(store.pictures)
            store = HeldPictures(map(torch.from_numpy, [*store.pictures, *other.store.pictures]))
        labels, places = torch.cat([self.labels, other.labels]), torch.cat([self.places, places])
        return replace(self, paths=joined(self.paths, other.paths), labels=labels, places=places, store=store)


def stored(files: ImageFiles, decoder: Decoder, store: PictureStore, kept: Literal["memory", "disk"]) -> StoredImages:
    """The same pictures, from the store, which is given those that it lacks.

    Raises:
        DataError: a file cannot be read, or the disk has too little space.
    """
    keys = keys_of(files.paths)
    places = store.places_of(keys)
    missing = as_paths(files.paths).take((places < 0).nonzero().flatten())
    try:
        if len(missing):
            if kept == "disk":
                refuse_too_little_space(store.file.parent, len(missing), num_bytes(decoder, missing))
            store.add(keys, files.paths, decoder.stored)
            places = store.places_of(keys)
        decoder.noted = store.noted(places)
        # In memory or on disk it is pages of the file, which the processes of a machine have once.
        store.open()
    except OSError as error:
        if kept == "disk":
            raise DataError(
                f"data.cache: given disk, and {store.file} cannot be written ({error.strerror}); it stays; "
                "make space and repeat the command, set paths.cache to another disk, or data.cache=none"
            ) from error
        # A cache that cannot be written only costs time.
        made = [decoder.stored(path) for path in files.paths]
        decoder.noted = torch.tensor([noted for _, noted in made], dtype=torch.uint8)
        held = HeldPictures(picture for picture, _ in made)
        return StoredImages(files.paths, files.labels, decoder, held, torch.arange(len(files)))
    return StoredImages(files.paths, files.labels, decoder, store, places)


def num_bytes(decoder: Decoder, paths: Sequence[Path]) -> int:
    """Of all pictures, by the headers of some."""
    each = []
    for path in spread(paths, SAMPLE):
        with decoder.decoding.header(path, str(path)) as image:
            each.append(np.prod(resized_size(*image.size, decoder.cut.resize)) * decoder.decoding.channels)
    return int(np.mean(each) * len(paths))


def decode_all(files: ImageFiles) -> Tensor:
    """All images as one (N, H, W, C) uint8 tensor; PIL decodes outside Python's lock, so threads help."""
    first = files[0]
    images = torch.empty((len(files), *first.shape), dtype=torch.uint8)

    def place(index: int) -> None:
        images[index] = files[index]

    with ThreadPoolExecutor(available_cores()) as pool:
        for _ in pool.map(place, range(len(files))):
            pass
    return images


def statistics(images: Images) -> Tensor:
    """Mean and std of the training pixels in [0, 1]: (2, C) float64, from at most STATISTICS_SAMPLE images."""
    picked = torch.randperm(len(images), generator=torch.Generator().manual_seed(SPLIT_SEED))[:STATISTICS_SAMPLE]
    # How many pixels have each of the 256 values: the pixels as numbers would take gigabytes.
    counts = torch.stack([counts_of(images[i]) for i in picked.tolist()]).sum(0)  # (C, 256)
    shares = counts.double() / counts[0].sum()
    values = torch.arange(256).double() / 255
    mean = shares @ values
    std = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
    return torch.stack([mean, std.clamp_min(1e-3)])


def counts_of(image: Tensor) -> Tensor:
    """(H, W, C) uint8 -> (C, 256) int64"""
    return torch.stack([channel.flatten().bincount(minlength=256) for channel in image.unbind(-1)])

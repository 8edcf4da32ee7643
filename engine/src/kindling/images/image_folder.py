"""Any class-per-folder tree of images, held in memory if it is small, else decoded by workers."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kindling.console import warn
from kindling.data.contents import Contents, of_files
from kindling.data.splits import SPLIT_SEED, hold_out
from kindling.errors import DataError
from kindling.files.whole_file import write_whole
from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.decoder import Decoder
from kindling.images.folder import class_folders, class_names, list_images, names_in, split_folders
from kindling.images.images import ImageFiles, Images, ImageTensors, file_states
from kindling.images.listing import LeftOut, nearly_same, shortened
from kindling.images.looks import looks_of
from kindling.images.wrong_root import all_hold
from kindling.process.cores import available_cores
from kindling.ranges import Fraction
from kindling.stages import STAGES

# Bytes up to which in_memory=auto keeps decoded pixels.
IN_MEMORY_LIMIT = 2 * 2**30
# Images that mean and std are taken from.
STATISTICS_SAMPLE = 4096


class ImageFolder(ImageDataModule):
    """A tree with one folder a class, with or without train/, val/ and test/ above them.

    A split that the tree lacks is cut from train, of each class the same share, independent of the seed.

    Args:
        root: of the tree.
        val_fraction: share of each class cut from train for validation.
        test_fraction: share of each class cut from train for test.
        cache_dir: keeps decoded pixels and statistics between runs.
    """

    def __init__(self, *, root: str, val_fraction: Fraction, test_fraction: Fraction, cache_dir: str, **settings: Any):
        super().__init__(**settings)
        self.root = Path(root).expanduser()
        self.fractions = {"val": val_fraction, "test": test_fraction}
        self.cache_dir = Path(cache_dir).expanduser()
        self._decoders: list[Decoder] = []

    def prepare_data(self) -> None:
        # One process decodes, the others find the cache.
        _ = self.splits

    def read(self) -> Splits:
        is_evaluated = "classes" in self.known
        listed, classes = self.listing(is_evaluated=is_evaluated)
        self.cut = [split for split in ("test", "val") if "train" in listed and split not in listed]
        for split in self.cut:
            labels = torch.tensor([label for _, label in listed["train"]])
            kept, held = hold_out(labels, self.fractions[split])
            listed[split] = [listed["train"][i] for i in held.tolist()]
            listed["train"] = [listed["train"][i] for i in kept.tolist()]
        empty = [split for split, images in listed.items() if not images]
        if empty and not is_evaluated:
            raise DataError(f"data.root: given {self.root}, too few images for a {empty[0]} split; add images")

        self.training_files = [path for path, _ in listed.get("train", [])]
        splits: dict[str, Any] = {split: self._images(listed[split]) if listed.get(split) else None for split in STAGES}
        if splits["train"] is not None and (self.mean is None or self.std is None):
            self.mean, self.std = self._statistics(splits["train"], listed["train"])
        return Splits(**splits, classes=tuple(classes))

    def listing(self, *, is_evaluated: bool) -> tuple[dict[str, list[tuple[Path, int]]], list[str]]:
        """The images of each split that is there with their labels, and the names of the classes."""
        version, self.left_out = self.decoding.version, LeftOut()
        folders = split_folders(self.root, version, self.left_out, without_train=is_evaluated)
        classes = names_in(*folders.values(), version=version) if is_evaluated else class_names(self.root, version)
        listed = {
            split: list_images(folder, classes, version, self.left_out, may_be_empty=is_evaluated)
            for split, folder in folders.items()
        }
        return listed, classes

    def described(self) -> list[str]:
        lines, more = super().described(), []
        if self.decoding.version > 1:
            # What is guessed from them is refused before.
            with suppress(DataError):
                more.append(looks_of(self.root, max_pixels=self.decoding.max_pixels).words())
                if inner := all_hold(class_folders(self.root)):
                    warn(
                        f"data.root: given {self.root}, whose class folders all hold the same folders, "
                        f"{shortened(inner)}; usual: images; if those are the classes, put the images of each into one "
                        "folder"
                    )
            if words := self.left_out.words():
                more.append(f"left out: {words}")
        if alike := nearly_same(self.splits.classes):
            warn(
                f"data: classes whose names differ in case or blanks alone: {shortened(alike)}; usual: one folder each"
            )
        if unreadable := sorted(self.left_out.unreadable):
            warn(f"data: {len(unreadable)} left out that cannot be read: {shortened(unreadable)}")
        return [*lines, f"data: {'; '.join(more)}"] if more else lines

    def teardown(self, stage: str) -> None:
        super().teardown(stage)
        for decoder in self._decoders:
            decoder.say()
            decoder.noted.zero_()

    def _images(self, listed: list[tuple[Path, int]]) -> Images:
        labels = torch.tensor([label for _, label in listed])
        num_bytes = len(labels) * self.image_size**2 * self.channels
        is_held = self.in_memory is True or (self.in_memory == "auto" and num_bytes <= IN_MEMORY_LIMIT)
        paths = [path for path, _ in listed]
        decoder = Decoder(self.decoding, paths, clip=not is_held)
        files = ImageFiles(paths, labels, decoder)
        if not is_held:
            self._decoders.append(decoder)
            return files
        images = ImageTensors(self._cached(listed, "pixels", lambda: decode_all(files)), labels, paths)
        decoder.noted = self._cached(listed, "noted", lambda: decoder.noted)
        decoder.say()
        return images

    def contents(self, examples: Any) -> Contents | None:
        if examples.paths is None:
            return super().contents(examples)
        listed = [(path, 0) for path in examples.paths]
        return Contents("files", self._cached(listed, "contents", lambda: of_files(examples.paths)))

    def _statistics(self, images: Images, listed: list[tuple[Path, int]]) -> tuple[list[float], list[float]]:
        mean_std = self._cached(listed, "statistics", lambda: statistics(images))
        return mean_std[0].tolist(), mean_std[1].tolist()

    def _cached(self, listed: list[tuple[Path, int]], what: str, make: Callable[[], Tensor]) -> Tensor:
        """What `make` returns, read from the cache if the same files were seen before."""
        states = file_states([path for path, _ in listed])
        key = "".join(f"{path.absolute()} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}\n" for path, s in states)
        key += f"{self.image_size} {self.channels}"
        if self.decoding.version > 1:
            key += f" {self.decoding.version} {self.decoding.white} {list(self.decoding.background)}"
        digest = hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        file = self.cache_dir / f"{digest}-{what}.npy"
        try:
            return torch.from_numpy(np.load(file, allow_pickle=False))
        except Exception:
            # NumPy has many errors for a missing or damaged file.
            made = make()

        # A cache that cannot be written only costs time.
        with suppress(OSError):
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            with write_whole(file, "wb") as stream:
                np.save(stream, made.numpy())
        return made


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
    pixels = torch.stack([images[i] for i in picked.tolist()]).flatten(0, 2).double() / 255  # (pixels, C)
    return torch.stack([pixels.mean(0), pixels.std(0, correction=0).clamp_min(1e-3)])

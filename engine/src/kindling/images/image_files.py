"""What all sets whose images are files share: held in memory if they are few, else decoded by workers."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from kindling.config.crops import FORMER_CACHES
from kindling.console import warn
from kindling.data.contents import Contents, of_files
from kindling.errors import ConfigError, DataError
from kindling.files.whole_file import write_whole
from kindling.images.damage import damage_of, damaged
from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.decoder import Decoder
from kindling.images.decoding import OF_WHOLE_PICTURES, Interpolation
from kindling.images.images import ImageFiles, Images, ImageTensors
from kindling.images.listing import SHOWN, Faulty, shortened
from kindling.images.loader import EpochLoader
from kindling.images.paths import LabelledPaths, Paths, as_paths
from kindling.images.pictures import Cut
from kindling.images.store import PictureStore
from kindling.images.stored import decode_all, statistics, stored
from kindling.images.transform import split_crop
from kindling.ranges import PositiveInt
from kindling.stages import STAGES

# Bytes up to which cache=auto keeps decoded pixels.
IN_MEMORY_LIMIT = 2 * 2**30
# By which evaluation resizes beyond what it cuts, if training sees random parts: 256 to 224 (arXiv 1409.4842).
MARGIN = 8 / 7
# Width to height of most photographs.
USUAL_RATIO = 4 / 3
Cache = Literal["auto", "memory", "disk", "none"]


class ImageFilesModule(ImageDataModule):
    """Images that are files, seen whole: evaluation resizes the shorter side and cuts the centre.

    Training cuts likewise, or at random if its transform begins with torchvision's `RandomResizedCrop`.

    Args:
        root: below which the files are.
        cache_dir: keeps decoded pixels and statistics between runs.
        resize: the shorter side in evaluation, before the centre is cut; None for `crop`, or 8/7 of it if training
            crops are random.
        crop: height and width in evaluation; None for `image_size`, which is that of training.
        interpolation: of all resizing.
        cache: where decoded pixels are kept: in "memory" or on "disk", where random crops are cut from pictures whose
            shorter side is `resize`; or "none". "auto": in memory up to IN_MEMORY_LIMIT.
        in_memory: its older name.
        faulty: whether damaged files are refused or left out.
        settings: those of ImageDataModule.
    """

    def __init__(
        self,
        *,
        root: str,
        cache_dir: str,
        # Older checkpoints lack these, hence the defaults.
        resize: PositiveInt | None = None,
        crop: PositiveInt | None = None,
        interpolation: Interpolation = "bilinear",
        cache: Cache = "auto",
        in_memory: bool | Literal["auto"] | None = None,
        faulty: Faulty = "refuse",
        **settings: Any,
    ):
        self.cache: Cache = cache if in_memory is None else FORMER_CACHES[in_memory]  # pyright: ignore[reportAttributeAccessIssue]
        super().__init__(in_memory={"auto": "auto", "memory": True}.get(self.cache, False), **settings)
        self.root = Path(root).expanduser()
        self.cache_dir = Path(cache_dir).expanduser()
        self._decoders: list[Decoder] = []
        # What is left out, as a message says it.
        self.unread: list[str] = []
        self.faulty: Faulty = faulty
        self._is_resized = resize is not None
        if self.decoding.version < OF_WHOLE_PICTURES:
            if self.cache == "disk":
                raise ConfigError(
                    f"data.cache: given disk with data.decoding={self.decoding.version}; allowed: auto, memory or none"
                )
            return
        size = crop or self.image_size
        self.resize = resize or (round(size * MARGIN) if self.random_crop else size)
        self.decoding = replace(self.decoding, image_size=size, resize=self.resize, interpolation=interpolation)
        given: Any = self.random_crop and self.random_crop.size
        if given and tuple(given) != (self.image_size, self.image_size):
            raise ConfigError(
                f"data.transform: given RandomResizedCrop of size {tuple(given)}; allowed: {self.image_size}, "
                "data.image_size"
            )

    @property
    def random_crop(self) -> v2.RandomResizedCrop | None:
        """What training cuts from whole pictures, if its transform begins so."""
        return split_crop(self.transform)[0] if self.decoding.version >= OF_WHOLE_PICTURES else None

    @property
    def is_whole(self) -> bool:
        """Whether training and evaluation may see different parts of the same pictures."""
        is_other = self._is_resized or self.random_crop or self.image_size != self.decoding.image_size
        return self.decoding.version >= OF_WHOLE_PICTURES and bool(is_other)

    def prepare_data(self) -> None:
        # One process decodes, the others find the cache.
        _ = self.splits

    def undamaged(self, listed: LabelledPaths) -> LabelledPaths:
        """Those whose files can be read.

        Raises:
            DataError: there are others, and they are refused.
        """
        decoder = Decoder(self.decoding, listed.paths, clip=True)
        places = self._cached(listed.paths, "damaged", lambda: damaged(listed.paths, decoder))
        if not len(places):
            return listed
        few = [listed.paths[place] for place in places[: SHOWN + 1].tolist()]
        told = f"{len(places)} of {len(listed)} images cannot be read: {shortened([*map(str, few)])}"
        if self.faulty == "refuse":
            reason = damage_of(few[0], decoder)
            raise DataError(f"data: {told} ({reason}); replace or remove them, or leave them out with data.faulty=skip")
        warn(f"data: left out: {told}")
        self.unread.append(told)
        kept = torch.ones(len(listed), dtype=torch.bool)
        kept[places] = False
        return listed.take(kept.nonzero().flatten())

    def splits_of(self, listed: Mapping[str, LabelledPaths], classes: list[str]) -> Splits:
        """What `read` returns of the files of each split and their labels; statistics are found if there are none."""
        self.training_files = listed["train"].paths if "train" in listed else ()
        splits: dict[str, Any] = {split: self._images(listed[split]) if listed.get(split) else None for split in STAGES}
        if splits["train"] is not None and (self.mean is None or self.std is None):
            self.mean, self.std = self._statistics(splits["train"], listed["train"].paths)
        return Splits(**splits, classes=tuple(classes))

    @property
    def facts(self) -> Mapping[str, object]:
        # By a saved resize an evaluation, which is given no transform, knows that pictures are whole.
        if not self.is_whole:
            return super().facts
        return {**super().facts, "crop": self.decoding.image_size, "resize": self.resize}

    def described(self) -> list[str]:
        lines = super().described()
        if self.is_whole:
            seen = "random crops of whole pictures" if self.random_crop else "the centre"
            size = self.decoding.image_size
            lines += [
                f"data: training sees {seen} at {self.image_size} x {self.image_size}; evaluation the centre "
                f"{size} x {size} of pictures with a shorter side of {self.resize}"
            ]
        # Another set that is evaluated leaves most unused.
        if "_store" in vars(self) and not self.known and (words := self._store.unused_words()):
            lines.append(f"data: {words}")
        return lines

    def make_loader(self, examples: Images, **settings: Any) -> EpochLoader:
        if self.decoding.version < OF_WHOLE_PICTURES or isinstance(examples, ImageTensors):
            return super().make_loader(examples, **settings)
        size, resize, random = self.decoding.image_size, self.resize, None
        if settings.get("train"):
            size, resize = self.image_size, max(self.image_size, round(self.resize * self.image_size / size))
            random, settings["transform"] = split_crop(settings.get("transform"))
        cut = Cut(size, resize, self.decoding.interpolation, random)
        return super().make_loader(examples, cut=cut, **settings)

    def teardown(self, stage: str) -> None:
        super().teardown(stage)
        for decoder in self._decoders:
            decoder.say()
            decoder.noted.zero_()

    def contents(self, examples: Any) -> Contents | None:
        if examples.paths is None:
            return super().contents(examples)
        return Contents("files", self._cached(examples.paths, "contents", lambda: of_files(examples.paths)))

    def _images(self, listed: LabelledPaths) -> Images:
        paths, labels = listed.paths, listed.labels
        kept = self._kept(len(labels))
        decoder = Decoder(self.decoding, paths, clip=kept == "none")
        files = ImageFiles(paths, labels, decoder)
        if kept == "none":
            self._decoders.append(decoder)
            return files
        if self.is_whole or kept == "disk":
            images = stored(files, decoder, self._store, kept)
            decoder.say()
            return images
        pixels = self._cached(paths, "pixels", lambda: decode_all(files), mapped=True)
        images = ImageTensors(pixels, labels, paths)
        decoder.noted = self._cached(paths, "noted", lambda: decoder.noted)
        decoder.say()
        return images

    def _kept(self, num_images: int) -> Literal["memory", "disk", "none"]:
        """Where decoded pixels are; "auto" depends on the number of images alone, as crops of stored ones differ."""
        if self.cache != "auto":
            return self.cache
        num_pixels = self.decoding.image_size**2
        if self.is_whole:
            num_pixels = self.resize**2 * USUAL_RATIO
        return "memory" if num_images * num_pixels * self.channels <= IN_MEMORY_LIMIT else "none"

    @cached_property
    def _store(self) -> PictureStore:
        decoding = self.decoding
        made = [str(self.root.absolute()), self.channels, decoding.version, decoding.white, list(decoding.background)]
        digest = hashlib.blake2b(
            repr([*made, self.resize, decoding.interpolation]).encode(errors="surrogateescape"), digest_size=16
        )
        return PictureStore(self.cache_dir / f"{digest.hexdigest()}.pictures", self.channels)

    def _statistics(self, images: Images, paths: Paths) -> tuple[list[float], list[float]]:
        mean_std = self._cached(paths, "statistics", lambda: statistics(images))
        return mean_std[0].tolist(), mean_std[1].tolist()

    def _cached(self, paths: Sequence[Path], what: str, make: Callable[[], Tensor], *, mapped: bool = False) -> Tensor:
        """What `make` returns, read from the cache if the same files were seen before.

        Args:
            paths: of the files.
            what: it is, a part of the name in the cache.
            make: it, if it is not there.
            mapped: whether the processes of a machine hold it once, as pages of its file; a file that is removed or
                replaced stays as it was for who has it.
        """
        decoding = self.decoding
        key = f"{as_paths(paths).key().hex()} {decoding.image_size} {self.channels}"
        if decoding.version > 1:
            key += f" {decoding.version} {decoding.white} {list(decoding.background)}"
        if decoding.version >= OF_WHOLE_PICTURES:
            key += f" {decoding.resize} {decoding.interpolation}"
        digest = hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        file = self.cache_dir / f"{digest}-{what}.npy"

        def read() -> Tensor:
            # Writable, as torch asks for; what would be written stays in this process.
            return torch.from_numpy(np.load(file, mmap_mode="c" if mapped else None, allow_pickle=False))

        # NumPy has many errors for a missing or damaged file.
        with suppress(Exception):
            return read()
        made = make()

        # A cache that cannot be written only costs time.
        with suppress(OSError):
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            with write_whole(file, "wb") as stream:
                np.save(stream, made.numpy())
            return read() if mapped else made
        return made

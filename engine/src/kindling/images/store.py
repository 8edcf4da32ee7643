"""Decoded pictures on disk, each decoded once, which workers, processes and runs read from one file."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kindling.console import report, warn
from kindling.errors import DataError, counted
from kindling.images.paths import as_paths
from kindling.process.cores import available_cores

# Of each picture; its place is behind those before it.
RECORD = np.dtype([("key", "<u8", 2), ("height", "<u4"), ("width", "<u4"), ("noted", "u1")])
# Pictures that are decoded before they are written: what a kill may cost.
PART = 256
# The share of a file that is unused, above which it is told.
UNUSED = 0.1
# Bytes that are left to others.
RESERVE = 2**30


class PictureStore:
    """Pictures (H, W, C) uint8 in one file, which only grows, and an index of what is whole in it.

    Args:
        file: of the pictures; the index lies beside it.
        channels: of each.
    """

    def __init__(self, file: Path, channels: int):
        self.file, self.index, self.channels = file, file.with_suffix(".index"), channels
        self._records = np.zeros(0, RECORD)
        self._ends = np.zeros(1, np.int64)
        self._pixels: np.ndarray | None = None
        # Places that were asked for.
        self._asked: list[np.ndarray] = []

    def places_of(self, keys: np.ndarray) -> Tensor:
        """Where the pictures with keys (N, 2) are: (N,) int64, -1 for what is not there."""
        self._read_index()
        held = self._records["key"]
        order = np.argsort(held[:, 0], kind="stable")
        if not len(order):
            return torch.full((len(keys),), -1)
        found = order[np.searchsorted(held[order, 0], keys[:, 0]).clip(max=len(order) - 1)]
        places = np.where((held[found] == keys).all(1), found, -1)
        self._asked.append(places[places >= 0])
        return torch.from_numpy(places)

    def unused_words(self) -> str:
        """What of the file nobody has asked this store for; "" if it is less than UNUSED of it."""
        is_unused = np.ones(len(self._records), dtype=bool)
        is_unused[np.concatenate([np.zeros(0, np.int64), *self._asked])] = False
        unused, every = int(np.diff(self._ends)[is_unused].sum()), int(self._ends[-1])
        if unused <= UNUSED * every:
            return ""
        return (
            f"{gigabytes(unused)} of {gigabytes(every)} in {self.file} are pictures that this run does not read: their "
            "files are gone or have changed, or another run reads them; to make space, delete it while no run reads "
            "it, and the next run decodes its own pictures anew"
        )

    def add(self, keys: np.ndarray, paths: Sequence[Path], decode: Callable[[Path], tuple[Tensor, int]]) -> None:
        """Append pictures that are not there; whoever else wants some of them waits.

        Args:
            keys: (N, 2), by which they are found.
            paths: of their files.
            decode: gives a picture, and what is noted of it.

        Raises:
            DataError: a file cannot be read.
            OSError: there is no space, or the folder cannot be written.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._held() as index, ThreadPoolExecutor(available_cores()) as pool, ExitStack() as stack:
            missing = (self.places_of(keys) < 0).nonzero().flatten().tolist()
            if not len(self._records):
                # Another run may read what has lost its index.
                self.file.unlink(missing_ok=True)
            pixels = stack.enter_context(self.file.open("ab"))
            # What a kill has left behind the last whole one.
            index.truncate(self._records.nbytes)
            pixels.truncate(int(self._ends[-1]))
            for start in range(0, len(missing), PART):
                part = missing[start : start + PART]
                made = list(pool.map(decode, [paths[each] for each in part]))
                for picture, _ in made:
                    pixels.write(picture.numpy().data)
                pixels.flush()
                os.fsync(pixels.fileno())
                # Only what the disk has, has a record.
                records = np.zeros(len(part), RECORD)
                records["key"], records["noted"] = keys[part], [noted for _, noted in made]
                records["height"], records["width"] = np.array([picture.shape[:2] for picture, _ in made]).T
                index.write(records.tobytes())
                index.flush()

    def open(self) -> None:
        """Map the file: who has it keeps it if it is removed or replaced, and the workers that are forked have it."""
        # Writable, as torch asks for, and never written.
        self._pixels = np.asarray(np.memmap(self.file, np.uint8, "c")) if len(self._records) else None

    def picture(self, place: int) -> Tensor:
        """(H, W, C) uint8."""
        if self._pixels is None:
            self.open()
        assert self._pixels is not None
        height, width = int(self._records["height"][place]), int(self._records["width"][place])
        pixels = self._pixels[self._ends[place] : self._ends[place + 1]]
        return torch.from_numpy(pixels).view(height, width, self.channels)

    def noted(self, places: Tensor) -> Tensor:
        return torch.from_numpy(self._records["noted"][places.numpy()])

    def _read_index(self) -> None:
        """Records of pictures that the file holds; a power cut may leave one too many."""
        content, size = b"", 0
        with suppress(FileNotFoundError):
            content, size = self.index.read_bytes(), self.file.stat().st_size
        records = np.frombuffer(content[: len(content) // RECORD.itemsize * RECORD.itemsize], RECORD)
        each = records["height"].astype(np.int64) * records["width"] * self.channels
        ends = np.concatenate([np.zeros(1, np.int64), each.cumsum()])
        # Whatever else the bytes of a damaged disk say.
        num_whole = int(np.logical_and.accumulate((each > 0) & (ends[1:] <= size)).sum())
        self._records, self._ends, self._pixels = records[:num_whole], ends[: num_whole + 1], None

    @contextmanager
    def _held(self) -> Iterator:
        # A lock of fcntl.lockf ends as the same file is read.
        with self.index.open("ab") as index:
            try:
                fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report("data: waits for another run that writes %s", self.file)
                fcntl.flock(index, fcntl.LOCK_EX)
            except OSError as error:
                warn(
                    f"data.cache: {self.file} is on a file system without locks ({error.strerror}); usual: one with "
                    "locks; let one run at a time write it"
                )
            yield index

    def __getstate__(self) -> dict:
        # Another process opens the file itself.
        return self.__dict__ | {"_pixels": None, "_asked": []}


class HeldPictures:
    """Pictures in memory.

    Args:
        pictures: (H, W, C) uint8 each, of any size.
    """

    def __init__(self, pictures: Iterable[Tensor]):
        # Another process would ask for a file handle for each tensor.
        self.pictures = [picture.numpy().copy() for picture in pictures]

    def picture(self, place: int) -> Tensor:
        return torch.from_numpy(self.pictures[place])


def keys_of(paths: Sequence[Path]) -> np.ndarray:
    """(N, 2) of the path, size and times of each file."""
    paths = as_paths(paths)
    here = os.fsencode(os.getcwd())
    digest = b"".join(
        blake2b(os.path.join(here, path) + state.tobytes(), digest_size=16).digest()
        for path, state in zip(paths.encoded(), paths.states(), strict=True)
    )
    return np.frombuffer(digest, "<u8").reshape(-1, 2)


def refuse_too_little_space(folder: Path, num_pictures: int, num_bytes: int) -> None:
    """Say how many bytes are going to be written, of how many pictures.

    Raises:
        DataError: the disk has not so many.
    """
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    free = shutil.disk_usage(there).free
    needed = (
        f"{counted(num_pictures, 'picture')} of about {num_bytes / num_pictures / 1000:.0f} KB, {gigabytes(num_bytes)},"
    )
    if num_bytes > free - RESERVE:
        raise DataError(
            f"data.cache: given disk, which needs space for {needed} and {folder} has {gigabytes(free)} free; allowed: "
            f"that and {gigabytes(RESERVE)} more; set paths.cache to another disk, a lower data.resize, or "
            "data.cache=none"
        )
    report("data: decoding %s into %s, which has %s free", needed.rstrip(","), folder, gigabytes(free))


def gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"

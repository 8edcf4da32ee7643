"""Many paths in one array: a million cost no more than their characters, and forked workers copy none of it."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from kindling.errors import DataError
from kindling.images.found_files import END, Listing

# What is known of each file: bytes, and the times of its content and of its entry, which any change moves.
NUM_STATES = 3


class Paths(Sequence[Path]):
    """Paths that are made when they are asked for.

    Args:
        text: the bytes of all, one after another.
        ends: (N,) int64, where each ends in it.
        states: (N, 3) int64 of their files, if they are known.
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray, states: np.ndarray | None = None):
        self._text, self._ends = text, ends
        self._states = states

    @classmethod
    def of(cls, paths: Iterable[str | Path]) -> "Paths":
        encoded = [os.fsencode(path) for path in paths]
        ends = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)).cumsum()
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    @classmethod
    def of_joined(cls, joined: bytes) -> "Paths":
        """Those of a Listing."""
        text = np.frombuffer(joined + END if joined else b"", dtype=np.uint8)
        ends = np.flatnonzero(text == END[0])
        return cls(text[text != END[0]], ends - np.arange(len(ends)))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> "Paths": ...

    def __getitem__(self, index: int | slice) -> "Path | Paths":
        if isinstance(index, slice):
            return self.take(torch.arange(len(self))[index])
        place = range(len(self))[index]
        start = self._ends[place - 1] if place else 0
        return Path(os.fsdecode(self._text[start : self._ends[place]].tobytes()))

    def encoded(self) -> Iterator[bytes]:
        """Each as the system takes it, quicker than a Path."""
        text, start = self._text.tobytes(), 0
        for end in self._ends.tolist():
            yield text[start:end]
            start = end

    def __iter__(self) -> Iterator[Path]:
        return map(Path, map(os.fsdecode, self.encoded()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Paths):
            return isinstance(other, Sequence) and len(self) == len(other) and all(map(Path.__eq__, self, other))
        return np.array_equal(self._text, other._text) and np.array_equal(self._ends, other._ends)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def take(self, indices: Tensor) -> "Paths":
        """Those at some indices (M,)."""
        places, lengths = indices.numpy(), np.diff(self._ends, prepend=0)
        states = None if self._states is None else self._states[places]
        if len(places) and (np.diff(places) > 0).all():
            # Those of a split come in their order, and a mask is several times quicker.
            kept = np.zeros(len(self), dtype=bool)
            kept[places] = True
            return Paths(self._text[np.repeat(kept, lengths)], lengths[places].cumsum(), states)
        starts, ends = (self._ends - lengths)[places], lengths[places].cumsum()
        # Of each character, its place in the text of all.
        shifts = np.repeat(starts - (ends - lengths[places]), lengths[places])
        return Paths(self._text[np.arange(len(shifts)) + shifts], ends, states)

    def join(self, other: "Paths") -> "Paths":
        """Both, one after the other."""
        ends = np.concatenate([self._ends, other._ends + len(self._text)])
        is_known = self._states is not None and other._states is not None
        states = np.concatenate([self._states, other._states]) if is_known else None  # pyright: ignore
        return Paths(np.concatenate([self._text, other._text]), ends, states)

    def states(self) -> np.ndarray:
        """Bytes and times (N, 3) int64 of each file; they are asked for once.

        Raises:
            DataError: one is missing or out of reach.
        """
        if self._states is None:
            found = array("q")
            try:
                for state in map(os.stat, self.encoded()):
                    found.extend((state.st_size, state.st_mtime_ns, state.st_ctime_ns))
            except OSError as error:
                raise DataError(
                    f"{os.fsdecode(error.filename)}: cannot be read ({error.strerror}); replace or remove it"
                ) from error
            self._states = np.frombuffer(found, dtype=np.int64).reshape(-1, NUM_STATES)
        return self._states

    def key(self) -> bytes:
        """A hash that any change of a file, or of the order, changes."""
        digest = hashlib.blake2b(digest_size=16)
        # Others may start from elsewhere.
        digest.update(os.fsencode(os.getcwd()) if len(self) and not self[0].is_absolute() else b"")
        for numbers in (self._text, self._ends, self.states()):
            digest.update(np.ascontiguousarray(numbers).data)
        return digest.digest()

    def sizes_by_name(self) -> bytes:
        """`folder/file size` of each file, a line each: what a set is, wherever it lies."""
        sizes = self.states()[:, 0].tolist()
        lasts = (b"/".join(path.split(b"/")[-2:]) for path in self.encoded())
        return b"".join(b"%s %d\n" % each for each in zip(lasts, sizes, strict=True))


class LabelledPaths(Sequence[tuple[Path, int]]):
    """The images of a split: paths and labels (N,) int64."""

    def __init__(self, paths: Paths, labels: Tensor):
        self.paths, self.labels = paths, labels

    @classmethod
    def of(cls, listed: Listing | Iterable[tuple[str | Path, int]]) -> "LabelledPaths":
        if isinstance(listed, Listing):
            labels = [torch.full((num,), label) for label, num in listed.counts]
            return cls(Paths.of_joined(listed.joined()), torch.cat(labels) if labels else torch.empty(0).long())
        pairs = list(listed)
        return cls(Paths.of(path for path, _ in pairs), torch.tensor([label for _, label in pairs], dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Path, int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.paths[index], int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[Path, int]]:
        return zip(self.paths, self.labels.tolist(), strict=True)

    def take(self, indices: Tensor) -> "LabelledPaths":
        """Those at some indices (M,)."""
        return LabelledPaths(self.paths.take(indices), self.labels[indices])


def as_paths(paths: Sequence[Path]) -> Paths:
    return paths if isinstance(paths, Paths) else Paths.of(paths)

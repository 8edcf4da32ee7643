"""What tells examples apart: eight bytes of a hash of each, whatever it is called and wherever it lies."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from kindling.data.examples import bytes_of, in_memory, num_examples, tensors_of
from kindling.stages import Stage

# Reading waits for the disk, so threads are worth more than cores.
NUM_THREADS = 16
# Of a file larger than three: its beginning, middle and end.
PIECE = 4 * 2**10
CHUNK = 1024


class Contents(NamedTuple):
    """Of examples; only those of one kind can be compared.

    Shapes: hashes (N,) int64.
    """

    kind: Literal["files", "tensors"]
    hashes: Tensor

    def among(self, others: Tensor) -> Tensor:
        """Which of them (N,) are among some hashes (M,)."""
        return torch.isin(self.hashes, others)


def contents_of(examples: Any) -> Contents | None:
    """Of tensors, or of a data set that has a method `contents`; None if reading each example would be needed."""
    if isinstance(examples, Subset):
        inner = contents_of(examples.dataset)
        return None if inner is None else Contents(inner.kind, inner.hashes[torch.as_tensor(examples.indices)])
    if isinstance(examples, ConcatDataset):
        parts = [part for each in examples.datasets if (part := contents_of(each)) is not None]
        if len(parts) < len(examples.datasets) or len({part.kind for part in parts}) > 1:
            return None
        return Contents(parts[0].kind, torch.cat([part.hashes for part in parts]))
    if in_memory(examples):
        return Contents("tensors", of_tensors([tensor for _, tensor in tensors_of(examples)], num_examples(examples)))
    own = getattr(examples, "contents", None)
    found = own() if callable(own) else None
    # One's own data set may mean something else by the word.
    return found if isinstance(found, Contents) else None


def fingerprint_of(splits: Mapping[Stage, Any]) -> str | None:
    """A hash of splits by name; None if a data set has no `fingerprint` of its own."""
    digest = blake2b(digest_size=16)
    for name, examples in splits.items():
        digest.update(name.encode())
        if in_memory(examples):
            for place, tensor in tensors_of(examples):
                digest.update(place.encode())
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(bytes_of(tensor))
        elif getattr(examples, "fingerprint", None) is None:
            return None
        else:
            digest.update(str(examples.fingerprint).encode())
    return digest.hexdigest()


def of_tensors(tensors: Sequence[Tensor], num: int) -> Tensor:
    """Of rows (N, ...) of all tensors together: (N,) int64."""
    held = [bytes_of(tensor) for tensor in tensors]

    def hash_of(index: int) -> bytes:
        digest = blake2b(digest_size=8)
        for each in held:
            size = len(each) // num
            digest.update(each[index * size : (index + 1) * size])
        return digest.digest()

    return hashes(map(hash_of, range(num)))


def of_files(paths: Sequence[Path]) -> Tensor:
    """Of the bytes of each file: (N,) int64.

    Raises:
        OSError: one cannot be read.
    """
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return hashes(each for found in pool.map(lambda chunk: [*map(hash_of_file, chunk)], chunks) for each in found)


def hash_of_file(path: Path) -> bytes:
    """Of its size and its bytes; of a large one, of three pieces of it."""
    digest = blake2b(digest_size=8)
    with path.open("rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        digest.update(size.to_bytes(8, "little"))
        is_small = size <= 3 * PIECE
        for place in (0,) if is_small else (0, size // 2, size - PIECE):
            stream.seek(place)
            digest.update(stream.read(3 * PIECE if is_small else PIECE))
    return digest.digest()


def hashes(found: Iterator[bytes]) -> Tensor:
    return torch.from_numpy(np.frombuffer(b"".join(found), dtype="<i8").astype(np.int64))

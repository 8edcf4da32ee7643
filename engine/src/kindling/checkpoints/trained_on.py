"""What a model was trained on, as hashes of the examples in a file beside its checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kindling.files.whole_file import write_whole


def file_of(checkpoint: Path, kind: str) -> Path:
    """Beside a checkpoint; hashes of one kind cannot be compared with those of another."""
    return checkpoint.with_name(f"trained-on-{kind}.npy")


def read(checkpoint: Path, kind: str) -> Tensor | None:
    """The hashes (M,) int64 of one kind; None if there are none that can be read."""
    file = file_of(checkpoint, kind)
    # A pipe would be waited for.
    if not file.is_file():
        return None
    try:
        # Mapped, so that a header cannot ask for more than the file holds.
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(np.array(found)) if found.dtype == np.int64 and found.ndim == 1 else None


def keep(checkpoint: Path, data: Any, origin: Path | None) -> None:
    """Write what a data module trains on; nothing, if its examples have no contents."""
    try:
        contents = data.contents(data.splits.train)
    except Exception:
        # Data of any kind, or files that are gone: the checkpoint counts more.
        return
    if contents is not None:
        write(checkpoint, contents, origin)


def write(checkpoint: Path, contents: Any, origin: Path | None) -> None:
    """Add what is trained on to what is known of earlier attempts, and of the checkpoint that training began with."""
    known = [read(path, contents.kind) for path in (checkpoint, origin) if path is not None]
    earlier = [hashes for hashes in known if hashes is not None]
    with write_whole(file_of(checkpoint, contents.kind), "wb") as stream:
        np.save(stream, torch.cat([contents.hashes, *earlier]).unique().numpy())

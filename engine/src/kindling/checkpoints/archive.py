"""The zip archive that a checkpoint is, looked at before torch reads it: anybody may have written it."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from kindling.errors import CheckpointError

# Bytes of the three parts that an archive ends with.
END, LOCATOR, LARGE_END = 22, 20, 56
# What files of torch before 1.6 begin with.
OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# Of torch's records, the one with everything but tensors.
PICKLE = "data.pkl"
# In a folder into which torch has written a checkpoint in parts.
OF_PARTS = ".metadata"


def refuse_parts(folder: Path) -> None:
    """
    Raises:
        CheckpointError: it holds a checkpoint of several files.
    """
    if (folder / OF_PARTS).is_file():
        raise CheckpointError(
            f"given {folder}, a checkpoint of several files, which torch reads by pickle; allowed: one file, which "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch makes of those that you trust"
        )


def refuse_archive(path: Path) -> int:
    """The bytes of its pickle, if it is an archive as torch writes it, whole and no larger unpacked.

    Raises:
        CheckpointError: it is another one.
        zipfile.BadZipFile: it is none.
    """
    if path.exists() and not path.is_file():
        raise CheckpointError(f"ckpt: given {path}, which is no file; allowed: a checkpoint file")
    with path.open("rb") as stream, zipfile.ZipFile(stream) as records:
        found = records.infolist()
        packed = next((each.filename for each in found if each.compress_type != zipfile.ZIP_STORED), None)
        if packed or sum(each.file_size for each in found) > path.stat().st_size:
            given = f"whose record {packed} is compressed" if packed else "whose records lie over each other"
            raise CheckpointError(f"ckpt: given {path}, {given}; allowed: a file as torch.save writes it")
        if directory_at(stream) != records.start_dir:
            raise CheckpointError(f"ckpt: given {path}, which has two lists of records; use another checkpoint")
        damaged = records.testzip()
        if damaged:
            raise CheckpointError(f"ckpt: given {path}, which is damaged at {damaged}; use another checkpoint")
        return sum(each.file_size for each in found if each.filename.endswith(f"/{PICKLE}"))


def way_out(path: Path, error: Exception) -> str:
    """What to do about a file that torch has written and that cannot be taken as it is; "" of others."""
    if isinstance(error, pickle.UnpicklingError):
        return "; allowed: tensors, numbers and texts alone, as torch.save(net.state_dict(), ...) writes them"
    if isinstance(error, zipfile.BadZipFile):
        with path.open("rb") as stream:
            is_old = stream.read(len(OLD)) == OLD
        anew = "torch.save(torch.load(FILE, weights_only=True), FILE)"
        return f"; allowed: an archive, as torch writes it since 1.6: {anew}" if is_old else ""
    return ""


def damaged_record(path: Any) -> str | None:
    """The first record whose checksum is wrong; torch itself never looks at them.

    Raises:
        zipfile.BadZipFile: the file has no whole directory of records.
    """
    with zipfile.ZipFile(path) as records:
        return records.testzip()


def directory_at(stream: BinaryIO) -> int | None:
    """Where torch's reader finds the list of records, which need not be where Python's does; None if nowhere."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - END - LOCATOR - LARGE_END))
    tail = stream.read()
    signature, offset, comment = struct.unpack("<4s12xLH", tail[-END:])
    if signature != b"PK\5\6" or comment:
        return None
    large, locator = tail[: -END - LOCATOR], tail[-END - LOCATOR : -END]
    if locator[:4] != b"PK\6\7":
        return offset
    (place,) = struct.unpack("<8xQ4x", locator)
    is_there = large[:4] == b"PK\6\6" and place == size - END - LOCATOR - LARGE_END
    return struct.unpack("<48xQ", large)[0] if is_there else None

"""Reads and writes files of the safetensors format, which hold tensors by name and nothing that could run."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kindling.errors import CheckpointError, ExportError

SUFFIX = ".safetensors"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
# What the list of tensors, and with it each tensor, is aligned to.
ALIGNMENT = 8
# Bytes of its list of tensors, as the format's own reader has it.
LONGEST_HEADER = 100_000_000


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """
    Raises:
        CheckpointError: it is no whole file of that format.
    """
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError, struct.error) as error:
        reason = " ".join(str(error).split())[:100]
        raise CheckpointError(f"given {path}, which is no whole safetensors file ({reason})") from error


def _read(path: Path) -> dict[str, Tensor]:
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > min(path.stat().st_size, LONGEST_HEADER):
            raise ValueError(f"a list of {length} bytes")
        header = json.loads(stream.read(length))
        numbers = stream.read()
    header.pop("__metadata__", None)
    if sum(end - start for start, end in (each["data_offsets"] for each in header.values())) > len(numbers):
        raise ValueError("its tensors lie over each other, or its end is missing")
    return {name: _tensor(name, each, numbers) for name, each in header.items()}


def _tensor(name: str, described: dict[str, Any], numbers: bytes) -> Tensor:
    dtype, shape, (start, end) = described["dtype"], described["shape"], described["data_offsets"]
    if dtype not in DTYPES:
        raise ValueError(f"{name} is of {dtype}; allowed: {', '.join(DTYPES)}")
    num = math.prod(shape)
    if not 0 <= start <= end <= len(numbers) or end - start != num * DTYPES[dtype].itemsize or min([0, *shape]) < 0:
        raise ValueError(f"{name} does not lie where it should")
    if not num:
        return torch.empty(shape, dtype=DTYPES[dtype])
    return torch.frombuffer(bytearray(numbers[start:end]), dtype=DTYPES[dtype]).reshape(shape)


def write_safetensors(weights: Mapping[str, Tensor], path: Path) -> None:
    """Tensors by name, as the format's own library orders them; what shares its memory is written for each name.

    Raises:
        ExportError: one is of a kind that the format lacks.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    for name, each in weights.items():
        if each.dtype not in names or each.layout is not torch.strided:
            raise ExportError(
                f"format: given safetensors, which cannot hold {name} ({each.dtype}, {each.layout}); allowed: "
                f"{', '.join(str(dtype) for dtype in names)}; try format=pt2"
            )
    # Larger numbers first, so that each lies where its kind may lie.
    ordered = sorted(weights.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, each in ordered:
        end = place + each.nbytes
        header[name] = {"dtype": names[each.dtype], "shape": list(each.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for _, each in ordered:
            stream.write(each.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)

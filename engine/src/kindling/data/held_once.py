"""Splits in memory of which the processes of a machine need one copy: each reads them, and maps those of the first."""

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from kindling.data.batches import map_tensors
from kindling.lightning_internals.results import gather
from kindling.process.identity import place

# Bytes below which a tensor is not worth a mapping.
WORTH = 2**20


class Offer(NamedTuple):
    """Where a process has its tensors: handles of memory that is a file without a name, in the order of the splits."""

    place: str
    pid: int
    handles: list[int]


def can_hold_once(trainer: Trainer | None) -> bool:
    """Whether there is more than one process on this machine, and a way to name memory to each other."""
    is_group = torch.distributed.is_available() and torch.distributed.is_initialized()
    return is_group and trainer is not None and trainer.num_devices > 1 and hasattr(os, "memfd_create")


def hold_once(data: Any) -> None:
    """Give the splits of a data module the tensors of the machine's first process, where the bytes are the same.

    The memory is gone with its last process, however that ends. Whoever writes into a tensor changes only his own.
    """
    trainer, handles = data.trainer, list[int]()
    is_first = trainer.local_rank == 0
    try:
        if is_first:
            change(data, partial(put, handles))
        own = Offer(place(), os.getpid(), handles)
        offers = [each for each in gather(trainer, own) if each.handles and each.place == own.place]
        if offers and not is_first:
            change(data, partial(take, offers[0].pid, iter(offers[0].handles)))
        # Until all have mapped them.
        trainer.strategy.barrier("hold_once")
    finally:
        for handle in handles:
            os.close(handle)


def change(data: Any, function: Callable[[Tensor], Tensor]) -> None:
    """Change each tensor that is worth it, split by split, so that little is there twice."""
    files = list(pages_of_files())

    def of_worth(tensor: Tensor) -> Tensor:
        place, held = tensor.data_ptr(), tensor.untyped_storage().nbytes()
        is_of_file = any(start <= place < end for start, end in files)
        if held < WORTH or is_of_file or tensor.nbytes > held:
            return tensor
        # A small part of it would keep the whole.
        return function(tensor.contiguous()) if tensor.nbytes >= WORTH else tensor.clone()

    for name, examples in data.present().items():
        if not data.is_read_one_by_one(examples):
            held = map_tensors(examples, lambda each: of_worth(each) if is_plain(each) else each)
            data.splits = replace(data.splits, **{name: held})


def is_plain(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.device.type == "cpu" and tensor.layout == torch.strided


def put(handles: list[int], tensor: Tensor) -> Tensor:
    """The tensor in memory that others can map; itself if there is none to be had."""
    try:
        handle = os.memfd_create("kindling")
        handles.append(handle)
        with os.fdopen(handle, "wb", closefd=False) as stream:
            stream.write(bits(tensor).numpy().data)
        return mapped(handle, tensor)
    except OSError:
        return tensor


def take(pid: int, handles: Iterator[int], tensor: Tensor) -> Tensor:
    """The first process's tensor in place of an own one that is equal to the bit."""
    with suppress(OSError, StopIteration, ValueError), open(f"/proc/{pid}/fd/{next(handles)}", "rb") as stream:
        found = mapped(stream.fileno(), tensor)
        if torch.equal(bits(found), bits(tensor)):
            return found
    return tensor


def mapped(handle: int, like: Tensor) -> Tensor:
    # Writable, as torch asks for; what would be written stays in this process.
    pages = mmap.mmap(handle, like.nbytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return torch.frombuffer(pages, dtype=like.dtype).view(like.shape)


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().view(-1).view(torch.uint8)


def pages_of_files() -> Iterator[tuple[int, int]]:
    """Addresses, from and to, at which this process has mapped a file, whose pages all processes share."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, _, _, _, inode, *_ = line.split()
        if inode != "0":
            start, end = addresses.split("-")
            yield int(start, 16), int(end, 16)

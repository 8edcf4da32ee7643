"""Batches of any kind, taken apart and compared: tensors, alone or in tuples and mappings."""

from collections.abc import Callable
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor


def leaves(batch: Any) -> list[Tensor]:
    """Its tensors, in order."""
    found: list[Tensor] = []
    apply_to_collection(batch, Tensor, found.append)
    return found


def changed(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same batch with each tensor changed."""
    return apply_to_collection(batch, Tensor, change)


def copied(batch: Any) -> Any:
    return changed(batch, lambda tensor: tensor.clone(memory_format=torch.preserve_format))


def in_double(batch: Any) -> Any:
    return changed(batch, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def num_in(batch: Any) -> int:
    """How many examples it has: the length of its first tensor."""
    first = leaves(batch)[0]
    return len(first) if first.ndim else 1


def of_each_example(tensor: Tensor, num: int) -> bool:
    return tensor.ndim > 0 and len(tensor) == num


def part(batch: Any, places: slice | list[int]) -> Any:
    """Some examples of a batch; what is not of each example, such as a mask, stays."""
    num = num_in(batch)
    return changed(batch, lambda tensor: tensor[places] if of_each_example(tensor, num) else tensor)


def equal(one: Any, other: Any) -> bool:
    pairs = zip(leaves(one), leaves(other), strict=True)
    return all(a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def close(one: Any, other: Any) -> bool:
    """Equal but for the order of sums, in the scale of all numbers."""
    pairs = list(zip(leaves(one), leaves(other), strict=True))
    return all(torch.allclose(a, b, atol=1e-5 * max(1.0, a.abs().max().item())) for a, b in pairs if a.numel())


def as_bytes(batch: Any) -> list[bytes]:
    """The bytes of each example."""
    num = num_in(batch)
    parts = [tensor.contiguous() for tensor in leaves(batch) if of_each_example(tensor, num)]
    return [b"".join(tensor[place].numpy().tobytes() for tensor in parts) for place in range(num)]

"""A digest of a batch of any kind, from a few of its numbers: enough to notice that a loader gives other batches."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Numbers of each tensor that are looked at.
SAMPLED = 256


def sample(batch: Any) -> list[Any]:
    """What a digest is made of; copied, since a step may change its batch, and left on the device."""
    return list(_leaves(batch))


def digest(sampled: list[Any]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for each in sampled:
        content = each.cpu().view(torch.uint8).numpy().tobytes() if isinstance(each, Tensor) else repr(each).encode()
        found.update(content)
    return found.hexdigest()


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        yield tuple(value.shape)
        if value.layout == torch.strided and not value.is_nested:
            yield _few_of(value.detach())
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield key
            yield from _leaves(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _leaves(getattr(value, field.name))
    elif isinstance(value, int | float | str | bytes | None):
        yield value
    else:
        # Its text may name its address.
        yield type(value).__name__


def _few_of(tensor: Tensor) -> Tensor:
    """Numbers spread over a tensor; an odd step, so that they lie in different columns."""
    flat = tensor.reshape(-1)
    return flat[:: max(1, len(flat) // SAMPLED) | 1].clone()

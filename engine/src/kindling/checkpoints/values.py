"""The values in a checkpoint, looked at one by one before anything reads them: anybody may have written it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

# What Lightning, an average and a callback keep lies less deep.
DEEPEST = 60
# Values may stand in several places, but not in many.
MOST_REPEATED = 10
# Bytes of all tensors together that repeat their numbers, such as a mask that was expanded.
MOST_EXPANDED = 64_000_000
# Of numbers; torch converts one into the other in silence.
KINDS = (torch.is_complex, torch.is_floating_point)
WEIGHTS = ("state_dict", "current_model_state")


def faults_of_values(saved: dict[str, Any], num_bytes: int) -> Iterator[str]:
    """What is wrong with the values of a checkpoint.

    Args:
        saved: the checkpoint.
        num_bytes: of its pickle: each value took one at least, unless it stands in several places.
    """
    level: list[tuple[str, Any]] = [(str(key)[:50], value) for key, value in saved.items()]
    most, num_values, expanded = MOST_REPEATED * (num_bytes + 1000), 0, 0
    for _ in range(DEEPEST):
        num_values += len(level)
        if num_values > most:
            yield f"which holds more than {most:,} values in a pickle of {num_bytes:,} bytes"
            return
        for place, value in level:
            if isinstance(value, Tensor):
                yield from (f"which has {fault} in {place}" for fault in faults_of_tensor(value))
                surplus = surplus_bytes(value)
                expanded += surplus
                if expanded > MOST_EXPANDED or (surplus and place not in WEIGHTS):
                    yield f"which has a tensor in {place} that is larger than what is saved of it"
                    return
        level = [(place, each) for place, value in level for each in within(value)]
        if not level:
            return
    yield f"which holds values that lie more than {DEEPEST} deep"


def within(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, list | tuple | set) else []


def faults_of_tensor(value: Tensor) -> Iterator[str]:
    if type(value) not in (Tensor, nn.Parameter) or value.device.type != "cpu":
        yield f"a {type(value).__name__} on {value.device}"


def is_of_kind(given: Tensor, own: Tensor) -> bool:
    """Whether both are real, complex or whole numbers, laid out alike."""
    return given.layout == own.layout and all(is_one(given) == is_one(own) for is_one in KINDS)


def surplus_bytes(value: Tensor) -> int:
    """How many bytes a tensor would need beyond those of its storage, if each of its numbers had a place of its own."""
    if value.layout is not torch.strided or value.device.type != "cpu":
        return 0
    end = value.storage_offset() + value.numel()
    return max(0, int(end * value.element_size()) - int(value.untyped_storage().nbytes()))

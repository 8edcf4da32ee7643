"""Batches of any structure: tensors in tuples, lists and dicts."""

from typing import Any

from torch import Tensor


def first_examples(batch: Any, num: int) -> Any:
    """The first examples of a batch; what has no examples stays as it is."""
    if isinstance(batch, Tensor):
        return batch[:num] if batch.ndim else batch
    if isinstance(batch, dict):
        return {key: first_examples(each, num) for key, each in batch.items()}
    # A named tuple takes its fields one by one.
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(first_examples(each, num) for each in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(first_examples(each, num) for each in batch)
    return batch

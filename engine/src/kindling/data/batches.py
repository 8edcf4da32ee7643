"""Batches of any structure: tensors in tuples, lists, dicts and data classes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor


def first_examples(batch: Any, num: int) -> Any:
    """The first examples of a batch; what has no examples stays as it is."""
    return map_tensors(batch, lambda each: each[:num] if each.ndim else each)


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same structure with other tensors; what is no tensor stays as it is."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(each, change) for key, each in value.items()}
    # A named tuple takes its fields one by one.
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(each, change) for each in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(each, change) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {each.name: map_tensors(getattr(value, each.name), change) for each in fields(value) if each.init}
        return replace(value, **changed)
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of a batch, or of what a module takes or gives."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))


def batch_size_of(batch: Any) -> int:
    """Of its first tensor that has examples; 1 if there is none."""
    return next((len(each) for each in tensors_in(batch) if each.ndim), 1)

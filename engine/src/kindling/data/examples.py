"""What a split may be: tensors in memory, a data set that is read one by one, or examples of a kind of their own."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from kindling.errors import DataError


class Examples(ABC):
    """Examples that know how to be cut and joined, such as images."""

    # (N,) int64
    labels: Tensor

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, indices: Tensor) -> Self: ...

    @abstractmethod
    def join(self, other: Any) -> Self: ...


def in_memory(examples: Any) -> bool:
    """Whether these are tensors, in a tuple or by name, as a batch has them too."""
    return isinstance(examples, Tensor | tuple | Mapping)


def unwrapped(examples: Any) -> Any:
    """The tensors of a TensorDataset; everything else as it is."""
    return examples.tensors if type(examples) is TensorDataset else examples


def tensors_of(examples: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Each tensor and its name, such as "[0]" or "['image']".

    Raises:
        DataError: there is something else.
    """
    if isinstance(examples, Tensor):
        yield name, examples
    elif isinstance(examples, tuple | Mapping):
        pairs = examples.items() if isinstance(examples, Mapping) else enumerate(examples)
        for key, part in pairs:
            yield from tensors_of(part, f"{name}[{key!r}]")
    else:
        raise DataError(
            f"data: given {type(examples).__name__} for {name} of a split; allowed: tensors of one length, in a tuple "
            "or by name; convert it with torch.as_tensor"
        )


def num_examples(examples: Any) -> int:
    """How many there are.

    Raises:
        DataError: the tensors are of different lengths, or it is no data set.
    """
    if not in_memory(examples):
        if hasattr(examples, "__len__") and hasattr(examples, "__getitem__"):
            return len(examples)
        raise DataError(
            f"data: given {type(examples).__name__} for a split; allowed: tensors of one length, or a data set with "
            "__len__ and __getitem__; data=plain takes any loader"
        )
    lengths = {name: len(tensor) if tensor.ndim else 0 for name, tensor in tensors_of(examples)}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{length} in {name}" for name, length in lengths.items())
        raise DataError(f"data: given tensors of different lengths, {given}; allowed: one length; mend read()")
    return next(iter(lengths.values()), 0)


def take(examples: Any, indices: Tensor) -> Any:
    """Those of some indices (M,)."""
    if isinstance(examples, Examples):
        return examples.take(indices)
    if in_memory(examples):
        return select(examples, indices)
    return Subset(examples, indices.tolist())


def select(examples: Any, indices: Tensor) -> Any:
    """Tensors at some indices (B,), in a tuple or by name as these are."""
    if isinstance(examples, Tensor):
        # Ten times quicker than indexing with [].
        return examples.index_select(0, indices)
    if isinstance(examples, Mapping):
        return {name: select(part, indices) for name, part in examples.items()}
    return _tuple_like(examples, (select(part, indices) for part in examples))


def join(first: Any, second: Any) -> Any:
    """The examples of both."""
    if isinstance(first, Examples):
        return first.join(second)
    if isinstance(first, Tensor):
        return torch.cat([first, second])
    if isinstance(first, Mapping):
        return {name: join(part, second[name]) for name, part in first.items()}
    if isinstance(first, tuple):
        return _tuple_like(first, (join(*parts) for parts in zip(first, second, strict=True)))
    return ConcatDataset([first, second])


def _tuple_like(examples: Any, parts: Iterable[Any]) -> Any:
    # A named tuple takes its fields one by one.
    return type(examples)(*parts) if hasattr(examples, "_fields") else tuple(parts)


def labels_of(examples: Any) -> Tensor | None:
    """Labels (N,) of whole numbers: the last tensor of a tuple, or `labels` or `targets`; None if there are none."""
    if isinstance(examples, Subset):
        labels = labels_of(examples.dataset)
        return None if labels is None else labels[torch.as_tensor(examples.indices)]
    if isinstance(examples, ConcatDataset):
        parts = [found for each in examples.datasets if (found := labels_of(each)) is not None]
        return torch.cat(parts) if len(parts) == len(examples.datasets) else None
    if isinstance(examples, tuple):
        found = examples[-1] if len(examples) > 1 else None
    elif isinstance(examples, Mapping):
        found = next((examples[name] for name in ("labels", "label", "targets", "target") if name in examples), None)
    else:
        found = getattr(examples, "labels", getattr(examples, "targets", None))
    labels = _whole_numbers(found)
    # Such as the kinds that there are.
    return labels if labels is not None and len(labels) == num_examples(examples) else None


def several_labels_of(examples: Any) -> Tensor | None:
    """Labels (N, K) bool of examples that have any number of them; None if there are none."""
    found = getattr(examples, "labels", None)
    return found if isinstance(found, Tensor) and found.dtype == torch.bool and found.ndim == 2 else None


def _whole_numbers(found: Any) -> Tensor | None:
    try:
        labels = None if found is None else torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        return None
    if labels is None or labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        return None
    labels = labels.long()
    return labels if len(labels) and labels.min() >= 0 else None


def bytes_of(tensor: Tensor) -> memoryview:
    """What a tensor of any kind holds."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data

"""How many bytes training holds: parameters, gradients, optimizer state, and what forward keeps for backward."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim import Optimizer

# Systems other than Linux lack this file.
MEMINFO = Path("/proc/meminfo")


def num_bytes(tensors: Iterable[Any]) -> int:
    """Of all storages behind the tensors, each counted once."""
    storages = [each.untyped_storage() for each in tensors if isinstance(each, Tensor)]
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())


def gradients(net: nn.Module) -> list[Tensor]:
    return [each.grad for each in net.parameters() if each.grad is not None]


def optimizer_state(optimizer: Optimizer) -> list[Tensor]:
    """All tensors that an optimizer keeps of its parameters."""
    return [each for state in optimizer.state.values() for each in state.values() if isinstance(each, Tensor)]


class Kept:
    """What autograd keeps for backward: bytes of each storage, by its address."""

    def __init__(self) -> None:
        self.storages: dict[int, int] = {}

    @property
    def num_bytes(self) -> int:
        return sum(self.storages.values())


@contextmanager
def kept_for_backward(held: Iterable[Tensor]) -> Iterator[Kept]:
    """Counts what a forward pass keeps, but for tensors that are held anyway, such as parameters."""
    own = {each.untyped_storage().data_ptr() for each in held}
    kept = Kept()

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


class Estimate(NamedTuple):
    """Bytes of a step as a function of the batch size."""

    fixed: int
    per_example: float

    def of(self, batch_size: int) -> float:
        return self.fixed + self.per_example * batch_size

    def largest_batch(self, available: float) -> int:
        """The most examples whose step fits into so many bytes."""
        return max(0, int((available - self.fixed) // max(1.0, self.per_example)))


def available_bytes(device: torch.device) -> int | None:
    """What this process could still take, and on a GPU what torch has taken and does not use; None if unknown."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu" or not MEMINFO.exists():
        return None
    line = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable"))
    return 1024 * int(line.split()[1])


def resident_bytes() -> int | None:
    """Of this process, as the system counts them: coarse, with all libraries; None where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])

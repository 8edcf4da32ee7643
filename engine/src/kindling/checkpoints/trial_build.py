"""What a checkpoint describes, built without memory first: it must be as large as the weights that are there."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kindling.errors import CheckpointError, KindlingError, one_line

# A model may hold so many times the bytes of its weights, and so many bytes besides.
TIMES, BESIDES = 4, 256_000_000
# Modules, parameters and buffers for each of the weights, and for so many more.
PARTS, FURTHER = 10, 200
# Of this process's own time, so that a busy machine does not matter.
MOST_S = 5.0


class TooLargeError(CheckpointError):
    """What a checkpoint describes does not belong to its weights."""


class Limit:
    """Counts what is built, and ends it once that cannot belong to some weights."""

    def __init__(self, weights: dict[str, Any]):
        tensors = [each for each in weights.values() if isinstance(each, Tensor)]
        self.saved_bytes = sum(each.nbytes for each in tensors)
        self.most_bytes = TIMES * self.saved_bytes + BESIDES
        self.most_parts = PARTS * (len(weights) + FURTHER)
        self.num_bytes = self.num_parts = 0
        self.until = time.process_time() + MOST_S

    def count(self, num_bytes: int) -> None:
        self.num_parts += 1
        self.num_bytes += num_bytes
        if self.num_bytes > self.most_bytes:
            raise TooLargeError(f"a model of more than {self.num_bytes:,} bytes for weights of {self.saved_bytes:,}")
        if self.num_parts > self.most_parts:
            raise TooLargeError(f"a model of more than {self.most_parts:,} modules and tensors for its weights")
        if time.process_time() > self.until:
            raise TooLargeError(f"a model that takes more than {MOST_S:.0f} s to be described")

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count each module, parameter and buffer as it is registered."""

        def seen(_: nn.Module, name: str, value: Any) -> None:
            self.count(value.nbytes if isinstance(value, Tensor) and not is_lazy(value) else 0)

        with ExitStack() as stack:
            for register in (
                hooks.register_module_module_registration_hook,
                hooks.register_module_parameter_registration_hook,
                hooks.register_module_buffer_registration_hook,
            ):
                stack.callback(register(seen).remove)
            yield


class Sizes(TorchDispatchMode):
    """Looks at what each operation makes, which has a size without memory too."""

    def __init__(self, limit: Limit):
        super().__init__()
        self.limit = limit

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        largest = max((each.nbytes for each in tree_leaves(made) if isinstance(each, Tensor)), default=0)
        if largest > self.limit.most_bytes or time.process_time() > self.limit.until:
            raise TooLargeError(f"a tensor of {largest:,} bytes for weights of {self.limit.saved_bytes:,}")
        return made


def build_for(weights: dict[str, Any], path: Path, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` builds from a checkpoint's description, once it is known to have the shapes of its weights.

    Raises:
        CheckpointError: it is of another size, or cannot be built.
        KindlingError: as `make`.
    """
    try:
        refuse_other_shapes(weights, make)
        with Limit(weights).counting():
            return make()
    except TooLargeError as error:
        raise CheckpointError(f"{path}: describes {error}; use another checkpoint") from None
    except KindlingError:
        raise
    except Exception as error:
        # A description may be wrong in any way.
        raise CheckpointError(
            f"{path}: what it describes cannot be built ({type(error).__name__}: {one_line(error)}); use another "
            "checkpoint; HYDRA_FULL_ERROR=1 shows where"
        ) from error


def refuse_other_shapes(weights: dict[str, Any], make: Callable[[], nn.Module]) -> None:
    """
    Raises:
        TooLargeError: what is described has tensors of other shapes than the weights, and more of them.
    """
    limit = Limit(weights)
    try:
        with limit.counting(), Sizes(limit), torch.device("meta"):
            described = make().state_dict()
    except TooLargeError:
        raise
    except Exception:
        # What needs memory to be built is counted then.
        return
    num_bytes = sum(each.nbytes for each in described.values() if isinstance(each, Tensor))
    if num_bytes > limit.most_bytes:
        raise TooLargeError(f"a model of {num_bytes:,} bytes for weights of {limit.saved_bytes:,}")

"""What the layers of a net put out in a forward pass, summed up where it lies."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RELUS = (torch.relu, torch.relu_, F.relu, F.relu_, Tensor.relu, Tensor.relu_)


class Recorder(TorchFunctionMode):
    """While it is entered, takes the mean and deviation of each layer's output, and the share of dead units of each
    ReLU, also of those that are functions; a layer that is called again counts once.

    It reads, and changes nothing. A ReLU takes the name of the module that calls it.
    """

    def __init__(self, modules: dict[str, nn.Module]):
        super().__init__()
        # Mean and deviation (2,), in the order of the calls.
        self.statistics: dict[str, Tensor] = {}
        # The share () of dead units of each ReLU.
        self.dead: dict[str, Tensor] = {}
        self._modules = modules
        # The modules that are being called, the outermost first.
        self._calls: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Any:
        for name, module in self._modules.items():
            self._handles += [
                module.register_forward_pre_hook(self._enter_call(name)),
                module.register_forward_hook(self._leave_call(name), always_call=True),
            ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _enter_call(self, name: str) -> Callable[..., None]:
        return lambda module, inputs: self._calls.append(name)

    def _leave_call(self, name: str) -> Callable[..., None]:
        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            self._calls.pop()
            if has_parameters(module) and isinstance(output, Tensor) and name not in self.statistics:
                self.statistics[name] = mean_and_std(output)

        return leave

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in RELUS and self._calls:
            with torch.no_grad():
                self.dead.setdefault(self._name_of_call(), dead_share(output))
        return output

    def _name_of_call(self) -> str:
        name, number = self._calls[-1], 2
        unique = name
        while unique in self.dead:
            unique, number = f"{name} ({number})", number + 1
        return unique


def has_parameters(module: nn.Module) -> bool:
    """Of its own, not of modules within it."""
    return next(module.parameters(recurse=False), None) is not None


@torch.no_grad()
def mean_and_std(output: Tensor) -> Tensor:
    variance, mean = torch.var_mean(output.detach().float(), correction=0)
    return torch.stack([mean, variance.sqrt()])


def dead_share(output: Tensor) -> Tensor:
    """The share () of the units, which are channels or features, that are zero for the whole batch."""
    units = 1 if output.ndim in (2, 4, 5) else output.ndim - 1  # (B, C, ...), or (B, T, C)
    others = [dim for dim in range(output.ndim) if dim != units]
    return (output.detach().amax(others) <= 0).float().mean()


@contextmanager
def recording(net: nn.Module) -> Iterator[Recorder]:
    """Record one pass through a net."""
    with Recorder({name: module for name, module in net.named_modules() if name}) as recorder:
        yield recorder

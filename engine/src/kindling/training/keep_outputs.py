"""What the evaluated steps of a task give, kept for a report."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from kindling.training.sums import StepOutput
from kindling.training.task import Task

Keep = Callable[[Any, Any], tuple[Any, Any]]


class KeepOutputs(Callback):
    """Keeps outputs and targets of validation and test, on the CPU; only then is `step` wrapped.

    Args:
        keep: of the outputs and targets of a batch, what is needed.
    """

    def __init__(self, keep: Keep):
        self._keep = keep
        self._kept: list[tuple[Any, Any]] = []

    def __bool__(self) -> bool:
        """Whether there were outputs: a task may have evaluation steps of its own."""
        return bool(self._kept)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Task), "asked for with a processor"
        step = pl_module.step

        def kept(batch: Any, stage: Any) -> StepOutput:
            output = step(batch, stage)
            if output.outputs is not None:
                self._kept.append(on_cpu(self._keep(output.outputs, output.targets)))
            return output

        self._own = vars(pl_module).get("step")
        pl_module.step = kept

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # What remains is the class's own, or what its owner has set.
        del pl_module.step
        if self._own is not None:
            pl_module.step = self._own

    on_test_start, on_test_end = on_validation_start, on_validation_end

    def joined(self) -> tuple[Any, Any]:
        """Outputs and targets of all batches, as arrays."""
        outputs, targets = zip(*self._kept, strict=True)
        return join(outputs), join(targets)


def on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach()
        return (value.float() if value.is_floating_point() else value).cpu()
    if isinstance(value, Mapping):
        return {name: on_cpu(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return tuple(on_cpu(each) for each in value)
    return value


def join(batches: tuple[Any, ...]) -> Any:
    """Batches of tensors, also in tuples and mappings, end to end as arrays; of anything else a list."""
    first = batches[0]
    if isinstance(first, Tensor) and first.ndim:
        return torch.cat(batches).numpy()
    if isinstance(first, Mapping):
        return {name: join(tuple(batch[name] for batch in batches)) for name in first}
    if isinstance(first, tuple):
        return tuple(join(parts) for parts in zip(*batches, strict=True))
    return np.array(batches) if isinstance(first, Tensor) else list(batches)

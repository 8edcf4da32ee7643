"""A config's schedule as a LightningModule takes it that knows nothing of the engine."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule
from torch.optim import Optimizer

from kindling.config.targets import locate
from kindling.lightning_internals.loops import total_steps
from kindling.training.optimization import build_scheduler
from kindling.training.task import Task


class Schedule:
    """Makes the schedule of an optimizer: `scheduler(optimizer)`, as the field's templates call a partial.

    Args:
        node: whose `scheduler` takes the optimizer, and `total_steps` if it needs them.
    """

    def __init__(self, node: Mapping[str, Any]):
        self._node = node
        # Lightning keeps only what can be pickled: no function here.
        self.owner: LightningModule | None = None

    def __call__(self, optimizer: Optimizer) -> Any:
        return build_scheduler(self._node["scheduler"], optimizer, self._total)

    def _total(self) -> float:
        """Of steps, or of epochs if the config steps it by those."""
        assert self.owner is not None, "set once the module is there"
        trainer = self.owner.trainer
        if self._node.get("interval") != "epoch":
            return total_steps(trainer)
        epochs: int | None = trainer.max_epochs
        return float("inf") if epochs in (None, -1) else epochs


def schedule_for(target: str, node: Mapping[str, Any]) -> Any:
    """A schedule as a class takes it: a `Task` as the config has it, any other LightningModule to call it."""
    kind = locate(target, "task._target_")
    return node if isinstance(kind, type) and issubclass(kind, Task) else Schedule(node)

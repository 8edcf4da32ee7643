"""A task with its net and a batch, as the contracts try them."""

import copy
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from kindling.config.check.fits import Chosen
from kindling.stages import Stage
from kindling.training.sums import StepOutput


class Case(NamedTuple):
    """A task with its net and a batch that both take.

    Args:
        cfg: that it is built from, with what its data holds.
        task: its net is `net`.
        batch: of the data's training loader, or random images in its memory order.
        held_out: of its validation loader, if there is one.
        inputs: that the task gives the net of the batch.
        facts: of the data.
        chosen: what it is made of.
    """

    cfg: DictConfig
    task: Any
    batch: Any
    held_out: Any
    inputs: tuple[Any, ...]
    facts: dict[str, Any]
    chosen: Chosen

    @property
    def net(self) -> nn.Module:
        return self.task.net

    @property
    def images(self) -> Tensor:
        return self.inputs[0]

    def copy(self) -> "Case":
        return self._replace(task=copy.deepcopy(self.task))

    def with_net(self, net: nn.Module) -> "Case":
        """The same task of another net."""
        found = self.copy()
        found.task.net = net
        return found

    def step(self, stage: Stage = "train") -> StepOutput:
        """Of the batch, with dropout that is the same at each call."""
        torch.manual_seed(0)
        return self.task.step(self.batch, stage)

    def loss(self) -> Tensor:
        return self.step().loss

    def outputs(self) -> Any:
        """Of the net, with dropout that is the same at each call."""
        torch.manual_seed(0)
        return self.net(*self.inputs)

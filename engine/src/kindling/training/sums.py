"""What the steps of a stage add up on the device, for the metrics of an epoch."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from kindling.errors import CheckpointError, ConfigError
from kindling.lightning_internals.results import gather
from kindling.stages import STAGES, Stage

# The sums of every task: of the losses, and of the examples.
LOSS, NUM = "loss", "num"


class StepOutput(NamedTuple):
    """What a task computes of one batch.

    Args:
        loss: (), the mean of `num` examples, to descend.
        num: examples that count; an int costs less than a tensor (). A batch may have none, a whole stage not.
        sums: added up over the epoch, by name; of any shape.
        outputs: of the net, for metrics and for what comes after training.
        targets: that the outputs are held against.
    """

    loss: Tensor
    num: int | Tensor
    sums: Mapping[str, Tensor | float] = {}
    outputs: Any = None
    targets: Any = None


class Sums:
    """The sums of one stage in this process; no step waits for the device."""

    def __init__(self) -> None:
        # Batches that count; those after them are of examples that count elsewhere.
        self.num_own: float = math.inf
        self.reset()

    def reset(self) -> None:
        # All numbers in one tensor, so that processes add them up at once.
        self._numbers: Tensor | None = None
        # Views of it, since indexing would cost each step.
        self._views: dict[str, Tensor] = {}
        self._tensors: dict[str, Tensor] = {}
        # Both of them.
        self._places: dict[str, Tensor] = {}

    def __bool__(self) -> bool:
        return self._numbers is not None

    @property
    def loss(self) -> Tensor | None:
        """The sum of the losses; None before the first step."""
        return self._views.get(LOSS)

    def add(self, output: StepOutput) -> None:
        if not self._places:
            refuse_misfit(output)
        if not self._places or not output.sums.keys() <= self._places.keys():
            self._begin(output)
        places = self._places
        if isinstance(output.num, Tensor):
            # The mean loss of no examples is NaN.
            places[LOSS].add_((output.loss.detach() * output.num).masked_fill(output.num == 0, 0))
        elif output.num:
            places[LOSS].add_(output.loss.detach(), alpha=output.num)
        for name, value in output.sums.items():
            places[name].add_(value.detach() if isinstance(value, Tensor) and value.requires_grad else value)
        places[NUM].add_(output.num)

    def _begin(self, output: StepOutput) -> None:
        """Make room for the names of a step.

        Raises:
            ConfigError: one of them is taken.
        """
        taken = {LOSS, NUM} & output.sums.keys()
        if taken:
            raise ConfigError(f"task: given sums named {', '.join(taken)}; allowed: other names than {LOSS} and {NUM}")
        device = output.loss.device
        shaped = {name: value.shape for name, value in output.sums.items() if isinstance(value, Tensor) and value.ndim}
        self._refuse_other_sums(output, shaped)
        for name in shaped.keys() - self._tensors.keys():
            self._tensors[name] = torch.zeros(shaped[name], dtype=_dtype(device), device=device)
        before = dict(zip(self._views, [] if self._numbers is None else self._numbers.tolist(), strict=True))
        numbers = dict.fromkeys([LOSS, *(name for name in output.sums if name not in shaped), NUM], 0.0)
        self._place(numbers | before, device)

    def _refuse_other_sums(self, output: StepOutput, shaped: Mapping[str, torch.Size]) -> None:
        """
        Raises:
            CheckpointError: what was restored is of another shape than what a step gives; torch would repeat it.
        """
        restored = {name: torch.Size() for name in self._views} | {name: t.shape for name, t in self._tensors.items()}
        for name in output.sums.keys() & restored.keys():
            saved, own = tuple(restored[name]), tuple(shaped.get(name, ()))
            if saved != own:
                given = f"a tensor of {saved} as train_sums.{name}, of which the task's step gives {own}"
                raise CheckpointError(f"given {given}; use another checkpoint")

    def _place(self, numbers: dict[str, float], device: torch.device) -> None:
        self._numbers = torch.tensor(list(numbers.values()), dtype=_dtype(device), device=device)
        self._views = {name: self._numbers[index] for index, name in enumerate(numbers)}
        self._places = self._views | self._tensors

    def state(self) -> dict[str, Any] | None:
        """Numbers, and tensors on the CPU, by name; None before the first step."""
        if self._numbers is None:
            return None
        numbers = dict(zip(self._views, self._numbers.tolist(), strict=True))
        return numbers | {name: value.cpu() for name, value in self._tensors.items()}

    def restore(self, state: dict[str, Any] | None, device: torch.device) -> None:
        """Go on from a state."""
        self.reset()
        if state is not None:
            tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
            self._tensors = {name: value.to(device, _dtype(device)) for name, value in tensors.items()}
            self._place({name: value for name, value in state.items() if name not in tensors}, device)
            # The first step shows whether they are its own.
            self._places = {}

    def reduced(self, trainer: Trainer) -> dict[str, Tensor]:
        """The sums over all processes; {} if no process has made a step."""
        if trainer.world_size > 1:
            self._agree(trainer)
        if self._numbers is None:
            return {}
        numbers: Any = trainer.strategy.reduce(self._numbers, reduce_op="sum")
        tensors = {name: trainer.strategy.reduce(each, reduce_op="sum") for name, each in self._tensors.items()}
        return {**{name: numbers[index] for index, name in enumerate(self._views)}, **tensors}  # pyright: ignore[reportReturnType]

    def _agree(self, trainer: Trainer) -> None:
        """Add zeros for what other processes have, which may have made a step where this one had no batch."""
        own = (list(self._views), {name: tuple(value.shape) for name, value in self._tensors.items()})
        others = gather(trainer, own)
        numbers = dict.fromkeys(name for names, _ in others for name in names)
        shapes = {name: shape for _, found in others for name, shape in found.items()}
        if numbers:
            device = trainer.strategy.root_device
            here = self.state() or {}
            zeros = {name: torch.zeros(shape, dtype=_dtype(device)) for name, shape in shapes.items()}
            self.restore({**dict.fromkeys(numbers, 0.0), **zeros, **here}, device)


def refuse_misfit(output: Any) -> None:
    """
    Raises:
        ConfigError: it is not what a step has to give.
    """
    if not isinstance(output, StepOutput):
        raise ConfigError(f"task: given {type(output).__name__} by step; allowed: StepOutput(loss, num)")
    loss, num, *_ = output
    if not isinstance(loss, Tensor) or loss.ndim:
        raise ConfigError(f"task: given {_kind(loss)} as the loss of a StepOutput; allowed: a tensor (), their mean")
    if not isinstance(num, int | float | Tensor) or (isinstance(num, Tensor) and num.ndim):
        raise ConfigError(f"task: given {_kind(num)} as num of a StepOutput; allowed: a number, or a tensor ()")
    outputs, targets = output.outputs, output.targets
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return
    both_real = outputs.is_floating_point() and targets.is_floating_point()
    if both_real and outputs.shape != targets.shape and outputs.squeeze().shape == targets.squeeze().shape:
        raise ConfigError(
            f"task: given outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}, whose difference would be "
            f"{tuple(torch.broadcast_shapes(outputs.shape, targets.shape))} in a metric; allowed: one shape in the "
            "StepOutput and in the loss; squeeze(1) or unsqueeze(1) one of them"
        )


def refuse_no_examples(num: float, task: Any, stage: Stage) -> None:
    """
    Raises:
        ConfigError: all batches of a stage together have none, so that nothing has a mean.
    """
    if num <= 0:
        raise ConfigError(
            f"task: given {num:g} examples in all of {stage} by {type(task).__name__}.step, as num of its StepOutputs; "
            f"allowed: 1 or more; look for what {stage} leaves out, such as targets that are all padding"
        )


def _kind(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


class StageSums(dict[Stage, Sums]):
    """The sums of each stage."""

    def __init__(self) -> None:
        super().__init__({stage: Sums() for stage in STAGES})


def _dtype(device: torch.device) -> torch.dtype:
    # Apple's GPUs have no float64.
    return torch.float32 if device.type == "mps" else torch.float64

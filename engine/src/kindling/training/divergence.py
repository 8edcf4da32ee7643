"""Where a run has diverged: the step, and the first input, output, gradient or parameter that is NaN or infinite."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from kindling.errors import DivergedError


class Place(NamedTuple):
    """What was NaN or infinite first; steps count from 0.

    Of an input of validation the batch is None: there is no batch of training that a rollback could leave out.
    """

    epoch: int
    batch: int | None
    step: int
    what: str
    is_input: bool = False

    def __str__(self) -> str:
        batch = "" if self.batch is None else f", batch {self.batch}"
        return f"step {self.step} (epoch {self.epoch}{batch}): {self.what}"


class FoundError(Exception):
    """Ends the replay."""

    def __init__(self, place: Place | None):
        super().__init__(str(place))
        self.place = place


class FindDivergence(Callback):
    """Looks at everything in each step of a replay, until a loss or a parameter is NaN or `last_step` is over.

    What else is not finite is only noted: a batch that is left out, or a step that 16-mixed skips, does no harm.

    Raises:
        FoundError: its place is None if there was nothing to find.
    """

    def __init__(self, last_step: int):
        self.last_step = last_step
        self._step = 0
        # None until the first batch.
        self._batch: int | None = None
        self._stage = ""
        # The first NaN of this batch or validation.
        self._first: Place | None = None
        # Where the first wrong gradient since the last step comes from.
        self._gradient: Place | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if name:
                module.register_forward_hook(self._watch(trainer, name))

    def _watch(self, trainer: Trainer, name: str) -> Any:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if self._first is None:
                self._note(trainer, f"the input of {name}", enumerate(inputs))
                outputs = output if isinstance(output, list | tuple) else [output]
                self._note(trainer, f"the output of {name}", enumerate(outputs))

        return look

    def _note(self, trainer: Trainer, what: str, tensors: Iterable[tuple[Any, Any]]) -> None:
        if self._first is None and not_finite(tensors) is not None:
            self._first = self._place(trainer, what)

    def _note_input(self, trainer: Trainer, batch: Any) -> None:
        if self._first is None and not_finite(enumerate(batch)) is not None:
            self._first = self._place(trainer, "the input")._replace(is_input=True)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step > self.last_step:
            raise FoundError(None)
        self._step, self._batch, self._stage, self._first = trainer.global_step, batch_idx, "", None
        self._note_input(trainer, batch)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if not loss.isfinite().all():
            raise FoundError(self.place_of_loss(trainer))

    def place_of_loss(self, trainer: Trainer) -> Place:
        """Where a loss that is NaN comes from: the first input or output that is, or the loss itself."""
        return self._first or self._place(trainer, "the loss")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        gradients = [(name, each.grad) for name, each in pl_module.named_parameters()]
        # Backward comes to the last one first.
        wrong = not_finite(reversed(gradients))
        if wrong and self._gradient is None:
            self._gradient = self._first or self._place(trainer, f"the gradient of {wrong}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        wrong = not_finite(pl_module.named_parameters())
        if wrong:
            raise FoundError(self._gradient or self._place(trainer, f"after the step, the parameter {wrong}"))
        if trainer.global_step > self._step:
            self._gradient = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first = None

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._stage = f"in validation, batch {batch_idx}, "
        self._note_input(trainer, batch)
        if self._first and self._first.is_input:
            self._first = self._first._replace(batch=None)

    def _place(self, trainer: Trainer, what: str) -> Place:
        return Place(trainer.current_epoch, self._batch, self._step, f"{self._stage}{what} is NaN or infinite")


def not_finite(tensors: Iterable[tuple[Any, Any]]) -> Any:
    """The name of the first tensor with a NaN or an infinite number, or None; waits once for the device."""
    named = [(name, each) for name, each in tensors if isinstance(each, Tensor) and each.is_floating_point()]
    if not named:
        return None
    finite = torch.stack([own_part(each.detach()).isfinite().all() for _, each in named])
    if any(map(is_shared_out, (each for _, each in named))):
        finite = finite.int()
        torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
    return next((name for (name, _), fine in zip(named, finite.tolist(), strict=True) if not fine), None)


def is_shared_out(tensor: Tensor) -> bool:
    """Whether each process has a part of it; DTensor, whose import takes long, need not be known for it."""
    return hasattr(tensor, "to_local")


def own_part(tensor: Any) -> Tensor:
    return tensor.to_local() if is_shared_out(tensor) else tensor


def refuse_spoilt_weights(module: nn.Module, when: str = "") -> None:
    """
    Raises:
        DivergedError: a parameter is NaN or infinite.
    """
    wrong = not_finite(module.named_parameters())
    if wrong:
        raise DivergedError(f"{wrong}: is NaN or infinite{when}")


def refuse_divergence(trainer: Trainer, losses: Tensor | None, stage: str) -> None:
    """Wait for the device and look at the sum of the losses; asked only where it is waited for anyway.

    Raises:
        DivergedError: it is NaN or infinite, in this process or another.
    """
    diverged = losses is not None and not losses.isfinite().item()
    if trainer.world_size > 1:
        diverged = trainer.strategy.reduce_boolean_decision(diverged, all=False)
    if diverged:
        raise DivergedError(f"{stage}/loss: is NaN or infinite")

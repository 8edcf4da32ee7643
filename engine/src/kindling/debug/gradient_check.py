"""Compares the gradients of a step's loss with finite differences, in place of training."""

import copy
import inspect
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.autograd.gradcheck import gradcheck
from torch.func import functional_call

from kindling.data.batches import first_examples, map_tensors, tensors_in
from kindling.errors import ConfigError, GradientError
from kindling.images.datamodule import ImageDataModule
from kindling.lightning_internals.batches import first_training_batch
from kindling.ranges import PositiveInt
from kindling.training.net import refuse_manual_optimization
from kindling.training.observer import Observer
from kindling.training.task import Task

log = logging.getLogger(__name__)
# Keeps off max pooling's ties, and weights off zero.
NOISE = 0.05
# If one crosses a ReLU's kink, the smaller does not.
STEPS = (1e-6, 1e-7)
# The rounding error of a difference over such steps.
ATOL = 1e-7
# Makes noise and dropout the same in each pass.
SEED = 0


class GradientCheck(Observer):
    """Checks the gradient of the loss with respect to the first examples of training and to each trainable parameter.

    Args:
        num_examples: how many of them, under noise that keeps off the points without a gradient.
    """

    def __init__(self, num_examples: PositiveInt):
        self.num_examples = num_examples

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """
        Raises:
            GradientError: it names those that are wrong, the one nearest to the loss first.
            ConfigError: the module's step gives no loss.
        """
        refuse_manual_optimization(pl_module, "callbacks.gradient_check", "so that its step gives no loss to check")
        of_images = isinstance(trainer.datamodule, ImageDataModule)  # pyright: ignore[reportAttributeAccessIssue]
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(SEED)
            batch = first_examples(first_training_batch(trainer, pl_module), self.num_examples)
            step = StepLoss(pl_module)
            checks = dict(gradient_checks(step, in_float64(batch), "the images" if of_images else "the batch"))
        wrong = [name for name, is_right in checks.items() if not is_right]
        if wrong:
            others = f", and of {len(wrong) - 1} more before it" if len(wrong) > 1 else ""
            raise GradientError(
                f"gradients: given that of {wrong[-1]}{others}, wrong; allowed: what finite differences give, as it is "
                f"with {len(checks) - len(wrong)} others; mend the backward of what uses it"
            )
        inputs = [f"to {name}" for name in checks if name.startswith("the ")]
        to = " and ".join([", ".join(inputs)] * bool(inputs) + ["to each trainable parameter"])
        log.info("gradients: all %d are right: those with respect %s", len(checks), to)


class StepLoss(nn.Module):
    """The loss of a training step, batch -> (), by a copy of a module on the CPU in float64; it logs nothing."""

    def __init__(self, module: LightningModule):
        super().__init__()
        self.module = copy.deepcopy(module).cpu().double().train()
        # The copy belongs to no loop that could log.
        vars(self.module).update(log=ignore, log_dict=ignore)
        self.module.trainer = module.trainer
        self._settings = {"batch_idx": 0} if "batch_idx" in inspect.signature(module.training_step).parameters else {}

    def forward(self, batch: Any) -> Tensor:
        if isinstance(self.module, Task):
            return self.module.step(batch, "train").loss
        outputs: Any = self.module.training_step(batch, **self._settings)
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            name = type(self.module).__name__
            raise ConfigError(
                f"callbacks.gradient_check: given {name}, whose training_step gives no loss; allowed: one that does"
            )
        return loss


def ignore(*_: Any, **__: Any) -> None:
    """In place of what logs."""


def in_float64(batch: Any) -> Any:
    """A batch on the CPU; whole numbers, such as labels, stay as they are."""
    return map_tensors(batch, lambda each: each.detach().cpu().double() if each.is_floating_point() else each.cpu())


def gradient_checks(step: nn.Module, batch: Any, called: str = "the batch") -> Iterator[tuple[str, bool]]:
    """What a gradient is with respect to, in the order of the module, and whether it is right; all in float64.

    Args:
        step: batch -> loss ().
        batch: of any structure; what is not whole numbers is checked too.
        called: what its first tensor is called, if the others are whole numbers.
    """
    trainable = {name: each for name, each in step.named_parameters() if each.requires_grad}
    batch = map_tensors(batch, lambda each: add_noise(each.clone()) if each.is_floating_point() else each)
    inputs = input_names(batch, called)
    for parameter in trainable.values():
        add_noise(parameter)

    def loss_with(name: str, value: Tensor) -> Tensor:
        torch.default_generator.manual_seed(SEED)
        if name in inputs:
            given = map_tensors(batch, lambda each: value if each is inputs[name] else each)
            return functional_call(step, {}, (given,))
        return functional_call(step, {name: value}, (batch,))

    for name, value in {**inputs, **trainable}.items():
        yield shown(name), agrees(partial(loss_with, name), value)


def input_names(batch: Any, called: str) -> dict[str, Tensor]:
    """The tensors of a batch that have gradients, by name."""
    tensors = list(tensors_in(batch))
    found = {f"tensor {place} of the batch": each for place, each in enumerate(tensors) if each.is_floating_point()}
    if len(found) == 1:
        return dict(zip([called], found.values(), strict=True))
    return {f"the {name}": each for name, each in found.items()}


def shown(name: str) -> str:
    """A parameter by its name in the net of a task, or in the module."""
    return name.removeprefix("module.").removeprefix("net.")


def agrees(function: partial[Tensor], value: Tensor) -> bool:
    """Whether autograd gives what a small step in a random direction does.

    gradcheck's own fast mode would explain a wrong gradient number by number, which takes for ever.
    """
    start = value.detach()
    direction = torch.randn_like(start)
    direction /= direction.norm()

    def along(step: Tensor) -> Tensor:
        return function(start + step * direction)

    check = partial(gradcheck, along, torch.zeros((), dtype=start.dtype, requires_grad=True), atol=ATOL)
    return any(check(eps=eps, nondet_tol=ATOL, raise_exception=False, check_undefined_grad=False) for eps in STEPS)


@torch.no_grad()
def add_noise(values: Tensor) -> Tensor:
    return values.add_(torch.randn_like(values), alpha=NOISE)

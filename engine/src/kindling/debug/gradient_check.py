"""Compares the gradients of a net with finite differences, in place of training."""

import copy
import logging
from collections.abc import Iterator
from functools import partial

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.autograd.gradcheck import gradcheck
from torch.func import functional_call

from kindling.errors import GradientError
from kindling.images.augment import Normalize
from kindling.images.datamodule import ImageDataModule
from kindling.ranges import PositiveInt
from kindling.training.observer import Observer

log = logging.getLogger(__name__)
# Keeps off max pooling's ties, and weights off zero.
NOISE = 0.05
# If one crosses a ReLU's kink, the smaller does not.
STEPS = (1e-6, 1e-7)
# The rounding error of a difference over such steps.
ATOL = 1e-7
# Makes noise and dropout the same in each pass.
SEED = 0
# Names the images among the parameters in messages.
IMAGES = "the images"


class GradientCheck(Observer):
    """Checks the gradient of the loss with respect to some training images and to each trainable parameter.

    Args:
        num_images: the first ones of the split, under noise that keeps off the points without a gradient.
    """

    def __init__(self, num_images: PositiveInt):
        self.num_images = num_images

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """
        Raises:
            GradientError: it names those that are wrong, the one nearest to the loss first.
        """
        net, criterion = (copy.deepcopy(each).cpu().double() for each in (pl_module.net, pl_module.criterion))
        assert isinstance(net, nn.Module)
        assert isinstance(criterion, nn.Module)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(SEED)
            checks = dict(gradient_checks(net.train(), criterion, *self._batch(trainer)))
        wrong = [name for name, is_right in checks.items() if not is_right]
        if wrong:
            others = f", and of {len(wrong) - 1} more before it" if len(wrong) > 1 else ""
            raise GradientError(
                f"gradients: given that of {wrong[-1]}{others}, wrong; allowed: what finite differences give, as it is "
                f"with {len(checks) - len(wrong)} others; mend the backward of what uses it"
            )
        message = "gradients: all %d are right: those with respect to the images and to each trainable parameter"
        log.info(message, len(checks))

    def _batch(self, trainer: Trainer) -> tuple[Tensor, Tensor]:
        data: ImageDataModule = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        images = data.splits.train
        assert data.mean, "checked with the splits"
        assert data.std
        pixels = torch.stack([images[index] for index in range(min(self.num_images, len(images)))])
        return Normalize(data.mean, data.std)(pixels).double(), images.labels[: len(pixels)]


def gradient_checks(net: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor) -> Iterator[tuple[str, bool]]:
    """What a gradient is with respect to, in the order of the net, and whether it is right; all in float64."""
    trainable = {name: each for name, each in net.named_parameters() if each.requires_grad}
    images = add_noise(images)
    for parameter in trainable.values():
        add_noise(parameter)

    def loss_with(name: str, value: Tensor) -> Tensor:
        torch.default_generator.manual_seed(SEED)
        given, exchanged = (value, {}) if name == IMAGES else (images, {name: value})
        return criterion(functional_call(net, exchanged, given), labels)

    for name, value in {IMAGES: images, **trainable}.items():
        yield name, agrees(partial(loss_with, name), value)


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

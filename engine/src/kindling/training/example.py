"""A net passes an example before it is trained, so that a misfit with the data is one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from kindling.console import report
from kindling.errors import ConfigError
from kindling.training.task import Task


def check_example(task: Task, inputs: Any) -> None:
    """Pass the net's input of a batch of two through it, which leaves no trace but the shapes of lazy layers.

    Raises:
        ConfigError: the net cannot take it, or its outputs are not what the task needs.
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    shapes = " and ".join(str(tuple(each.shape[1:])) for each in given)
    model = f"model: given {(task.config.get('model') or {}).get('_target_')} for inputs of shape {shapes}"
    try:
        # Weights that a lazy layer makes in inference mode are never trained.
        with torch.no_grad(), isolate_rng(), as_before(task.net):
            task.check_outputs(task(*given))
    except ConfigError as error:
        raise ConfigError(f"{model}: {error}") from None
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"{model}, which it cannot take ({error}); set the shape that data has, or take another model"
        ) from error


@contextmanager
def as_before(net: nn.Module) -> Iterator[None]:
    """Evaluate a net; its modes and its buffers come back as they were."""
    modes = [(module, module.training) for module in net.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in net.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if not is_lazy(buffer)
    ]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, name, buffer, value in buffers:
            setattr(module, name, buffer.copy_(value))


def has_lazy_layers(module: nn.Module) -> bool:
    """Whether it does not know the shapes of all its weights yet."""
    return any(is_lazy(each) for each in (*module.parameters(), *module.buffers()))


def give_shapes(net: nn.Module, make: Callable[..., Any]) -> None:
    """Let the lazy layers of a net see the example of its task, which may need their weights when it is built.

    Args:
        net: of the task.
        make: builds the task with a net.

    Raises:
        ConfigError: the net cannot take it, or there is none.
    """
    try:
        task = make(net=nn.Identity())
    except Exception:
        # It looks into its net, and passes it the example later.
        return
    if isinstance(task, Task):
        task.net = net
        pass_example(task)


def pass_example(task: Task) -> None:
    """Pass a task's example, if it has one, through its net.

    Raises:
        ConfigError: as `check_example`; or lazy layers do not know the shapes of their weights.
    """
    inputs = task.example()
    if inputs is not None:
        check_example(task, inputs)
    size = (task.config.get("data") or {}).get("crop")
    if isinstance(inputs, Tensor) and inputs.ndim == 4 and size not in (None, inputs.shape[-1]):
        # In evaluation images may have another size than in training.
        check_example(task, inputs.new_zeros(*inputs.shape[:2], size, size))
    lazy = [name for name, each in task.named_modules() if not [*each.children()] and has_lazy_layers(each)]
    if lazy:
        raise ConfigError(
            f"model: given lazy layers such as {lazy[0]}, and {type(task).__name__} has no example() from which they "
            "learn their shapes; allowed: write it, or give the layers their sizes"
        )


def keep_lazy_layers_for_training(trainer: Trainer, module: LightningModule) -> None:
    """Let a module without an example make its weights in training: those made in inference mode are never trained."""
    if has_lazy_layers(module) and trainer.num_sanity_val_steps:  # pyright: ignore[reportAttributeAccessIssue]
        report("trainer.num_sanity_val_steps: left out, as %s has lazy layers", type(module).__name__)
        trainer.num_sanity_val_steps = 0  # pyright: ignore[reportAttributeAccessIssue]

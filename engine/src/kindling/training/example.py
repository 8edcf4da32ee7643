"""A net passes an example before it is trained, so that a misfit with the data is one line."""

from typing import Any

import torch

from kindling.errors import ConfigError
from kindling.training.task import Task


def check_example(task: Task, inputs: Any) -> None:
    """Pass the net's input of a batch of two through it.

    Raises:
        ConfigError: the net cannot take it, or its outputs are not what the task needs.
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    shapes = " and ".join(str(tuple(each.shape[1:])) for each in given)
    model = f"model: given {(task.config.get('model') or {}).get('_target_')} for inputs of shape {shapes}"
    task.net.eval()
    try:
        with torch.no_grad():
            task.check_outputs(task(*given))
    except ConfigError as error:
        raise ConfigError(f"{model}: {error}") from None
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"{model}, which it cannot take ({error}); set the shape that data has, or take another model"
        ) from error
    task.net.train()

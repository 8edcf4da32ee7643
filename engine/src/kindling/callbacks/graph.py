"""The operations of the net, as a graph."""

import copy
import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from kindling.callbacks.drawing import TensorBoardCallback, writers
from kindling.console import warn
from kindling.data.batches import first_examples, map_tensors
from kindling.errors import one_line
from kindling.training.net import net_of
from kindling.training.task import Task

NOT_FOR_USERS = (
    # TensorBoard has no other way to a graph.
    "`torch.jit.trace.*deprecated",
    # Traced beforehand, as add_graph's check doubles the cost.
    "The input to trace is already a ScriptModule",
    # The graph is of one image size alone.
    ".*might cause the trace to not generalize",
)


class Graph(TensorBoardCallback):
    """Traces a copy of the net once, with the first batch of training; one that cannot be traced is named in a warning.

    A module that is no task says by its `example_input_array` what it takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_due = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        config: dict[str, Any] = getattr(pl_module, "config", {})
        # The run that is resumed has drawn it.
        self._is_due = bool(writers(trainer)) and not (trainer.global_step and config.get("resume"))
        if self._is_due and not isinstance(pl_module, Task) and pl_module.example_input_array is None:
            self._is_due = False
            name = type(pl_module).__name__
            warn(f"callbacks.graph: left out, as {name} has no example_input_array, which says what it takes")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self._is_due:
            return
        self._is_due = False
        try:
            self._draw(trainer, pl_module, batch)
        except Exception as error:
            # Tracing raises errors of many kinds.
            warn(f"callbacks.graph: torch cannot trace {type(net_of(pl_module)).__name__}: {one_line(error)}")

    def _draw(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        device = pl_module.device
        gpus = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(gpus), torch.no_grad(), warnings.catch_warnings():
            for message in NOT_FOR_USERS:
                warnings.filterwarnings("ignore", message)
            inputs = inputs_of(pl_module, batch)
            inputs = map_tensors(first_examples(inputs, 1), lambda each: each.to(device))
            inputs = trainer.precision_plugin.convert_input(inputs)
            net = copy.deepcopy(net_of(pl_module)).eval()
            if isinstance(net, LightningModule):
                # The tracer looks at all properties.
                net.trainer = trainer
            trace = torch.jit.trace(net, inputs, check_trace=False)
            for writer in writers(trainer):
                writer.add_graph(trace, inputs)


def inputs_of(module: LightningModule, batch: Any) -> tuple[Any, ...]:
    """What the net takes: the task's example, or what its step gives the net of a batch; else the module's example."""
    given: Any = module.example_input_array
    if isinstance(module, Task):
        given = module.example()
        given = asked_of_net(module, batch) if given is None else given
    return given if isinstance(given, tuple) else (given,)


class AskedError(Exception):
    """Ends a step where it calls its net."""

    def __init__(self, inputs: tuple[Any, ...]):
        super().__init__("the net is called")
        self.inputs = inputs


class Asks(nn.Module):
    """In place of a net: says what it is given."""

    def forward(self, *inputs: Any) -> Any:
        raise AskedError(inputs)


def asked_of_net(task: Task, batch: Any) -> tuple[Any, ...]:
    """What a task's step gives its net."""
    net, task.net = task.net, Asks()
    try:
        task.step(batch, "train")
    except AskedError as asked:
        return asked.inputs
    finally:
        task.net = net
    raise ValueError("its task's step does not call it")

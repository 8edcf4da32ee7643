"""The operations of the net, as a graph."""

import copy
import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from kindling.callbacks.drawing import TensorBoardCallback, writers
from kindling.console import warn
from kindling.errors import one_line

NOT_FOR_USERS = (
    # TensorBoard has no other way to a graph.
    "`torch.jit.trace.*deprecated",
    # Traced beforehand, as add_graph's check doubles the cost.
    "The input to trace is already a ScriptModule",
    # The graph is of one image size alone.
    ".*might cause the trace to not generalize",
)


class Graph(TensorBoardCallback):
    """Traces a copy of the net once, when training starts; a net that cannot be traced is named in a warning."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        config: dict[str, Any] = getattr(pl_module, "config", {})
        # The run that is resumed has drawn it.
        if not writers(trainer) or (trainer.global_step and config.get("resume")):
            return
        try:
            self._draw(trainer, pl_module)
        except Exception as error:
            # Tracing raises errors of many kinds.
            warn(f"callbacks.graph: torch cannot trace {type(pl_module.net).__name__}: {one_line(error)}")

    def _draw(self, trainer: Trainer, pl_module: Any) -> None:
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        net, device = copy.deepcopy(pl_module.net).eval(), pl_module.device
        blank = torch.zeros(1, data.channels, data.image_size, data.image_size, device=device)
        blank = trainer.precision_plugin.convert_input(blank)
        gpus = [device] if device.type == "cuda" else []

        with torch.random.fork_rng(gpus), torch.no_grad(), warnings.catch_warnings():
            for message in NOT_FOR_USERS:
                warnings.filterwarnings("ignore", message)
            trace = torch.jit.trace(net, blank, check_trace=False)
            for writer in writers(trainer):
                writer.add_graph(trace, blank)

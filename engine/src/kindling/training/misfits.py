"""Errors of torch for tensors that do not fit, said with their shapes and kinds."""

import traceback
from types import FrameType
from typing import Any

from torch import Tensor, nn

from kindling.errors import one_line
from kindling.training.counting import described

# Where torch keeps its losses.
LOSSES = ("torch", "nn", "functional.py")
# Where torch keeps its layers.
LAYERS = ("torch", "nn", "modules")


def misfit(error: BaseException) -> str | None:
    """Which outputs and targets, or which inputs and weights, do not fit; None of any other error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for index, frame in reversed(list(enumerate(frames))):
        place, known = frame.f_code.co_filename.replace("\\", "/").split("/"), frame.f_locals
        outputs, targets = known.get("input"), known.get("target")
        if tuple(place[-3:]) == LOSSES and isinstance(outputs, Tensor) and isinstance(targets, Tensor):
            return of_a_loss(frame.f_code.co_name, outputs, targets, asked_by(frames[:index]), one_line(error))
        if tuple(place[-4:-1]) == LAYERS and isinstance(known.get("self"), nn.Module):
            return of_a_layer(known["self"], outputs)
    return None


def asked_by(frames: list[FrameType]) -> str:
    """The function that is not of torch which came last."""
    own = [frame.f_code for frame in frames if "/torch/" not in frame.f_code.co_filename.replace("\\", "/")]
    return own[-1].co_qualname if own else "a step"


def of_a_loss(loss: str, outputs: Tensor, targets: Tensor, where: str, reason: str) -> str:
    classes = outputs.shape[1] if outputs.ndim > 1 else 0
    if loss in ("cross_entropy", "nll_loss") and classes:
        shape = (outputs.shape[0], *outputs.shape[2:])
        allowed = f"targets {shape} int64 from 0 to {classes - 1}; squeeze, long() or number the classes anew"
    else:
        allowed = f"targets {described(outputs)}; squeeze, unsqueeze or float() one of them"
    return (
        f"task: given outputs {described(outputs)} and targets {described(targets)} in {where}, which {loss} cannot "
        f"take ({reason}); allowed: {allowed}"
    )


def of_a_layer(layer: nn.Module, inputs: Any) -> str | None:
    weights = next(layer.parameters(recurse=False), None)
    if not isinstance(inputs, Tensor) or weights is None or inputs.dtype == weights.dtype:
        return None
    kind = str(weights.dtype).removeprefix("torch.")
    return (
        f"data: given inputs {described(inputs)}, and {type(layer).__name__} has weights of {kind}; allowed: {kind}; "
        "give inputs.float()"
    )

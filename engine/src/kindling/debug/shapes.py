"""What each module makes of one training batch, as a table; nothing is trained."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_summary.model_summary import get_human_readable_count
from rich import box
from rich.table import Table
from torch import Tensor, nn

from kindling.console import as_text
from kindling.training.observer import Observer

log = logging.getLogger(__name__)


class Call(NamedTuple):
    """One call of a module that calls no other."""

    name: str
    module: nn.Module
    input: Any
    output: Any
    # Of the output: least, largest, mean, deviation.
    numbers: list[float]
    flops: int


class Shapes(Observer):
    """Shows one training batch on its way through the net, then ends the run with everything as it was."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        net: Any = pl_module.net
        with as_it_was(net), trainer.precision_plugin.forward_context():
            images, _ = next(iter(trainer.train_dataloader))  # pyright: ignore[reportArgumentType, reportCallIssue]
            images = images.to(pl_module.device)
            calls = list(trace(net.train(), images))
        if trainer.is_global_zero:
            log.info("%s", as_text(table(calls, images)))
        trainer.should_stop = True


@contextmanager
def as_it_was(net: nn.Module) -> Iterator[None]:
    """Puts random generators, buffers, such as batch norm's, and the mode of each module back."""
    buffers = {name: each.clone() for name, each in net.named_buffers()}
    modes = [(module, module.training) for module in net.modules()]
    try:
        with torch.random.fork_rng(), torch.no_grad():
            yield
    finally:
        with torch.no_grad():
            for name, each in net.named_buffers():
                each.copy_(buffers[name])
        for module, mode in modes:
            module.training = mode


def trace(net: nn.Module, images: Tensor) -> list[Call]:
    """One pass of images (B, C, H, W), call by call."""
    # Imported at the top it would slow each start.
    from torch.utils.flop_counter import FlopCounterMode

    calls: list[Call] = []
    # Per open call: input shape, FLOPs and calls before.
    opened: list[list[Any]] = []
    counter = FlopCounterMode(display=False)

    def enter(module: nn.Module, inputs: Any) -> None:
        opened.append([shape(inputs), counter.get_total_flops(), len(calls)])

    def leave(name: str) -> Any:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            given, flops, before = opened.pop()
            if len(calls) == before:
                flops = counter.get_total_flops() - flops
                calls.append(Call(name, module, given, shape(output), numbers(output), flops))

        return look

    handles = [module.register_forward_pre_hook(enter) for module in net.modules()]
    handles += [module.register_forward_hook(leave(name)) for name, module in net.named_modules()]
    try:
        with counter:
            net(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def shape(value: Any) -> Any:
    """Of the first tensor, without the batch."""
    if isinstance(value, list | tuple):
        return next((shape(each) for each in value if isinstance(each, Tensor)), ())
    return tuple(value.shape[1:]) if isinstance(value, Tensor) else ()


def numbers(output: Any) -> list[float]:
    first = output[0] if isinstance(output, list | tuple) else output
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return []
    first = first.float()
    return torch.stack([first.min(), first.max(), first.mean(), first.std(correction=0)]).tolist()


def table(calls: list[Call], images: Tensor) -> Table:
    batch, *size = images.shape
    found = Table(
        title=f"a batch of {batch} images of {times(size)}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    found.title_justify = "left"
    # This column gives way on a narrow terminal.
    found.add_column("module", overflow="ellipsis")
    found.add_column("type", max_width=11, no_wrap=True)
    for name in ("input", "output"):
        found.add_column(name, no_wrap=True)
    for name in ("min", "max", "mean", "std", "param.", "FLOPs"):
        found.add_column(name, justify="right", no_wrap=True)

    for call in calls:
        parameters = sum(each.numel() for each in call.module.parameters(recurse=False))
        cells = (call.name, type(call.module).__name__, times(call.input), times(call.output))
        found.add_row(*cells, *row_of(call.numbers), count(parameters), count(call.flops))

    found.caption = f"{count(sum(call.flops for call in calls))} FLOPs for the batch, forward alone"
    found.caption_justify = "left"
    return found


def row_of(values: list[float]) -> list[str]:
    cells = [f"{value:.0e}" if 0 < abs(value) < 1e-2 else f"{value:.3g}" for value in values] or [""] * 4
    return [cell.replace("nan", "NaN") for cell in cells]


def times(size: Any) -> str:
    return "×".join(map(str, size))


def count(number: int) -> str:
    return get_human_readable_count(number).replace(" ", "") if number else ""

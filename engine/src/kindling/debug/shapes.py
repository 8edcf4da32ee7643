"""What each module makes of one training batch, as a table; nothing is trained."""

import logging
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_summary.model_summary import get_human_readable_count
from rich import box
from rich.table import Table
from torch import Tensor, nn

from kindling.console import WIDTH, as_text, width
from kindling.data.batches import batch_size_of, tensors_in
from kindling.images.datamodule import ImageDataModule
from kindling.lightning_internals.batches import end_fit
from kindling.training.net import net_of
from kindling.training.observer import Observer

log = logging.getLogger(__name__)
# Columns of a module's name on a narrow terminal, which shows its end.
NARROW_NAME = 14


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
    """Shows one training batch on its way through the modules, then ends the run before anything is trained."""

    _tracing: "Tracing | None" = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._title = title(trainer, batch)
        self._tracing = Tracing(net_of(pl_module))
        self._tracing.__enter__()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        # Of several losses, each has a pass of its own.
        if pl_module.automatic_optimization:
            self._show(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._show(trainer)

    def _show(self, trainer: Trainer) -> None:
        assert self._tracing is not None
        self._tracing.__exit__()
        if trainer.is_global_zero:
            log.info("%s", as_text(table(self._tracing.calls, self._title, width())))
        end_fit()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # It may come before the first batch, or in another process.
        if self._tracing:
            self._tracing.__exit__()


class Tracing:
    """While it is entered, notes each call of the modules that call no other."""

    def __init__(self, net: nn.Module):
        # Imported at the top it would slow each start.
        from torch.utils.flop_counter import FlopCounterMode

        self.calls: list[Call] = []
        self._counter = FlopCounterMode(display=False)
        self._net = net
        # Per open call: input shape, FLOPs and calls before.
        self._opened: list[list[Any]] = []
        self._handles: list[Any] = []

    def __enter__(self) -> "Tracing":
        for name, module in self._net.named_modules():
            self._handles += [
                module.register_forward_pre_hook(self._enter, with_kwargs=True),
                module.register_forward_hook(self._leave(name)),
            ]
        self._counter.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._handles:
            self._counter.__exit__(None, None, None)
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _enter(self, module: nn.Module, inputs: Any, named: Any) -> None:
        self._opened.append([shape((inputs, named)), self._counter.get_total_flops(), len(self.calls)])

    def _leave(self, name: str) -> Any:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            given, flops, before = self._opened.pop()
            if len(self.calls) == before:
                flops = self._counter.get_total_flops() - flops
                with torch.no_grad():
                    self.calls.append(Call(name, module, given, shape(output), numbers(output), flops))

        return look


def trace(net: nn.Module, *inputs: Any) -> list[Call]:
    """One pass of a net, call by call."""
    with Tracing(net) as tracing, torch.no_grad():
        net(*inputs)
    return tracing.calls


def shape(value: Any) -> Any:
    """Of the first tensor, without the batch."""
    return next((tuple(each.shape[1:]) for each in tensors_in(value)), ())


def numbers(output: Any) -> list[float]:
    first = next(iter(tensors_in(output)), None)
    if first is None or not first.is_floating_point() or not first.numel():
        return []
    first = first.float()
    return torch.stack([first.min(), first.max(), first.mean(), first.std(correction=0)]).tolist()


def title(trainer: Trainer, batch: Any) -> str:
    """What a batch is; of images by their size, of others by the shapes of all tensors."""
    shapes = [each.shape for each in tensors_in(batch)]
    if isinstance(trainer.datamodule, ImageDataModule) and shapes:  # pyright: ignore[reportAttributeAccessIssue]
        return f"a batch of {shapes[0][0]} images of {times(shapes[0][1:])}"
    return f"a batch of {batch_size_of(batch)}: {', '.join(times(each) or 'a number' for each in shapes)}"


def table(calls: list[Call], title: str, columns: int = WIDTH) -> Table:
    """A row for each call; on a narrow terminal without what it is given, which the call before made."""
    narrow = columns < WIDTH
    found = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    found.title_justify = "left"
    # This column gives way.
    found.add_column("module", overflow="ellipsis")
    found.add_column("type", max_width=11, no_wrap=True)
    for name in ("output",) if narrow else ("input", "output"):
        found.add_column(name, no_wrap=True)
    for name in ("min", "max", "mean", "std", "param.", "FLOPs"):
        found.add_column(name, justify="right", no_wrap=True)

    for call in calls:
        parameters = sum(each.numel() for each in call.module.parameters(recurse=False))
        shapes = [times(call.output)] if narrow else [times(call.input), times(call.output)]
        name = f"…{call.name[1 - NARROW_NAME :]}" if narrow and len(call.name) > NARROW_NAME else call.name
        cells = (name, type(call.module).__name__, *shapes, *row_of(call.numbers, 2 if narrow else 3))
        found.add_row(*cells, count(parameters), count(call.flops))

    found.caption = f"{count(sum(call.flops for call in calls))} FLOPs for the batch, forward alone"
    found.caption_justify = "left"
    return found


def row_of(values: list[float], digits: int) -> list[str]:
    cells = [f"{value:.0e}" if 0 < abs(value) < 1e-2 else f"{value:.{digits}g}" for value in values] or [""] * 4
    return [cell.replace("nan", "NaN") for cell in cells]


def times(size: Any) -> str:
    return "×".join(map(str, size))


def count(number: int) -> str:
    return get_human_readable_count(number).replace(" ", "") if number else ""

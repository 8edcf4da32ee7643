"""What a profile says: the most costly operations, and the share of each phase in a step."""

from typing import Any, NamedTuple

from rich.table import Table

from kindling.console import as_text, plain_table
from kindling.debug.phases import PhaseClock

# Operations in the summary, which a terminal shows.
NUM_SHOWN = 10
# Operations that profile.txt lists below the summary.
TABLE_ROWS = 50


class Operation(NamedTuple):
    """What an operation took in all its calls, without those that it calls."""

    name: str
    self_ms: float
    share: float
    calls: int


def operations(averages: Any, on_gpu: bool) -> list[Operation]:
    """All operations of torch, or kernels' time where there is a GPU, the most costly first; regions are left out."""
    key = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    found = [(each, getattr(each, key) / 1e3) for each in averages if is_operation(each)]
    total = sum(ms for _, ms in found) or 1.0
    rows = [Operation(each.key, ms, ms / total, each.count) for each, ms in found if ms > 0]
    return sorted(rows, key=lambda row: -row.self_ms)


def is_operation(event: Any) -> bool:
    """Not a region, nor a node of autograd, nor a kernel, whose time its operation has too."""
    on_cpu = event.device_type.name == "CPU"
    return on_cpu and not event.is_user_annotation and not event.key.startswith("autograd::engine")


def summary(rows: list[Operation], clock: PhaseClock, num_traced: int, on_gpu: bool) -> str:
    parts = [as_text(phase_table(clock))] if clock.num_steps else []
    parts += [as_text(operation_table(rows[:NUM_SHOWN], num_traced, on_gpu))] if rows else []
    return (
        "\n".join(parts) or "profile: the run ended before the steps that are looked at; allow more trainer.max_steps"
    )


def phase_table(clock: PhaseClock) -> Table:
    total = sum(clock.seconds.values())
    title = f"a step: {1e3 * total / clock.num_steps:.2f} ms, the mean of {clock.num_steps}"
    table = plain_table("phase", title=title)
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    for phase, seconds in clock.seconds.items():
        table.add_row(phase, f"{1e3 * seconds / clock.num_steps:.2f}", f"{100 * seconds / total:.1f} %")
    return table


def operation_table(rows: list[Operation], num_traced: int, on_gpu: bool) -> Table:
    where = "on the GPU" if on_gpu else "on the CPU"
    table = plain_table("operation", title=f"the most costly operations {where}, by their own time")
    for name in ("ms a step", "share", "calls a step"):
        table.add_column(name, justify="right")
    for row in rows:
        each = row.self_ms / num_traced
        table.add_row(row.name, f"{each:.3f}", f"{100 * row.share:.1f} %", f"{row.calls / num_traced:g}")
    return table

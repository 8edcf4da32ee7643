"""What a benchmark prints: rows of a table, or one JSON object; and how it measures: in turns, the least of several."""

import json
import platform
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

ROUNDS = 5


class Row(NamedTuple):
    """One figure, and what it should be; `bar` starts with "<=" or ">="."""

    what: str
    value: float
    unit: str = ""
    bar: str = ""

    @property
    def reached(self) -> bool | None:
        if not self.bar:
            return None
        sign, limit = self.bar.split()
        return self.value <= float(limit) if sign == "<=" else self.value >= float(limit)


def least(variants: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, float]:
    """The least figure of each variant over several rounds, in which each has its turn."""
    figures: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            figures[name].append(measure())
    return {name: min(values) for name, values in figures.items()}


def show(title: str, rows: Sequence[Row], *, as_json: bool) -> None:
    if as_json:
        figures = [row._asdict() | {"reached": row.reached} for row in rows]
        print(json.dumps({"benchmark": title, "machine": machine(), "rows": figures}))
        return
    table = Table("", "measured", "", "bar", "", title=title, caption=machine())
    for row in rows:
        mark = {None: "", True: "yes", False: "NO"}[row.reached]
        table.add_row(row.what, f"{row.value:,.{digits(row.value)}f}", row.unit, row.bar, mark)
    Console().print(table)


def digits(value: float) -> int:
    """Three digits that count, as far as there are any behind the point."""
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3


def machine() -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{device}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}"

"""Columns of text that fit the terminal."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from kindling.run_folders.listing import text_of

# Columns of an output that is no terminal.
WIDE = 200
# What a column may have if others want room too.
MOST = 20
# Between two columns.
GAP = 2


def width() -> int:
    return shutil.get_terminal_size((WIDE, 24)).columns


def show(shown: Any, columns: int | None = None) -> None:
    Console(width=columns or width(), highlight=False, markup=False, emoji=False).print(shown)


def show_fitting(cells: Mapping[str, Sequence[str]], by_worth: Sequence[str]) -> list[str]:
    """Print the columns that fit the terminal; the names of those that do not.

    Args:
        cells: by the name of a column.
        by_worth: all names, from the one on that is left out last.
    """
    free, shown, widths = width() + GAP, [], {}
    for name in by_worth:
        # What is longer is wrapped.
        widths[name] = min(max(map(cell_len, [text_of(name), *cells[name]])), MOST if shown else width() // 2)
        if widths[name] + GAP <= free:
            free -= widths[name] + GAP
            shown.append(name)
    found = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    kept = [name for name in cells if name in set(shown)]
    for name in kept:
        # The last may have all that is left.
        most = None if name == kept[-1] else widths[name]
        found.add_column(text_of(name), overflow="fold", min_width=widths[name], max_width=most)
    for row in zip(*(cells[name] for name in kept), strict=True):
        found.add_row(*row)
    show(found)
    return [name for name in by_worth if name not in set(shown)]

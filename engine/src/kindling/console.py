"""What a run prints: little while it runs, a table when it ends."""

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kindling.process.ranks import is_first_process
from kindling.stages import STAGES

log = logging.getLogger(__name__)
# As tasks and other people's modules name metrics.
STAGED = re.compile(r"(train|val|valid|validation|test)[/_.](.+)")
# Columns of a table that also goes into a file.
WIDTH = 100

NOT_FOR_USERS = (
    # Lightning 2.6 calls torch 2.15 in a way that torch will drop.
    ".*LeafSpec",
    # The summary counts the bytes of mixed precision as those of full.
    ".*not supported by the model summary",
    # It is said with what else is left out.
    ".*`Trainer.barebones=True.` is configured",
    # It always does when a run is resumed.
    "Checkpoint directory .* exists and is not empty",
)


@contextmanager
def silent() -> Iterator[None]:
    """Say nothing of what happens meanwhile."""
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def warn(problem: object) -> None:
    """Log, once for all processes, what can still be right but is likely not meant."""
    if is_first_process():
        log.warning("warning: %s", problem)


def report(message: str, *values: object) -> None:
    """Say, once for all processes, how a run goes on."""
    if is_first_process():
        log.info(message, *values)


def stage_of(metric: str) -> tuple[str, str]:
    """The stage and the rest of the name of a metric, such as val/loss or val_loss; "" for a name without a stage."""
    found = STAGED.fullmatch(metric)
    return ("val" if found[1].startswith("val") else found[1], found[2]) if found else ("", metric)


def print_results(metrics: dict[str, float], title: str, folder: Path) -> None:
    """A table of metrics by stage, and where to look next."""
    rows: dict[str, dict[str, float]] = {}
    for metric, value in metrics.items():
        stage, name = stage_of(metric)
        rows.setdefault(name, {})[stage] = value
    stages = [stage for stage in (*STAGES, "") if any(stage in row for row in rows.values())]
    table = Table("", *stages)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[stage]:.4f}" if stage in row else "" for stage in stages))

    console = Console()
    if stages:
        console.print(table)
    console.print(f"{title}: {folder}", soft_wrap=True, highlight=False, markup=False)


def as_text(table: Table) -> str:
    """A table as plain text, for the terminal and train.log alike."""
    stream = io.StringIO()
    Console(file=stream, width=WIDTH).print(table)
    return stream.getvalue()


def set_up_logging() -> None:
    """Show our progress, keep Lightning's warnings, drop its chatter, such as tips and devices that are not there."""
    # For a notebook; Hydra has done it elsewhere.
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)

    # Lightning, once imported, has set its own, with the path of a file of Lightning's.
    warnings.formatwarning = lambda message, category, filename, lineno, line=None: f"warning: {message}"
    for message in NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=message)

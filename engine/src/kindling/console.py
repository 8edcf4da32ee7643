"""What a run prints: little while it runs, a table when it ends."""

import io
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from kindling.process import terminal
from kindling.process.ranks import is_first_process
from kindling.stages import STAGES

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger(__name__)
# As tasks and other people's modules name metrics.
STAGED = re.compile(r"(train|val|valid|validation|test)[/_.](.+)")
# Columns of what is shown where no terminal says how many it has.
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


def print_results(metrics: dict[str, float], title: str, folder: Path, pictures: Iterable[str] = ()) -> None:
    """A table of metrics by stage, and where to look next: to stdout, and into train.log."""
    rows: dict[str, dict[str, float]] = {}
    for metric, value in metrics.items():
        stage, name = stage_of(metric)
        rows.setdefault(name, {})[stage] = value
    stages = [stage for stage in (*STAGES, "") if any(stage in row for row in rows.values())]
    table = plain_table("", *stages)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[stage]:.4f}" if stage in row else "" for stage in stages))
    text = f"{as_text(table) if stages else ''}{title}: {shown(folder)}"
    text += "".join(f"\n  {name}" for name in pictures)
    if not is_hushed():
        print(text)
    log_only(text)


def shown(path: Path) -> str:
    """A path as one would type it where the command was typed."""
    here = Path(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def width() -> int:
    """Columns of a line that is not wrapped."""
    return min(WIDTH, terminal.columns()) if terminal.is_watched() else WIDTH


def plain_table(*columns: str, title: str | None = None) -> "Table":
    """A table without lines but the one below its header."""
    from rich import box
    from rich.table import Table

    lines = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False}
    return Table(*columns, title=title, title_justify="left", caption_justify="left", **lines)


def as_text(table: "Table") -> str:
    """A table as plain text, for the terminal and train.log alike."""
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=width()).print(table)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def log_only(text: str, level: int = logging.INFO) -> bool:
    """Write into train.log what is shown elsewhere, or nowhere; whether there is one."""
    files = [each for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]
    record = logging.makeLogRecord({"msg": text, "levelno": level, "levelname": logging.getLevelName(level)})
    for handler in files:
        handler.handle(record)
    return bool(files)


def hush() -> None:
    """Show of a job what is said of the whole of it, warnings and errors; its train.log has all."""
    for handler in _shown_by():
        handler.setLevel(logging.WARNING)


def is_hushed() -> bool:
    return any(handler.level == logging.WARNING for handler in _shown_by())


def _shown_by() -> list[logging.Handler]:
    return [each for each in logging.getLogger().handlers if type(each) is logging.StreamHandler]


class _Painted(logging.Formatter):
    """Another formatter's lines, with colours."""

    def __init__(self, plain: logging.Formatter):
        super().__init__()
        self.plain = plain

    def format(self, record: logging.LogRecord) -> str:
        return terminal.painted(self.plain.format(record))


def set_up_logging() -> None:
    """Show our progress, keep Lightning's warnings, drop its chatter, such as tips and devices that are not there."""
    # For a notebook; Hydra has done it elsewhere.
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for handler in logging.getLogger().handlers:
        plain = handler.formatter
        to_stream = type(handler) is logging.StreamHandler and terminal.has_colours(handler.stream)
        if to_stream and plain and not isinstance(plain, _Painted):
            handler.setFormatter(_Painted(plain))
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)

    # Lightning, once imported, has set its own, with the path of a file of Lightning's.
    warnings.formatwarning = lambda message, category, filename, lineno, line=None: f"warning: {message}"
    for message in NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=message)

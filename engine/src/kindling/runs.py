"""What `python runs.py` does: lists runs, and shows a sweep."""

import argparse
import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from kindling.cli.outcome import BROKEN_PIPE
from kindling.config import project
from kindling.errors import ConfigError, KindlingError
from kindling.process import streams
from kindling.run_folders.listing import FACTS, Row, chosen, refuse_unknown, rows_of, text_of
from kindling.run_folders.trials import read_sweep, read_trials
from kindling.sweeps import words

# Columns of a terminal that is none.
WIDE = 200
EPILOG = """examples:
  python runs.py ls                                            all runs below logs/
  python runs.py ls logs/cnn --where status=finished --sort val/accuracy --reverse
  python runs.py ls --columns optimizer.lr,test/accuracy --where "optimizer.lr<0.01" --json
  python runs.py sweep logs/sweeps/cnn_optuna                  the trials of a sweep, best first"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message[0].lower()}{message[1:]}; see python runs.py --help")


def main(file: str, arguments: Sequence[str]) -> int:
    """The exit code: 0 done, 1 failed, 2 wrong arguments."""
    streams.take_over()
    try:
        project.check_origin(project.use(Path(file).resolve().parent))
        given = parser().parse_args(arguments)
        verb: Callable[[argparse.Namespace], None] = given.verb
        verb(given)
        sys.stdout.flush()
    except BrokenPipeError:
        return BROKEN_PIPE
    except KindlingError as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    return 0


def parser() -> argparse.ArgumentParser:
    found = _Parser(
        prog="runs.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = found.add_subparsers(required=True, metavar="ls|sweep")
    listed = verbs.add_parser("ls", help="runs with their status, settings and metrics")
    listed.add_argument("folder", nargs="?", type=Path, help="in which runs are looked for; by default logs/")
    listed.add_argument("--columns", default="", help="settings and metrics, with commas between")
    listed.add_argument(
        "--where", action="append", default=[], help="a condition, such as val/loss<0.1; may come twice"
    )
    listed.add_argument("--sort", help="a column")
    listed.add_argument("--reverse", action="store_true", help="the largest first")
    listed.add_argument("--json", action="store_true", help="a JSON list, with all settings and metrics")
    listed.set_defaults(verb=ls)
    shown = verbs.add_parser("sweep", help="the trials of a sweep")
    shown.add_argument("folder", type=Path, help="of the sweep")
    shown.set_defaults(verb=sweep)
    return found


def ls(given: argparse.Namespace) -> None:
    """
    Raises:
        ConfigError: there is no such folder or column.
    """
    folder: Path = given.folder or project.current().root / "logs"
    if not folder.is_dir():
        raise ConfigError(f"folder: given {folder}, which is no folder; allowed: one with runs in it")
    every = list(rows_of(folder))
    columns = [name for name in given.columns.split(",") if name]
    for name in columns:
        refuse_unknown("--columns", name, every)
    rows = chosen(every, given.where, given.sort, reverse=given.reverse)
    if given.json:
        listed = [{name: _finite(value) for name, value in {**row.facts, **row.others}.items()} for row in rows]
        print(json.dumps(listed, indent=2))
        return
    _print(_table(rows, [*FACTS[:-1], *columns, "reason"]))
    left_out = len(every) - len(rows)
    print(f"{len(rows)} runs in {folder}{f'; {left_out} left out by --where' if left_out else ''}")


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(rows: Sequence[Row], columns: Sequence[str]) -> Table:
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_line(row[name]) for name in columns))
    return table


def _line(value: Any) -> str:
    return text_of(value).partition("\n")[0][:100]


def sweep(given: argparse.Namespace) -> None:
    """
    Raises:
        ConfigError: the folder holds no sweep.
    """
    settings = read_sweep(given.folder) if given.folder.is_dir() else None
    if settings is None or not {"monitor", "better"} <= settings.keys():
        raise ConfigError(f"folder: given {given.folder}, which holds no sweep; allowed: a folder below logs/sweeps")
    trials = read_trials(given.folder)
    _print(words.table(trials, settings))
    print(f"{words.counts(trials) or 'no trial yet'}; {given.folder}")


def _print(table: Table) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
    Console(width=width, highlight=False, markup=False).print(table)

"""What `python runs.py` does: lists runs, and shows a sweep."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from kindling.config import project
from kindling.config.extras import has_room
from kindling.errors import ConfigError, KindlingError
from kindling.process import streams, terminal
from kindling.run_folders.columns import show, show_fitting, width
from kindling.run_folders.listing import FACTS, chosen, refuse_unknown, rows_of, text_of
from kindling.run_folders.trials import TRIAL_FILE, Trial, read_sweep, read_trials, unreadable

# Characters of a cell.
LONGEST = 100
NO_PICTURES = "none; fewer than two trials have finished with a number"
EPILOG = """examples:
  python runs.py ls               all runs below logs/
  python runs.py ls logs/cnn --where status=finished --sort val/loss
  python runs.py ls --columns optimizer.lr,val/loss --where "optimizer.lr<0.01"
  python runs.py ls --json        with all settings and metrics"""
OF_SWEEPS = """
  python runs.py sweep logs/sweeps/cnn_optuna         the trials, best first
  python runs.py sweep logs/sweeps/cnn_optuna --plots
                                  and pictures of them, into its folder
  python runs.py sweep logs/sweeps/cnn_optuna --db sweep.db
                                  for optuna-dashboard sqlite:///sweep.db
  python runs.py confirm logs/sweeps/cnn_optuna seeds=5
                                  the best against the defaults, over new seeds"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message[0].lower()}{message[1:]}; see python runs.py --help")


def main(file: str, arguments: Sequence[str]) -> int:
    """The exit code: 0 done, 1 failed, 2 wrong arguments."""
    streams.take_over()
    try:
        project.check_origin(project.use(Path(file).resolve().parent))
        given = parser().parse_args(arguments)
        verb: Callable[[argparse.Namespace], int | None] = given.verb
        code = verb(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # It takes Hydra, and so half of the time of a list.
        from kindling.cli.outcome import BROKEN_PIPE

        return BROKEN_PIPE
    except KindlingError as error:
        terminal.say("\n".join(f"error: {line}" for line in str(error).splitlines()))
        return error.exit_code
    return code or 0


def parser() -> argparse.ArgumentParser:
    found = _Parser(
        prog="runs.py",
        description=__doc__,
        epilog=EPILOG + OF_SWEEPS * has_room("sweeps"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = found.add_subparsers(required=True, metavar="ls|sweep|confirm" if has_room("sweeps") else "ls")
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
    if has_room("sweeps"):
        add_those_of_sweeps(verbs)
    return found


def add_those_of_sweeps(verbs: Any) -> None:
    shown = verbs.add_parser("sweep", help="the trials of a sweep")
    shown.add_argument("folder", type=Path, help="of the sweep")
    shown.add_argument("--json", action="store_true", help="a JSON list of the trials, with all settings")
    shown.add_argument("--plots", action="store_true", help="draw history, importance, slices, parallel coordinates")
    shown.add_argument("--db", type=Path, metavar="FILE", help="write a study of Optuna, for optuna-dashboard")
    shown.set_defaults(verb=sweep)
    confirmed = verbs.add_parser("confirm", help="a trial of a sweep against the defaults, over new seeds")
    confirmed.add_argument("folder", type=Path, help="of the sweep")
    confirmed.add_argument("overrides", nargs="*", help="seeds=5, trial=NUMBER, and settings of both, as for train.py")
    confirmed.set_defaults(verb=confirm)


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
    refuse_unknown("--columns", columns, every)
    rows = chosen(every, given.where, given.sort, reverse=given.reverse)
    if given.json:
        listed = [{name: _finite(value) for name, value in {**row.others, **row.facts}.items()} for row in rows]
        print(json.dumps(listed, indent=2))
        return
    cells = {name: [_line(row[name], name) for row in rows] for name in [*FACTS[:-1], *columns, "reason"]}
    # Most runs have no reason, and many no best.
    cells = {name: column for name, column in cells.items() if name not in ("best", "reason") or any(column)}
    by_worth = ["run", *columns, *(name for name in ("status", "reason", "started", "best") if name in cells)]
    left_out = show_fitting(cells, list(dict.fromkeys(by_worth)))
    hidden = len(every) - len(rows)
    parts = [f"{len(rows)} run{'s' * (len(rows) != 1)} in {folder}"]
    parts += [f"{hidden} left out by --where"] * bool(hidden)
    named = ", ".join(left_out[:3]) + (f" and {len(left_out) - 3} more" if len(left_out) > 3 else "")
    parts += [f"no room for {named}, which --json has"] * bool(left_out)
    print("; ".join(parts))


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(value: Any, name: str) -> str:
    """One line of a terminal."""
    first, _, more = text_of(value).partition("\n")
    # A time is shown to the minute.
    text = first[:16].replace("T", " ") if name == "started" else first
    return f"{text[:LONGEST]}…" if more or len(text) > LONGEST else text


def sweep(given: argparse.Namespace) -> None:
    """
    Raises:
        ConfigError: the folder holds no sweep, or a file cannot be written.
    """
    from kindling.sweeps import table

    settings, trials = sweep_settings(given.folder), read_trials(given.folder)
    if given.json:
        print(json.dumps(table.as_json(trials, settings), indent=2))
    else:
        _show_sweep(given.folder, settings, trials)
    # Optuna and matplotlib are imported only where they are needed, as are sweeps, which a project may leave out.
    if given.plots:
        from kindling.sweeps.pictures import draw

        files = draw(given.folder, settings, trials)
        said = f"in {files[0].parent}: {', '.join(file.name for file in files)}" if files else NO_PICTURES
        print(f"pictures: {said}", file=sys.stderr if given.json else sys.stdout)
    if given.db:
        from kindling.sweeps.study import write_db

        write_db(given.db, given.folder, settings, trials)
        print(f"optuna-dashboard sqlite:///{given.db}", file=sys.stderr if given.json else sys.stdout)


def sweep_settings(folder: Path) -> dict[str, Any]:
    """What sweep.json of a folder holds.

    Raises:
        ConfigError: the folder holds no sweep.
    """
    settings = read_sweep(folder) if folder.is_dir() else None
    if settings is None or not _is_sweep(settings):
        raise ConfigError(f"folder: given {folder}, which holds no sweep; allowed: a folder below logs/sweeps")
    return settings


def _is_sweep(settings: dict[str, Any]) -> bool:
    """Whether a sweep.json, which somebody else may have written, says what the trials are compared by."""
    objectives, known = settings.get("objectives"), (settings.get("better"), isinstance(settings.get("monitor"), str))
    ways = list(objectives.values()) if isinstance(objectives, dict) else []
    are_right = objectives is None or (ways and all(way in ("min", "max") for way in ways))
    return known in (("min", True), ("max", True)) and isinstance(settings.get("params"), dict) and bool(are_right)


def _show_sweep(folder: Path, settings: dict[str, Any], trials: Sequence[Trial]) -> None:
    from kindling.sweeps import table, words
    from kindling.sweeps.objectives import front_of, is_over_seeds, objectives_of

    if trials:
        show(table.table(trials, settings, columns=width()))
    for line in table.reasons(trials):
        show(line)
    if broken := unreadable(folder):
        print(f"left out: {words.numbered(broken)}, whose {TRIAL_FILE} cannot be read")
    objectives = objectives_of(settings)
    front = [] if is_over_seeds(settings) else front_of(trials, objectives)
    if is_over_seeds(settings):
        print(words.over_seeds(trials, objectives))
    for trial in front if len(objectives) == 1 else ():
        print(f"best: trial {trial.number}, {words.values(trial, objectives)}: {text_of(words.chosen(trial))}")
    if front and len(objectives) > 1:
        print(f"none is better in all than trials {', '.join(str(trial.number) for trial in front)}")
    print(f"{words.counts(trials) or 'no trial yet'}; {folder}")


def confirm(given: argparse.Namespace) -> int:
    """The exit code: that of a command that could not run to its end; 1 if a run has failed.

    Raises:
        ConfigError: the folder holds no sweep, or no trial of this kind.
    """
    from kindling.sweeps import confirmation

    settings, trials = sweep_settings(given.folder), read_trials(given.folder)
    numbers = {"seeds": 5, "trial": None}
    more = [each for each in given.overrides if each.partition("=")[0] not in numbers]
    for override in given.overrides:
        name, _, value = override.partition("=")
        if name in numbers:
            least = 2 if name == "seeds" else 0
            if not value.isdecimal() or int(value) < least:
                raise ConfigError(f"{name}: given {value}; allowed: a whole number of {least} or more")
            numbers[name] = int(value)
    seeds = numbers["seeds"] or 0
    winner = confirmation.winner_of(settings, trials, numbers["trial"])
    arms = confirmation.arms_of(given.folder, settings, winner, more)
    first_seed, failed = confirmation.first_seed_of(trials), 0
    for arm in arms:
        if not arm.is_done(seeds):
            print(f"confirm: {arm.title}, {seeds} seeds", flush=True)
            code = confirmation.run(confirmation.command_of(arm, seeds, first_seed))
            if code not in (0, 1):
                return code
        failed += sum(trial.state == "failed" for trial in arm.ended(seeds).values())
    print("\n".join(confirmation.report(arms, settings, winner, seeds)))
    return int(failed > 0)

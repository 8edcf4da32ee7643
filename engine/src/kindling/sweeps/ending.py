"""What the end of a sweep says and leaves: its table, the best trials as experiments, its pictures."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from kindling.config import project
from kindling.console import shown
from kindling.errors import KindlingError, one_line
from kindling.files.foreign_file import read_text
from kindling.files.redaction import redact_text
from kindling.files.whole_file import write_whole
from kindling.process import terminal
from kindling.run_folders.columns import show, width
from kindling.run_folders.trials import Trial, read_sweep
from kindling.sweeps import table, words
from kindling.sweeps.objectives import front_of, is_over_seeds, objectives_of
from kindling.sweeps.recipe import recipe

# Rows of the table.
MOST_SHOWN = 20
# What this file writes.
BEST, MOST_OF_RECIPE = re.compile(r"best(_[0-9]+)?\.yaml"), 1_000_000


def conclude(folder: Path, trials: Sequence[Trial], loader: Any, fixed: Sequence[str]) -> None:
    """
    Args:
        folder: of the sweep.
        trials: all of them.
        loader: Hydra's, which knows the groups.
        fixed: the overrides that all trials have.

    Raises:
        KindlingError: trials have failed.
    """
    description = read_sweep(folder) or {}
    show(table.table(trials, description, MOST_SHOWN, width()))
    if len(trials) > MOST_SHOWN:
        print(f"and {len(trials) - MOST_SHOWN} more: python runs.py sweep {quote(shown(folder))}")
    if is_over_seeds(description):
        print(words.over_seeds(trials, objectives_of(description)))
    else:
        _write_best(folder, description, trials, loader, fixed)
        _draw(folder, description, trials)
    print(f"sweep: {words.counts(trials)}; {shown(folder)}", flush=True)
    failed = sum(trial.state == "failed" for trial in trials)
    if failed:
        raise KindlingError(f"sweep: {failed} of {len(trials)} trials failed: {words.failures(trials)}")


def _write_best(
    folder: Path, description: Mapping[str, Any], trials: Sequence[Trial], loader: Any, fixed: Sequence[str]
) -> None:
    objectives = objectives_of(description)
    title, written = f"The best of {folder.name}: ", set()
    for trial in front_of(trials, objectives):
        said = f"trial {trial.number}, {words.values(trial, objectives)}"
        print(f"best: {said}: {words.chosen(trial)}")
        file = folder / ("best.yaml" if len(objectives) == 1 else f"best_{trial.number}.yaml")
        text = recipe(loader, [*fixed, *trial.overrides], f"{title}{said}")
        written.add(file)
        with write_whole(file) as stream:
            stream.write(redact_text(text))
        print(f"as an experiment: cp {quote(shown(file))} {quote(shown(project.current().configs))}/experiment/")
    # Those that were the best when fewer trials had ended.
    for file in {folder / "best.yaml", *folder.glob("best_*.yaml")} - written:
        if BEST.fullmatch(file.name) and file.is_file() and f"# {title}" in read_text(file, MOST_OF_RECIPE):
            file.unlink()


def _draw(folder: Path, description: Mapping[str, Any], trials: Sequence[Trial]) -> None:
    try:
        from kindling.sweeps.pictures import draw

        files = draw(folder, description, trials)
    except Exception as error:
        # What the trials have found does not depend on it.
        terminal.say(f"warning: no pictures of the sweep: {one_line(error)}")
        return
    if files:
        print(f"pictures: {shown(files[0].parent)}")

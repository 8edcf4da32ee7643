"""Which pictures of a sweep are drawn, and where they lie."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from kindling.errors import KindlingError, one_line
from kindling.files.whole_file import write_whole
from kindling.run_folders.trials import Trial
from kindling.sweeps.objectives import objectives_of, values_of
from kindling.sweeps.parallel import parallel
from kindling.sweeps.plots import front, history, importances, plotted, slices
from kindling.sweeps.study import importances_of, space_of, study_of

FOLDER = "plots"
# Fewer trials with numbers are read more quickly in the table.
FEWEST = 2


def draw(sweep: Path, settings: Mapping[str, Any], trials: Sequence[Trial]) -> list[Path]:
    """Write the pictures of a sweep into its folder; none if too few trials have finished.

    Raises:
        KindlingError: they cannot be drawn, such as of numbers of 300 digits.
    """
    objectives = objectives_of(settings)
    scored = [trial for trial in trials if values_of(trial, objectives)]
    if len(scored) < FEWEST:
        return []
    space = space_of(settings, trials)
    importance = importances_of(study_of(sweep.name, settings, space, trials))
    pictures: dict[str, Callable[[], Figure]] = {}
    for name, better in objectives.items():
        shown = plotted(name, better, space, trials)
        of = f"_{re.sub('[^A-Za-z0-9]+', '-', name)}" if len(objectives) > 1 else ""
        of_settings = (("slices", slices), ("parallel", parallel)) if space else ()
        for title, picture in (("history", history), *of_settings):
            pictures[f"{title}{of}"] = partial(picture, shown)
    if importance:
        pictures["importance"] = partial(importances, importance, len(scored))
    if len(objectives) > 1:
        pictures["front"] = partial(front, objectives, scored)
    try:
        return [_write(sweep / FOLDER / f"{name}.png", picture) for name, picture in pictures.items()]
    except Exception as error:
        raise KindlingError(f"pictures of {sweep}: {one_line(error)}") from error


def _write(file: Path, picture: Callable[[], Figure]) -> Path:
    file.parent.mkdir(exist_ok=True)
    # Of signs that the font has not, for one.
    with warnings.catch_warnings(), write_whole(file, "wb") as stream:
        warnings.simplefilter("ignore")
        picture().savefig(stream, format="png", dpi=100)
    return file

"""Pictures of a sweep: its history, what mattered, each setting alone, and all of them together."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kindling.config.space import Param
from kindling.run_folders.listing import text_of
from kindling.run_folders.trials import Trial
from kindling.sweeps.objectives import front_of
from kindling.sweeps.table import short_names

# Values of a logarithmic axis differ by more than this factor.
FAR = 50
COLUMNS = 4
# From how many trials on an importance is more than a hint.
MANY = 50
# Characters of a value, and of a name.
LONGEST, LONGEST_NAME = 16, 24
# Characters of all values side by side.
WIDEST = 24
# Choices that an axis names.
MOST_CHOICES = 12
# Numbers of more trials would overlap.
MOST_NAMED = 25


class Plotted(NamedTuple):
    """What all pictures of one objective share.

    Attributes:
        trials: those with a number, by it.
        others: by state, the numbers of the trials without.
        labels: by the key of a setting.
    """

    objective: str
    better: str
    space: Sequence[Param]
    trials: Sequence[Trial]
    scores: Sequence[float]
    others: Mapping[str, Sequence[int]]
    labels: Mapping[str, str]

    @property
    def is_log(self) -> bool:
        return min(self.scores) > 0 and max(self.scores) > FAR * min(self.scores)

    @property
    def title(self) -> str:
        """Which trials a picture shows, and which it cannot."""
        left_out = ", ".join(f"{len(of)} {state}" for state, of in self.others.items())
        return f"{len(self.trials)} finished trials{f'; not shown: {left_out}' if left_out else ''}"

    @property
    def best(self) -> int:
        """The place of the best of the trials."""
        return self.scores.index((max if self.better == "max" else min)(self.scores))


def plotted(objective: str, better: str, space: Sequence[Param], trials: Sequence[Trial]) -> Plotted:
    found = {trial.number: trial.value(objective) for trial in trials}
    scored = [trial for trial in trials if found[trial.number] is not None]
    others: dict[str, list[int]] = {}
    for trial in trials:
        if found[trial.number] is None:
            state = {"finished": "no number", "open": "not ended"}.get(trial.state, trial.state)
            others.setdefault(state, []).append(trial.number)
    scores = [score for score in found.values() if score is not None]
    labels = {key: cut(short, LONGEST_NAME) for key, short in short_names([param.key for param in space]).items()}
    return Plotted(cut(objective, LONGEST_NAME), better, space, scored, scores, others, labels)


def history(shown: Plotted) -> Figure:
    """Each trial by its number, and the best so far."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    numbers = [trial.number for trial in shown.trials]
    choose = max if shown.better == "max" else min
    best = [choose(shown.scores[: place + 1]) for place in range(len(shown.scores))]
    # The best so far lasts until the last trial, whatever came of that.
    last = max([*numbers, *(number for of in shown.others.values() for number in of)])
    axes.step([*numbers, last], [*best, best[-1]], where="post", color="C1", label="best so far")
    axes.scatter(numbers, shown.scores, s=22, color="C0", label=f"finished ({len(numbers)})", zorder=3)
    # On the frame, since they have no number.
    frame = {"s": 24, "transform": axes.get_xaxis_transform()}
    for place, (state, of) in enumerate(shown.others.items()):
        look = {"marker": "x|+1"[place % 4], "color": f"C{place + 2}", "label": f"{state} ({len(of)})"}
        axes.scatter(of, [0.02] * len(of), **look, **frame)
    axes.set(xlabel="trial", yscale="log" if shown.is_log else "linear")
    axes.set_ylabel(f"{shown.objective} ({shown.better})", parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper left", ncols=3, fontsize=8, frameon=False)
    return figure


def importances(importance: Mapping[str, float], num_trials: int) -> Figure:
    """The share of each setting, the largest on top."""
    ordered = sorted(importance.items(), key=lambda each: each[1])
    figure = Figure(figsize=(8, 1.4 + 0.32 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(ordered)), [share for _, share in ordered], color="C0")
    axes.bar_label(bars, [f"{share:.2f}" for _, share in ordered], padding=3, fontsize=9)
    axes.set_yticks(
        range(len(ordered)), [cut(key.lstrip("+"), 2 * LONGEST_NAME) for key, _ in ordered], parse_math=False
    )
    axes.set(xlim=(0, 1.1 * ordered[-1][1] or 1), xlabel="share of the importance (PED-ANOVA)")
    doubt = "; of so few, a hint at most" if num_trials < MANY else ""
    axes.set_title(f"what sets the best of {num_trials} finished trials apart{doubt}", fontsize=10)
    return figure


def front(objectives: Mapping[str, str], trials: Sequence[Trial]) -> Figure:
    """Each pair of objectives; the trials of the front with their numbers."""
    pairs = list(combinations(objectives, 2))
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(max(6, 4.5 * columns), 4.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    best = front_of(trials, objectives)
    for axes, (across, up) in zip(grid.flat, pairs, strict=False):
        for of, colour, label in ((trials, "0.7", "finished"), (best, "C3", "on the front")):
            places = [(trial.value(across), trial.value(up)) for trial in of]
            axes.scatter(*zip(*places, strict=True), s=24, color=colour, label=f"{label} ({len(of)})")
        for trial in best[:MOST_NAMED]:
            place = (trial.value(across), trial.value(up))
            axes.annotate(str(trial.number), place, (4, 4), textcoords="offset points", fontsize=8)
        axes.set_xlabel(f"{cut(across, LONGEST_NAME)} ({objectives[across]})", parse_math=False)
        axes.set_ylabel(f"{cut(up, LONGEST_NAME)} ({objectives[up]})", parse_math=False)
    for axes in grid.flat[len(pairs) :]:
        axes.set_axis_off()
    figure.legend(
        *grid.flat[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8, frameon=False
    )
    return figure


def slices(shown: Plotted) -> Figure:
    """Each setting alone: its values and what came of them."""
    columns = min(COLUMNS, len(shown.space))
    rows = -(-len(shown.space) // columns)
    figure = Figure(figsize=(max(5, 3.1 * columns), 0.3 + 2.9 * rows), layout="constrained")
    figure.suptitle(f"{shown.title}; the best is circled", fontsize=9, x=0.01, ha="left")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for place, param in enumerate(shown.space):
        _slice(grid.flat[place], shown, param)
    for axes in grid.flat[len(shown.space) :]:
        axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel(shown.objective, parse_math=False)
    colours = ScalarMappable(Normalize(0, max(1, shown.trials[-1].number)), "Blues")
    figure.colorbar(colours, ax=grid, label="trial", aspect=40, pad=0.01, ticks=MaxNLocator(integer=True))
    return figure


def _slice(axes: Axes, shown: Plotted, param: Param) -> None:
    there = [place for place, trial in enumerate(shown.trials) if param.key in trial.params]
    across = [position(param, shown.trials[place].params[param.key]) for place in there]
    numbers = [shown.trials[place].number for place in there]
    if param.choices:
        # Trials of one value would hide each other.
        across = [value + 0.25 * _spread(number) for value, number in zip(across, numbers, strict=True)]
        is_wide = sum(map(len, param.choices)) > WIDEST
        turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if is_wide else {}
        named = named_choices(param)
        axes.set_xticks(list(named), list(named.values()), parse_math=False, fontsize=8, **turned)
        axes.set_xlim(-0.5, len(param.choices) - 0.5)
    else:
        axes.set_xscale("log" if param.log else "linear")
        # All of the interval is shown, also where no trial was.
        axes.plot([param.low, param.high], [shown.scores[0]] * 2, alpha=0)
    up = [shown.scores[place] for place in there]
    shades = {"c": numbers, "cmap": "Blues", "vmin": 0, "vmax": max(1, shown.trials[-1].number)}
    axes.scatter(across, up, s=20, edgecolors="0.4", linewidths=0.5, **shades)
    if shown.best in there:
        best = there.index(shown.best)
        axes.scatter(across[best], up[best], s=90, facecolors="none", edgecolors="C3")
    axes.set_xlabel(shown.labels[param.key], parse_math=False, fontsize=9)
    axes.set_yscale("log" if shown.is_log else "linear")


def _spread(number: int) -> float:
    """From -1 to 1, the same for a trial in each picture."""
    return 2 * ((number * 0.618) % 1) - 1


def named_choices(param: Param) -> dict[int, str]:
    """By their places, the choices that an axis names: all, or evenly chosen ones of many."""
    step = -(-len(param.choices) // MOST_CHOICES)
    return {place: cut(param.choices[place]) for place in range(0, len(param.choices), step)}


def cut(text: str, longest: int = LONGEST) -> str:
    """As much as an axis has room for, without what is no letter."""
    text = text_of(" ".join(text.split()))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def position(param: Param, text: str) -> float:
    """Where a value stands on its axis; NaN of none."""
    if param.choices:
        return float(param.choices.index(text)) if text in param.choices else math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan

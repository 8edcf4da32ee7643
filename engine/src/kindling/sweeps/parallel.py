"""All settings of a sweep together: a line for each trial through its values to what came of it."""

import math
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from kindling.config.space import Param
from kindling.run_folders.trials import Trial
from kindling.sweeps.plots import Plotted, named_choices, position

# The best trials are dark.
COLOURS = {"min": "viridis", "max": "viridis_r"}
# Where a line runs past a setting that is not there under its condition.
BELOW = -0.08
# The share of the trials, from the best on, over which colours run; the rest has the last colour.
COLOURED = 0.75


class Scale(NamedTuple):
    """One of the axes.

    Attributes:
        marks: values that are named beside it.
    """

    low: float
    high: float
    log: bool
    marks: tuple[tuple[float, str], ...]

    def height(self, value: float) -> float:
        """From 0 to 1; BELOW of NaN."""
        if math.isnan(value):
            return BELOW
        low, high, value = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return (value - low) / (high - low) if high > low else 0.5


def parallel(shown: Plotted) -> Figure:
    """The best trial is red, and drawn over all others."""
    scales = [scale_of(param, shown) for param in shown.space]
    result = numbers(min(shown.scores), max(shown.scores), shown.is_log)
    figure = Figure(figsize=(max(7, 1.5 * (len(scales) + 1)), 5.5), layout="constrained")
    axes = figure.subplots()
    colours = _colours(shown)
    shades = colours.to_rgba(np.array(shown.scores))
    for place in sorted(range(len(shown.trials)), key=lambda each: shown.scores[each], reverse=shown.better == "min"):
        trial, score = shown.trials[place], shown.scores[place]
        heights = [scale.height(_value(param, trial)) for param, scale in zip(shown.space, scales, strict=True)]
        axes.plot([*heights, result.height(score)], color=shades[place], linewidth=1, alpha=0.6)
        if place == shown.best:
            axes.plot(
                [*heights, result.height(score)], color="C3", linewidth=2.5, label=f"trial {trial.number}, the best"
            )

    for place, scale in enumerate([*scales, result]):
        _draw(axes, place, scale)
    labels = [*(shown.labels[param.key] for param in shown.space), shown.objective]
    lines = [label.replace("_", "_\n", 1) if len(label) > 12 else label for label in labels]
    axes.set_xticks(range(len(labels)), lines, parse_math=False, fontsize=9)
    axes.set(xlim=(-0.1, len(scales) + 0.6), ylim=(BELOW - 0.04, 1.04), yticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if any(param.key not in trial.params for param in shown.space for trial in shown.trials):
        axes.axhline(BELOW, color="0.8", linewidth=0.8, linestyle=":", label="the setting is not there", zorder=0)
    legend = figure.legend(loc="outside upper left", ncols=2, fontsize=8, frameon=False, alignment="left")
    legend.set_title(shown.title)
    bar = figure.colorbar(colours, ax=axes, aspect=40, pad=0.01, extend="max" if shown.better == "min" else "min")
    bar.set_label(shown.objective, parse_math=False)
    return figure


def _colours(shown: Plotted) -> ScalarMappable:
    ordered = sorted(shown.scores, reverse=shown.better == "max")
    ends = sorted((ordered[0], ordered[math.ceil(COLOURED * (len(ordered) - 1))]))
    norm = LogNorm if shown.is_log else Normalize
    return ScalarMappable(norm(*ends, clip=True), COLOURS[shown.better])


def _value(param: Param, trial: Trial) -> float:
    return position(param, trial.params[param.key]) if param.key in trial.params else math.nan


def scale_of(param: Param, shown: Plotted) -> Scale:
    if param.choices:
        named = tuple((float(place), text) for place, text in named_choices(param).items())
        return Scale(0, len(param.choices) - 1, False, named)
    # Trials to begin with may lie outside.
    there = [value for trial in shown.trials if not math.isnan(value := _value(param, trial))]
    return numbers(min(param.low, *there), max(param.high, *there), param.log and min([param.low, *there]) > 0)


def numbers(low: float, high: float, log: bool) -> Scale:
    middle = [math.sqrt(low * high) if log else (low + high) / 2] if high > low else []
    return Scale(low, high, log, tuple((value, f"{value:.3g}") for value in (low, *middle, high)))


def _draw(axes: Axes, place: int, scale: Scale) -> None:
    axes.plot([place, place], [0, 1], color="0.2", linewidth=1)
    for value, text in scale.marks:
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
        axes.text(
            place + 0.04, scale.height(value), text, fontsize=8, va="center", bbox=box, parse_math=False, zorder=4
        )

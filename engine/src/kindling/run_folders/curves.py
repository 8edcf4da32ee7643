"""curves.png: how a run has learnt, drawn from its metrics.csv once it has ended."""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kindling.console import stage_of, warn
from kindling.errors import one_line
from kindling.files.foreign_file import read_text
from kindling.files.picture import save
from kindling.process.start_and_end import uncollected
from kindling.run_folders.saved_run import run_of
from kindling.run_folders.trials import MOST_OF_METRICS, TRIAL_FILE
from kindling.stages import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# By stage: the same colours in every panel.
COLOURS = {"train": "C0", "val": "C1", "test": "C2", "": "C0"}
RATE = "learning rate"
MAX_PANELS, COLUMNS = 9, 3
# Inches of a panel.
SIDE = (4.8, 3.4)
# With more points, a marker at each would hide the line.
MAX_MARKED = 40

# Of a metric: steps and values.
Curves = Mapping[str, list[tuple[int, float]]]


def draw(folder: Path) -> None:
    """Write curves.png into the folder of a run that is no trial and has two points of a metric; no error is raised."""
    if (folder / TRIAL_FILE).exists() or not (folder / "metrics.csv").exists():
        return
    try:
        curves = read_curves(folder)
        if any(len(points) > 1 for points in curves.values()):
            # Importing matplotlib takes half a second.
            with uncollected():
                figure = plot_curves(curves, run_of(folder) or {}, f"{folder.parent.name}/{folder.name}")
            save(figure, folder / "curves.png")
    except Exception as error:
        # Matplotlib raises what it likes, and no picture is worth a run.
        warn(f"curves.png: cannot be drawn: {one_line(error)}")


def read_curves(folder: Path) -> Curves:
    """The finite values of each column of metrics.csv.

    Raises:
        OSError, ValueError: the table cannot be read.
    """
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in csv.DictReader(StringIO(read_text(folder / "metrics.csv", MOST_OF_METRICS))):
        step = int(row.pop("step"))
        for name, text in row.items():
            if text and math.isfinite(value := float(text)):
                curves[name].append((step, value))
    return curves


def panels_of(curves: Curves) -> dict[str, list[str]]:
    """Metrics by what they are of, such as loss: [train/loss, val/loss]; the loss first, further ones by name."""
    panels: dict[str, list[str]] = defaultdict(list)
    stages = [*STAGES, ""]
    for name in sorted(curves.keys() - {"epoch"}, key=lambda name: (stages.index(stage_of(name)[0]), name)):
        panels[RATE if name.startswith("lr-") else stage_of(name)[1].removesuffix("_step")].append(name)
    staged = {name for name, metrics in panels.items() if any(stage_of(metric)[0] for metric in metrics)}
    order = sorted(panels, key=lambda name: (name != "loss", name not in staged, name != RATE, name))
    return {name: panels[name] for name in order}


def plot_curves(curves: Curves, facts: Mapping[str, Any], title: str) -> "Figure":
    """A panel for each metric, train, val and test in one, with the best epoch marked in all."""
    from matplotlib.figure import Figure

    panels = panels_of(curves)
    shown = dict(list(panels.items())[:MAX_PANELS])
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(SIDE[0] * columns, SIDE[1] * rows + 0.4), layout="constrained")
    more = len(panels) - len(shown)
    left_out = f"; {more} further metrics are in metrics.csv" if more else ""
    figure.suptitle(f"{title}: {facts.get('status', '')}{left_out}", fontsize=11, parse_math=False)
    best = best_point(curves, facts.get("best") or best_so_far(curves, facts.get("settings") or {}))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes, (name, metrics) in zip(grid.flat, shown.items(), strict=False):
        _plot_panel(axes, name, {metric: curves[metric] for metric in metrics}, best)
    for empty in grid.flat[len(shown) :]:
        empty.remove()
    return figure


def best_so_far(curves: Curves, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run that has not come to its end, which alone writes it down."""
    points = curves.get(str(settings.get("monitor")), [])
    pick = {"min": min, "max": max}.get(str(settings.get("monitor_mode")))
    if not points or pick is None:
        return {}
    return {"monitor": settings["monitor"], "score": pick(value for _, value in points)}


def best_point(curves: Curves, best: Mapping[str, Any]) -> tuple[str, int, float, str] | None:
    """The metric that was watched, the step and the value of its best, and that in words."""
    monitor, score, epoch = best.get("monitor"), best.get("score"), best.get("epoch")
    points = curves.get(str(monitor))
    if not points or score is None:
        return None
    step, value = min(points, key=lambda point: abs(point[1] - score))
    in_epoch = f" in epoch {epoch}" if epoch is not None else ""
    return str(monitor), step, value, f"best: {monitor} {score:.4g}{in_epoch}"


def _plot_panel(axes: "Axes", name: str, curves: Curves, best: tuple[str, int, float, str] | None) -> None:
    seen: set[tuple[tuple[int, float], ...]] = set()
    for metric, points in curves.items():
        # Groups of parameters often share their rate.
        if name == RATE and tuple(points) in seen:
            continue
        seen.add(tuple(points))
        colour = f"C{len(seen) - 1}" if name == RATE else COLOURS[stage_of(metric)[0]]
        is_of_steps = metric.endswith("_step")
        marker = "." if len(points) <= MAX_MARKED and not is_of_steps else ""
        line: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.4} if is_of_steps else {"linewidth": 1.6, "marker": marker}
        if stage_of(metric)[0] == "test":
            line = {"linewidth": 0, "marker": "*", "markersize": 9}
        label = f"{metric} {points[-1][1]:.4g}"
        axes.plot(*zip(*points, strict=True), color=colour, label=label, **line)
    if best:
        monitor, step, value, words = best
        axes.axvline(step, color="0.5", linestyle="--", linewidth=1, label=words if monitor in curves else None)
        if monitor in curves:
            axes.plot(
                [step], [value], marker="o", markersize=9, markerfacecolor="none", color=COLOURS[stage_of(monitor)[0]]
            )
    axes.set_title(name, fontsize=10, parse_math=False)
    axes.set_xlabel("step")
    axes.tick_params(labelbottom=True)
    axes.grid(alpha=0.25)
    legend = axes.legend(fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)

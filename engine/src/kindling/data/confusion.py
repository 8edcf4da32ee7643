"""A picture of which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kindling.errors import printable

# Names of more classes would overlap.
MAX_NAMED_CLASSES = 100
# Inches of a figure's side.
SIDES = (6.0, 24.0)
CELL, MARGIN = 0.42, 2.2
# Points.
FONTS = (5.0, 9.0)
# Points of titles, by inches of a side: a large picture is looked at from further away.
TITLE, LEAST_TITLE = 0.65, 10.0
# The lightest shade of a mistake, so that one in a thousand is seen.
LIGHTEST = 0.35
# Characters of a class name.
LONGEST = 20
NUM_WORST = 3
NONE = "–"


def plot_confusion_matrix(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> Figure:
    """Rows are true classes, columns predicted ones, numbers are examples; mistakes have the strong colours.

    Recall stands at the end of each row, precision at the foot of each column.
    """
    num_classes = len(classes)
    counts = (labels * num_classes + logits.argmax(1)).bincount(minlength=num_classes**2).view(num_classes, -1).numpy()
    side = min(max(MARGIN + CELL * num_classes, SIDES[0]), SIDES[1])
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    title = max(LEAST_TITLE, TITLE * side)
    _shade(axes, counts)
    right = f"{int(np.trace(counts))} of {len(labels)} right ({_percent(np.trace(counts), len(labels))})"
    axes.set_title("\n".join([right, *worst_confusions(counts, classes)]), fontsize=title, parse_math=False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("predicted", fontsize=title)
    axes.set_ylabel("true", fontsize=title)
    if num_classes > MAX_NAMED_CLASSES:
        return figure

    size = min(max(28 * (side - MARGIN) / num_classes, FONTS[0]), FONTS[1])
    names = [shortened(name) for name in classes]
    axes.set_xticks(range(num_classes), names, rotation=90, parse_math=False, fontsize=size)
    axes.set_yticks(range(num_classes), names, parse_math=False, fontsize=size)
    right_end, foot = axes.secondary_yaxis("right"), axes.secondary_xaxis("bottom")
    recalls, precisions = (
        [_percent(hits, of) for hits, of in zip(np.diagonal(counts), counts.sum(axis), strict=True)] for axis in (1, 0)
    )
    right_end.set_yticks(range(num_classes), recalls, fontsize=size)
    foot.set_xticks(range(num_classes), precisions, fontsize=size, rotation=90)
    right_end.set_ylabel("recall", fontsize=title)
    foot.set_xlabel("precision", fontsize=title)
    for row, column in np.argwhere(counts).tolist():
        # The layout would measure each of thousands.
        number = {"ha": "center", "va": "center", "fontsize": size, "in_layout": False}
        axes.text(column, row, str(counts[row, column]), **number)
    return figure


def _shade(axes: Axes, counts: np.ndarray) -> None:
    """Shares of the row: hits in pale blue, mistakes in orange up to the largest of them."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    is_hit = np.eye(len(counts), dtype=bool)
    # Twice the range keeps the diagonal pale.
    axes.imshow(np.ma.masked_where(~is_hit, shares), cmap="Blues", vmin=0, vmax=2.5)
    most = max(shares[~is_hit].max(initial=0), 1e-9)
    mistakes = np.ma.masked_where(is_hit | (counts == 0), LIGHTEST + (1 - LIGHTEST) * shares / most)
    # Twice the range keeps the numbers readable.
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=1.6)


def worst_confusions(counts: np.ndarray, classes: Sequence[str]) -> list[str]:
    """One line on the pairs of classes (true, predicted) that are confused most often; none without mistakes."""
    mistakes = counts * ~np.eye(len(counts), dtype=bool)
    order: list[int] = np.argsort(-mistakes, axis=None, kind="stable")[:NUM_WORST].tolist()
    pairs = [divmod(place, len(counts)) for place in order]
    said = [
        f"{shortened(classes[row])} → {shortened(classes[column])} ({mistakes[row, column]})"
        for row, column in pairs
        if mistakes[row, column]
    ]
    return [f"most often confused: {', '.join(said)}"] if said else []


def shortened(name: str, longest: int = LONGEST) -> str:
    """With its end, in which numbered names differ."""
    name, half = printable(name), longest // 2
    return name if len(name) <= longest else f"{name[: half - 1]}…{name[-half:]}"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else NONE

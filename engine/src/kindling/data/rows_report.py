"""What an evaluation of rows says beyond its metrics."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from kindling.data.class_report import per_class, print_classes, summary
from kindling.data.confusion import plot_confusion_matrix
from kindling.data.processor import Evaluated, as_number
from kindling.errors import DataError
from kindling.files.picture import save

# Of highest error, in metrics.json.
NUM_WORST = 10
# Inches, for each output.
SIDE = 5.0
# Of a forecast there may be hundreds of outputs.
NUM_PANELS = 16
log = logging.getLogger(__name__)


def report_classes(evaluated: Evaluated, classes: Sequence[str], folder: Path) -> dict[str, Any]:
    """Numbers of logits (N, K) and labels (N,); the confusion matrix as a picture."""
    logits, labels = torch.from_numpy(evaluated.outputs), torch.from_numpy(evaluated.targets)
    save(plot_confusion_matrix(logits, labels, classes), folder / "confusion_matrix.png")
    numbers = per_class(logits, labels, classes, "rows")
    print_classes(logits, labels, numbers)
    return {**summary(logits, labels, evaluated.split), "classes": numbers}


def report_numbers(
    evaluated: Evaluated, names: Sequence[str], mean: Sequence[float] | None, std: Sequence[float] | None, folder: Path
) -> dict[str, Any]:
    """Errors in the outputs' own units, the rows where they are largest, and predicted against true as a picture.

    Raises:
        DataError: outputs or targets are not one number for each name.
    """
    scale, shift = np.array(1.0 if std is None else std), np.array(0.0 if mean is None else mean)
    outputs, targets = (
        in_columns(each, names, what) * scale + shift
        for each, what in ((evaluated.outputs, "outputs"), (evaluated.targets, "targets"))
    )
    save(plot_predictions(outputs, targets, names), folder / "predictions.png")
    if len(names) > NUM_PANELS:
        log.info("predictions.png shows the first %d of %d outputs", NUM_PANELS, len(names))
    errors = outputs - targets
    found: dict[str, Any] = {}
    for place, name in enumerate(names):
        ending = f"_{name}" if len(names) > 1 else ""
        found |= {f"{evaluated.split}/{key}{ending}": value for key, value in of(errors[:, place], targets[:, place])}
    return found | {"worst": worst(outputs, targets, names)}


def in_columns(values: np.ndarray, names: Sequence[str], what: str) -> np.ndarray:
    """(N, O) float64."""
    if values.size != len(values) * len(names):
        raise DataError(f"processor: given {what} of shape {values.shape}; allowed: (N, {len(names)}), one a name")
    return values.reshape(len(values), len(names)).astype(np.float64)


def of(errors: np.ndarray, targets: np.ndarray) -> list[tuple[str, float]]:
    """Errors (N,): their mean size, their root mean square, and the share of the variance that they leave not."""
    spread = np.square(targets - targets.mean()).sum()
    r2 = 1 - np.square(errors).sum() / spread if spread else np.nan
    return [
        ("mae", float(np.abs(errors).mean())),
        ("rmse", float(np.sqrt(np.square(errors).mean()))),
        ("r2", float(r2)),
    ]


def worst(outputs: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of largest error, in shares of each output's spread; `row` counts from 0 in the split."""
    spread = targets.std(0)
    sizes = (np.abs(outputs - targets) / np.where(spread > 0, spread, 1)).max(1)
    return [
        {
            "row": int(row),
            "true": {name: as_number(value) for name, value in zip(names, targets[row], strict=True)},
            "predicted": {name: as_number(value) for name, value in zip(names, outputs[row], strict=True)},
        }
        for row in np.argsort(-sizes, kind="stable")[:NUM_WORST]
    ]


def plot_predictions(outputs: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> Figure:
    """Predicted over true, a panel for each of the first outputs; a perfect prediction lies on the diagonal."""
    names = names[:NUM_PANELS]
    num_columns = min(len(names), 4)
    num_rows = math.ceil(len(names) / num_columns)
    figure = Figure(figsize=(SIDE * num_columns, SIDE * num_rows), layout="constrained")
    for place, name in enumerate(names):
        axes = figure.add_subplot(num_rows, num_columns, place + 1)
        both = targets[:, place], outputs[:, place]
        axes.scatter(*both, s=12, alpha=0.6, linewidths=0)
        low, high = (float(end(part)) for end, part in ((np.min, np.concatenate(both)), (np.max, np.concatenate(both))))
        axes.plot([low, high], [low, high], color="0.5", linewidth=1)
        axes.set_title(name, parse_math=False)
        axes.set(xlabel="true", ylabel="predicted")
    return figure

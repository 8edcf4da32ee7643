"""How well classes are told apart."""

from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor
from torchmetrics.functional import classification

from kindling.console import plain_table
from kindling.errors import printable

# Bins of the calibration error.
NUM_BINS = 15
TOP_K = (3, 5)
# Rows of the table that is printed.
MAX_SHOWN = 20


def summary(logits: Tensor, labels: Tensor, split: str) -> dict[str, float]:
    """Top-k accuracy and the expected calibration error (arXiv 1706.04599), of logits (N, K) and labels (N,)."""
    num_classes = logits.shape[1]
    metrics = {}
    for k in TOP_K:
        if k < num_classes:
            hits = (logits.topk(k).indices == labels[:, None]).any(1)
            metrics[f"{split}/top{k}_accuracy"] = hits.double().mean().item()
    error = classification.multiclass_calibration_error(logits.softmax(1), labels, num_classes, n_bins=NUM_BINS)
    return metrics | {f"{split}/calibration_error": error.item()}


def per_class(
    logits: Tensor, labels: Tensor, classes: Sequence[str], counted: str = "images"
) -> dict[str, dict[str, float | None]]:
    """Precision, recall, F1 and the number of examples of each class; of a class that is absent, None."""
    arguments = {"preds": logits, "target": labels, "num_classes": len(classes), "average": None}
    precision = classification.multiclass_precision(**arguments)
    recall = classification.multiclass_recall(**arguments)
    f1 = classification.multiclass_f1_score(**arguments)
    counts = labels.bincount(minlength=len(classes))
    columns = torch.stack([precision, recall, f1]).T.tolist()
    return {
        name: {**dict(zip(("precision", "recall", "f1"), values if n else [None] * 3, strict=True)), counted: n}
        for name, values, n in zip(classes, columns, counts.tolist(), strict=True)
    }


def print_classes(logits: Tensor, labels: Tensor, numbers: dict[str, dict[str, float | None]]) -> None:
    """A table of what `per_class` gives, worst F1 first, with the class that each is most often taken for."""
    Console().print(table_of(logits, labels, numbers), "")


def worst_first(
    logits: Tensor, labels: Tensor, numbers: dict[str, dict[str, float | None]]
) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of what `per_class` gives, without absent classes, with what each is most often taken for."""
    names = list(numbers)
    measured = [place for place, name in enumerate(names) if numbers[name]["f1"] is not None]
    rows = []
    for place in sorted(measured, key=lambda place: numbers[names[place]]["f1"] or 0.0):
        wrong = logits[labels == place].argmax(1)
        counts = wrong[wrong != place].bincount(minlength=len(names))
        taken_for = f"{names[counts.argmax()]} ({counts.max()})" if counts.any() else ""
        rows.append([names[place], *numbers[names[place]].values(), taken_for])
    return ["class", *numbers[names[0]], "taken for"], rows


def text_of(cell: Any) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else printable(str(cell))


def table_of(logits: Tensor, labels: Tensor, numbers: dict[str, dict[str, float | None]]) -> Table:
    columns, rows = worst_first(logits, labels, numbers)
    table = plain_table(*columns, title="classes, worst first")
    for row in rows[:MAX_SHOWN]:
        # A name such as [bold] is no markup.
        table.add_row(*(Text(text_of(cell)) for cell in row))
    left_out = []
    if len(rows) > MAX_SHOWN:
        left_out.append(f"{MAX_SHOWN} of {len(rows)} classes; metrics.json has them all")
    if len(rows) < len(numbers):
        left_out.append(f"{len(numbers) - len(rows)} of {len(numbers)} classes have no {columns[-2]} here")
    table.caption = "\n".join(left_out) or None
    return table

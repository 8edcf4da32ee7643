"""What an evaluation of images with any number of labels each says beyond its metrics."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor
from torchmetrics.functional import classification

from kindling.console import plain_table
from kindling.data.processor import Evaluated
from kindling.errors import printable
from kindling.images.images import NO_LABEL, Images
from kindling.images.report import write_examples

# Numbers of each label.
NAMES = ("precision", "recall", "f1", "average_precision")
# Rows of the table that is printed.
MAX_SHOWN = 20


def report(evaluated: Evaluated, classes: Sequence[str], threshold: float, folder: Path) -> dict[str, Any]:
    """Numbers of each label, and the mean of their average precisions; an image of each for the page of a server."""
    logits, labels = torch.from_numpy(evaluated.outputs), torch.from_numpy(evaluated.targets)
    numbers = per_label(logits.sigmoid(), labels, classes, threshold)
    print_labels(numbers)
    if isinstance(evaluated.examples, Images):
        first = torch.where(labels.bool().any(1), labels.argmax(1), NO_LABEL)
        write_examples(evaluated.examples, first, folder)
    measured = [each for each in numbers.values() if each["images"]]
    means = {
        f"{evaluated.split}/{name}": sum(each[key] or 0.0 for each in measured) / len(measured)
        for name, key in (("mean_average_precision", "average_precision"), ("macro_f1", "f1"))
        if measured
    }
    return {**means, "classes": numbers}


def per_label(
    probabilities: Tensor, labels: Tensor, classes: Sequence[str], threshold: float
) -> dict[str, dict[str, float | None]]:
    """Precision, recall, F1, average precision and the number of images of each label; of one that is absent, None."""
    found = {}
    for name, scores, truth in zip(classes, probabilities.T, labels.T, strict=True):
        measured = (
            []
            if not truth.any()
            else [
                classification.binary_precision(scores, truth, threshold),
                classification.binary_recall(scores, truth, threshold),
                classification.binary_f1_score(scores, truth, threshold),
                classification.binary_average_precision(scores, truth),
            ]
        )
        values = [each.item() for each in measured] or [None] * len(NAMES)
        found[name] = {**dict(zip(NAMES, values, strict=True)), "images": int(truth.sum())}
    return found


def print_labels(numbers: Mapping[str, Mapping[str, float | None]]) -> None:
    """A table of what `per_label` gives, worst average precision first."""
    measured = {name: each for name, each in numbers.items() if each["images"]}
    table = plain_table("label", *next(iter(numbers.values())), title="labels, worst first")
    for name in sorted(measured, key=lambda name: measured[name]["average_precision"] or 0.0)[:MAX_SHOWN]:
        cells = [f"{each:.4f}" if isinstance(each, float) else str(each) for each in measured[name].values()]
        table.add_row(*map(Text, [printable(name), *cells]))
    left_out = []
    if len(measured) > MAX_SHOWN:
        left_out.append(f"{MAX_SHOWN} of {len(measured)} labels; metrics.json has them all")
    if len(measured) < len(numbers):
        left_out.append(f"{len(numbers) - len(measured)} of {len(numbers)} labels have no images here")
    table.caption = "\n".join(left_out) or None
    Console().print(table, "")

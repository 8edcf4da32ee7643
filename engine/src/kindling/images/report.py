"""What an evaluation of images with one label says beyond its metrics."""

import logging
from pathlib import Path
from typing import Any

import torch

from kindling.data.class_report import per_class, print_classes, summary
from kindling.data.confusion import plot_confusion_matrix
from kindling.data.processor import Evaluated
from kindling.files.picture import save
from kindling.images.images import Images
from kindling.images.plots import plot_mistakes

log = logging.getLogger(__name__)


def report(evaluated: Evaluated, classes: list[str], folder: Path) -> dict[str, Any]:
    """Numbers by name; the confusion matrix and the worst mistakes as pictures."""
    logits, labels = torch.from_numpy(evaluated.outputs), torch.from_numpy(evaluated.targets)
    save(plot_confusion_matrix(logits, labels, classes), folder / "confusion_matrix.png")
    if isinstance(evaluated.examples, Images):
        save(plot_mistakes(evaluated.examples, logits, labels, classes), folder / "mistakes.png")
    else:
        log.info("mistakes.png is left out: the %s split is neither ImageTensors nor ImageFiles", evaluated.split)
    numbers = per_class(logits, labels, classes)
    print_classes(logits, labels, numbers)
    return {**summary(logits, labels, evaluated.split), "classes": numbers}

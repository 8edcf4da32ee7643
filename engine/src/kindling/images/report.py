"""What an evaluation of images with one label says beyond its metrics."""

import logging
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kindling.data.class_report import per_class, print_classes, summary
from kindling.data.confusion import plot_confusion_matrix
from kindling.data.processor import Evaluated
from kindling.files.picture import save
from kindling.files.whole_file import write_whole
from kindling.images.images import Images
from kindling.images.plots import drawable, plot_mistakes

# The page of a server shows them.
NUM_EXAMPLES = 12
log = logging.getLogger(__name__)


def report(evaluated: Evaluated, classes: list[str], folder: Path) -> dict[str, Any]:
    """Numbers by name; the confusion matrix and the worst mistakes as pictures."""
    logits, labels = torch.from_numpy(evaluated.outputs), torch.from_numpy(evaluated.targets)
    save(plot_confusion_matrix(logits, labels, classes), folder / "confusion_matrix.png")
    if isinstance(evaluated.examples, Images):
        save(plot_mistakes(evaluated.examples, logits, labels, classes), folder / "mistakes.png")
    else:
        log.info("mistakes.png is left out: the %s split is neither ImageTensors nor ImageFiles", evaluated.split)
    if isinstance(evaluated.examples, Images):
        write_examples(evaluated.examples, labels, folder)
    numbers = per_class(logits, labels, classes)
    print_classes(logits, labels, numbers)
    return {**summary(logits, labels, evaluated.split), "classes": numbers}


def write_examples(images: Images, labels: Tensor, folder: Path) -> None:
    """The first image of each class, up to twelve, as the net has them."""
    firsts = [int((labels == label).nonzero()[0]) for label in labels[labels >= 0].unique()[:NUM_EXAMPLES]]
    for number, index in enumerate(firsts):
        with write_whole(folder / f"example_{number:02}.png", "wb") as stream:
            Image.fromarray(drawable(images[index]).cpu().numpy()).save(stream, "png")

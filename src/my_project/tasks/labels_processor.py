"""An image into pixels, and out the labels that it has, with the probability of each. Needs no torch to answer."""

from pathlib import Path
from typing import Any

import numpy as np

from kindling.data.processor import Column, Evaluated, as_number, class_columns
from kindling.images.processor import ImageProcessor


class LabelsProcessor(ImageProcessor):
    """Images with any number of labels each; logits (K,) become their labels, and a probability for each.

    Args:
        threshold: of the probability, from which an image has a label.
        separator: between the labels of an image.
        settings: those of ImageProcessor.
    """

    def __init__(self, *, threshold: float, separator: str, **settings: Any):
        super().__init__(**settings)
        self.threshold, self.separator = threshold, separator

    def parameters(self) -> dict[str, Any]:
        return {**super().parameters(), "threshold": self.threshold, "separator": self.separator}

    @property
    def outputs(self) -> tuple[Column, ...]:
        each = (column for column in class_columns(self.classes) if column.name.startswith("probability_"))
        return Column("labels", "text"), *each

    def write(self, output: Any) -> dict[str, Any]:
        # A sigmoid that does not overflow.
        probabilities = np.exp(-np.logaddexp(0, -np.asarray(output, dtype=np.float64)))
        said = [name for name, share in zip(self.classes, probabilities, strict=True) if share >= self.threshold]
        each = {
            f"probability_{name}": as_number(share) for name, share in zip(self.classes, probabilities, strict=True)
        }
        return {"labels": self.separator.join(said), **each}

    def report(self, evaluated: Evaluated, folder: Path) -> dict[str, Any]:
        from my_project.tasks.labels_report import report

        return report(evaluated, self.classes, self.threshold, folder)

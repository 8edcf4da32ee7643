"""Whether an exported model computes what PyTorch computes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kindling.errors import ExportError
from kindling.inference.runtimes import Outputs

# The largest difference of a logit.
LARGEST_DIFFERENCE = 1e-4
# Points of accuracy that int8 may lose.
LARGEST_LOSS = 1.0
Logits = Callable[[np.ndarray], np.ndarray]


@dataclass
class Parity:
    """What two models made of the same images."""

    images: int = 0
    max_logit_difference: float = 0.0
    changed_predictions: int = 0
    right_before: int = 0
    right_after: int = 0

    def add(self, before: np.ndarray, after: list[np.ndarray], labels: np.ndarray) -> None:
        """Logits (B, K), the outputs of the other model, of which the first decides, and labels (B,)."""
        difference = np.abs(before - after[-1]).max()
        # np.maximum keeps NaN.
        self.max_logit_difference = float(np.maximum(self.max_logit_difference, difference))
        first, second = before.argmax(1), after[0].argmax(1)
        self.images += len(labels)
        self.changed_predictions += int((first != second).sum())
        self.right_before += int((first == labels).sum())
        self.right_after += int((second == labels).sum())

    @property
    def lost(self) -> float:
        """Points of accuracy."""
        return 100 * (self.right_before - self.right_after) / self.images

    def as_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "max_logit_difference": self.max_logit_difference,
            "changed_predictions": self.changed_predictions,
            "accuracy": {"pytorch": self.right_before / self.images, "exported": self.right_after / self.images},
        }

    def __str__(self) -> str:
        return (
            f"{self.images} validation images: logits differ by at most {self.max_logit_difference:.1e}, "
            f"{self.changed_predictions} other predictions, accuracy {self.right_before / self.images:.4f} in PyTorch, "
            f"{self.right_after / self.images:.4f} exported"
        )

    def refuse(self, format: str) -> None:
        """
        Raises:
            ExportError: the exported model is another one.
        """
        if format == "int8":
            same, allowed = self.lost <= LARGEST_LOSS, f"{LARGEST_LOSS} points of accuracy lost"
        else:
            same = self.max_logit_difference <= LARGEST_DIFFERENCE and not self.changed_predictions
            allowed = f"{LARGEST_DIFFERENCE:.0e} and no other prediction"
        if not same:
            advice = "more calibration_images, or format=onnx" if format == "int8" else "another format"
            raise ExportError(f"format: given {format}, which fails on {self}; allowed: {allowed}; try {advice}")


def measure(before: Logits, after: Outputs, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Parity:
    """Over batches of what the exported model takes, and labels (B,); its first image is also computed by itself."""
    parity = Parity()
    for images, labels in batches:
        logits = before(images)
        if parity.images == 0 and len(labels) > 1:
            alone = Parity()
            alone.add(before(images[:1]), after(images[:1]), labels[:1])
            parity.max_logit_difference = alone.max_logit_difference
        parity.add(logits, after(images), labels)
    return parity

"""Whether an exported model computes what PyTorch computes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kindling.errors import ExportError
from kindling.inference.runtimes import Outputs

# The largest difference of a logit; of numbers of other sizes, as a share of the largest.
LARGEST_DIFFERENCE = 1e-4
# Points of accuracy that int8 may lose.
LARGEST_LOSS = 1.0
# Inputs (B, ...), and labels (B,) if they have some.
Batch = tuple[np.ndarray, np.ndarray | None]
Compute = Callable[[np.ndarray], np.ndarray]


@dataclass
class Parity:
    """What two models made of the same inputs.

    Args:
        inputs: what these are called.
        outputs: likewise; "logits" are of classes, or of what follows.
        has_classes: whether the outputs are logits (B, K), whose largest is a prediction.
        origin: of the inputs, in words: "validation" or "made-up".
    """

    inputs: str = "images"
    outputs: str = "logits"
    has_classes: bool = True
    origin: str = "validation"
    examples: int = 0
    max_difference: float = 0.0
    largest: float = 0.0
    changed_predictions: int = 0
    labelled: int = 0
    right_before: int = 0
    right_after: int = 0

    def add(self, before: np.ndarray, after: list[np.ndarray], labels: np.ndarray | None) -> None:
        """Outputs (B, ...), those of the other model, of which the first decides, and labels (B,) if there are any."""
        self.examples += len(before)
        self.compare(before, after[-1])
        if not self.has_classes:
            return
        first, second = before.argmax(1), after[0].argmax(1)
        self.changed_predictions += int((first != second).sum())
        if labels is not None:
            self.labelled += len(labels)
            self.right_before += int((first == labels).sum())
            self.right_after += int((second == labels).sum())

    def compare(self, before: np.ndarray, after: np.ndarray) -> None:
        """Numbers alone."""
        is_alike = before.shape == after.shape
        difference = np.abs(before - after).max(initial=0) if is_alike else np.inf
        # np.maximum keeps NaN.
        self.max_difference = float(np.maximum(self.max_difference, difference))
        self.largest = float(np.maximum(self.largest, np.abs(before).max(initial=0)))

    @property
    def allowed_difference(self) -> float:
        """Of logits alone it is absolute, since an exponential follows."""
        return LARGEST_DIFFERENCE * (1.0 if self.outputs == "logits" else max(1.0, self.largest))

    @property
    def lost(self) -> float:
        """Points of accuracy."""
        return 100 * (self.right_before - self.right_after) / self.labelled

    def figures(self) -> dict[str, float]:
        """What there is to be said of outputs of this kind."""
        found = {"max_difference": self.max_difference}
        found |= {"changed_predictions": self.changed_predictions} if self.has_classes else {}
        return found | ({"accuracy_lost": self.lost} if self.labelled else {})

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"examples": self.examples, "max_difference": self.max_difference}
        found |= {"changed_predictions": self.changed_predictions} if self.has_classes else {"largest": self.largest}
        found |= {"inputs": self.origin} if self.origin != "validation" else {}
        if self.labelled:
            before, after = (right / self.labelled for right in (self.right_before, self.right_after))
            found["accuracy"] = {"pytorch": before, "exported": after}
        return found

    def __str__(self) -> str:
        said = (
            f"{self.examples} {self.origin} {self.inputs}: {self.outputs} differ by at most {self.max_difference:.1e}"
        )
        if self.has_classes:
            said += f", {self.changed_predictions} other predictions"
        elif self.outputs != "logits":
            said += f", the largest is {self.largest:.3g}"
        if self.labelled:
            before, after = (right / self.labelled for right in (self.right_before, self.right_after))
            said += f", accuracy {before:.4f} in PyTorch, {after:.4f} exported"
        return said

    def refuse(self, format: str) -> None:
        """
        Raises:
            ExportError: the exported model is another one.
        """
        if format == "int8":
            is_same = self.labelled > 0 and self.lost <= LARGEST_LOSS
            allowed = f"{LARGEST_LOSS} points of accuracy lost"
        else:
            is_same = self.max_difference <= self.allowed_difference and not self.changed_predictions
            allowed = f"{self.allowed_difference:.0e}" + " and no other prediction" * self.has_classes
        if not is_same:
            advice = "more calibration_images, or format=onnx" if format == "int8" else "another format"
            raise ExportError(f"format: given {format}, which fails on {self}; allowed: {allowed}; try {advice}")


def measure(
    before: Compute, after: Outputs, batches: Iterable[Batch], parity: Parity, *, any_length: bool = False
) -> Parity:
    """Over batches of what the exported model takes; of the first one, an example is also computed by itself.

    Args:
        before: PyTorch.
        after: the exported model.
        batches: inputs (B, ...) and labels (B,), or None.
        parity: that is added to.
        any_length: whether the model takes beginnings of its inputs too, which are then tried.
    """
    for inputs, labels in batches:
        if parity.examples == 0:
            for alone in _alone(inputs[:1], any_length=any_length):
                parity.compare(before(alone), after(alone)[-1])
        parity.add(before(inputs), after(inputs), labels)
    return parity


def _alone(inputs: np.ndarray, *, any_length: bool) -> Iterator[np.ndarray]:
    yield inputs
    if any_length:
        for length in {1, 2, inputs.shape[1] // 2} - {0, inputs.shape[1]}:
            yield np.ascontiguousarray(inputs[:, :length])

"""How well classes are told apart."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional import classification

# Bins of the calibration error.
NUM_BINS = 15
TOP_K = (3, 5)


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

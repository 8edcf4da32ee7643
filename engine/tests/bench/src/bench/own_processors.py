"""Processors of the project's own, which read or write otherwise than the engine's."""

from typing import Any

import numpy as np

from kindling.data.processor import Column
from kindling.data.rows_processor import RowsProcessor
from kindling.images.processor import ImageProcessor


class InInches(RowsProcessor):
    """Writes what is in centimetres."""

    def write(self, output: np.ndarray) -> dict[str, float]:
        return {name: value / 2.54 for name, value in super().write(output).items()}


class Masks(ImageProcessor):
    """The likeliest class of each pixel, of logits (K, H, W), and the share of the first one."""

    @property
    def outputs(self) -> tuple[Column, ...]:
        return Column("mask", "image"), Column("share", low=0, high=1)

    def write(self, output: np.ndarray) -> dict[str, Any]:
        mask = output.argmax(0).astype(np.uint8)
        return {"mask": mask, "share": float((mask == 0).mean())}


class Unsaid(InInches):
    """Its parameters do not make it again."""

    def __init__(self, unit: str):
        super().__init__(["a"], ["b"])
        self.unit = unit

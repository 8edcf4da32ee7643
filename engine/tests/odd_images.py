"""A tree of images of the kinds that version 1 of the decoding read otherwise."""

from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("integers.tif", "sixteen.png", "clear.png", "large.jpg")


def write(root: Path) -> Path:
    """Three classes, of each kind five images; the same pixels on every machine."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("a", "b", "c")):
        (root / name).mkdir(parents=True)
        for i in range(20):
            kind = KINDS[i % len(KINDS)]
            image(kind, 40 + 60 * label, rng).save(root / name / f"{i:02}_{kind}", quality=100, subsampling=0)
    return root


def image(kind: str, level: int, rng: np.random.Generator) -> Image.Image:
    noise = rng.integers(0, 50, (48, 48))
    if kind == "integers.tif":
        return Image.fromarray((noise + level).astype(np.int32))
    if kind == "sixteen.png":
        return Image.fromarray(((noise + level) * 16).astype(np.uint16))
    colour = np.stack([noise + level] * 3, axis=2).astype(np.uint8)
    if kind == "large.jpg":
        return Image.fromarray(colour)
    return Image.fromarray(np.dstack([colour, (noise * 5).astype(np.uint8)]))

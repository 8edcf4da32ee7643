"""A tree of small photographs, and what reads it."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.transforms import v2

from kindling.images.image_folder import ImageFolder

CROP = v2.RandomResizedCrop(16, scale=(0.1, 1.0))
PLAIN: dict[str, Any] = {
    "num_classes": 2,
    "channels": 3,
    "image_size": 16,
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "augment": None,
    "batch_size": 4,
    "num_workers": 0,
    "seed": 0,
    "val_fraction": 0.1,
    "test_fraction": 0.1,
}


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Waves and some noise: (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(width) / 7, np.arange(height) / 5)
    waves = np.stack([np.sin(x + seed), np.cos(y), np.sin(x + y)], axis=2)
    return (127 + 90 * waves + rng.integers(-20, 20, waves.shape)).astype(np.uint8)


def write_tree(root: Path, quality: int = 95) -> Path:
    """Two classes of ten pictures of 60 x 45, or upright."""
    for label, name in enumerate(("a", "b")):
        (root / name).mkdir(parents=True)
        for i in range(10):
            size = (60, 45) if i % 2 else (45, 60)
            Image.fromarray(picture(*size, seed=10 * label + i)).save(root / name / f"{i}.jpg", quality=quality)
    return root


def data_of(tree: Path, kind: type[ImageFolder] = ImageFolder, **settings: Any) -> ImageFolder:
    data = kind(**{**PLAIN, "root": str(tree), "cache_dir": f"{tree.parent}/cache", **settings})
    data.setup("fit")
    return data

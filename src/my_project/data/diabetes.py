"""442 diabetes patients, which scikit-learn's package carries; no download (Efron et al., 2004)."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kindling.data.datamodule import DataModule
from kindling.data.splits import hold_out
from kindling.errors import DataError
from kindling.ranges import Positive, PositiveInt

COLUMNS = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


class Diabetes(DataModule):
    """Ten numbers (10,) of each patient, and how far the disease has come a year later (); 310 / 66 / 66 patients.

    Args:
        num_features: 10.
        mean: of each feature in training; None if it is to be found, like the three below.
        std: likewise.
        target_mean: of the targets in training.
        target_std: likewise.
        settings: what every data module takes.
    """

    def __init__(
        self,
        *,
        num_features: PositiveInt,
        mean: list[float] | None,
        std: list[Positive] | None,
        target_mean: float | None,
        target_std: Positive | None,
        **settings: Any,
    ):
        super().__init__(**settings)
        if num_features != len(COLUMNS):
            raise DataError(f"data.num_features: given {num_features}; allowed: {len(COLUMNS)}, as the data has them")
        self.given = {"mean": mean, "std": std, "target_mean": target_mean, "target_std": target_std}

    def read(self) -> dict[str, tuple[Tensor, Tensor]]:
        features, targets = table("diabetes_data_raw.csv.gz"), table("diabetes_target.csv.gz")
        alike = torch.zeros(len(targets))
        rest, test = hold_out(alike, 0.15)
        train, val = hold_out(alike[rest], 0.15 / 0.85)
        parts = {"train": rest[train], "val": rest[val], "test": test}
        return {name: (features[part], targets[part]) for name, part in parts.items()}

    @property
    def facts(self) -> Mapping[str, Any]:
        features, targets = self.splits.train
        found = {"mean": features.mean(0), "std": features.std(0)}
        found |= {"target_mean": targets.mean(), "target_std": targets.std()}
        given = {name: value for name, value in self.given.items() if value is not None}
        return {
            "columns": list(COLUMNS),
            "target": "progression",
            **{name: value.tolist() for name, value in found.items()},
            **given,
        }


def table(name: str) -> Tensor:
    """The numbers of a file of scikit-learn."""
    # Importing scikit-learn would take seconds; find_spec only locates it.
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("data=diabetes: given no scikit-learn; install it with `pip install scikit-learn`")
    file = Path(spec.origin).parent / "datasets" / "data" / name
    try:
        return torch.from_numpy(np.loadtxt(file, dtype=np.float32))
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"data=diabetes: given {file}: {error}; reinstall scikit-learn") from error

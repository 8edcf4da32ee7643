"""metrics.csv: one row for each step at which anything was logged."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from kindling.whole_file import write_whole


class MetricsCSV(Logger):
    """A table of steps by metrics that a resumed run continues.

    Lightning's CSVLogger deletes or forks its file when the folder is not empty.
    """

    def __init__(self, folder: str):
        super().__init__()
        self.file = Path(folder) / "metrics.csv"
        self.rows: dict[int, dict[str, str]] = {}
        self._read = False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run's config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        step = step or 0
        if not self._read:  # rows of a run that is resumed, up to where it goes on
            self._read = True
            if self.file.exists():
                with self.file.open(newline="") as stream:
                    kept = [row for row in csv.DictReader(stream) if int(row["step"]) < step]
                self.rows = {int(row["step"]): {k: v for k, v in row.items() if v and k != "step"} for row in kept}
        values = {name: str(value) for name, value in metrics.items()}
        self.rows[step] = self.rows.get(step, {}) | values

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:  # Lightning also saves before the first row
            return
        names = sorted({name for row in self.rows.values() for name in row} - {"epoch"})
        with write_whole(self.file) as stream:
            writer = csv.DictWriter(stream, ["step", "epoch", *names])
            writer.writeheader()
            writer.writerows({"step": step, **row} for step, row in sorted(self.rows.items()))

    def finalize(self, status: str) -> None:
        self.save()

"""metrics.csv: one row for each step at which anything was logged."""

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from kindling.console import warn
from kindling.errors import DataError, one_line
from kindling.files.whole_file import write_whole

Row = dict[str, Any]


class MetricsCSV(Logger):
    """A table of steps by metrics, on disk after each call, that a resumed run continues.

    Lightning's CSVLogger deletes or forks its file when the folder is not empty.
    """

    def __init__(self, folder: str):
        super().__init__()
        self.file = Path(folder) / "metrics.csv"
        self._names: list[str] = []
        # Rows before the last one.
        self._num_rows = 0
        # The last one, which further calls of the same step add to.
        self._row: Row = {}
        self._row_start = 0

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
        same_step = self._row.get("step") == step
        if self._row and not same_step:
            self._num_rows += 1
        self._row = (self._row if same_step else {"step": step}) | metrics
        if not self._row.keys() <= set(self._names):
            self._write_table(self._read_table()[: self._num_rows])
        elif not same_step:
            self._row_start = self.file.stat().st_size
        self._write_row()

    def state_dict(self) -> dict[str, Any]:
        """How far the table has come, once the disk has it."""
        if self._row:
            with self.file.open("rb") as stream:
                os.fsync(stream.fileno())
        return {"num_rows": self._num_rows, "row": self._row}

    @rank_zero_only
    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Drop the rows that were logged later; None: all."""
        state = state or {"num_rows": 0, "row": {}}
        self._num_rows, self._row = state["num_rows"], dict(state["row"])
        rows = self._read_table()
        if len(rows) < self._num_rows:
            warn(f"{self.file}: has {len(rows)} of the {self._num_rows} rows that the run has logged")
        if self.file.exists():
            self._write_table(rows[: self._num_rows])
            self._write_row()

    def _write_row(self) -> None:
        with self.file.open("r+", newline="", encoding="utf-8") as stream:
            stream.seek(self._row_start)
            stream.truncate()
            if self._row:
                csv.DictWriter(stream, self._names).writerow(self._row)

    def _read_table(self) -> list[Row]:
        if not self.file.exists():
            return []
        try:
            with self.file.open(newline="", encoding="utf-8") as stream:
                return list(csv.DictReader(stream))
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{self.file}: cannot be read as a table ({one_line(error)}); move it away") from error

    def _write_table(self, rows: list[Row]) -> None:
        """Start the file anew with these rows and a column for each metric so far."""
        names = {name for row in [*rows, self._row] for name in row} - {"step", "epoch"}
        self._names = ["step", "epoch", *sorted(names)]
        with write_whole(self.file) as stream:
            writer = csv.DictWriter(stream, self._names)
            writer.writeheader()
            writer.writerows(rows)
        self._row_start = self.file.stat().st_size

    def finalize(self, status: str) -> None:
        """Every row is on disk already."""

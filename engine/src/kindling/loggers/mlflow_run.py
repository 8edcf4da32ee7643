"""Runs side by side in MLflow; imported only when it is chosen."""

import fcntl
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only
from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]  an extra
from mlflow.entities import Metric, Param, RunTag  # pyright: ignore[reportMissingImports]  an extra
from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]  an extra

from kindling.console import warn
from kindling.errors import ConfigError, one_line
from kindling.loggers.tracking import name_of

STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "pruned": "FINISHED"}
# What MLflow takes at once.
MOST_AT_ONCE = {"metrics": 1000, "params": 100, "tags": 100}
WRITE_EVERY_S = 5
# Seconds after a store has failed.
WAIT_S = 60
# Characters of a setting or tag.
LONGEST = 500
SQLITE = "sqlite:///"
# It logs each table that it makes.
logging.getLogger("mlflow").setLevel(logging.WARNING)


class MLflowRun(MLFlowLogger):
    """Lightning's logger with the run's settings from its start, its outcome, and one run for all its attempts.

    Metrics are written some seconds' worth at a time, since a call costs 5 ms, and before each checkpoint: a run that
    is resumed has them all. Those that a killed process wrote after its last checkpoint stand there twice.
    """

    def __init__(self, *, folder: str, experiment_name: str | None, tracking_uri: str, artifact_location: str | None):
        if tracking_uri.startswith(SQLITE):
            file = Path(tracking_uri.removeprefix(SQLITE)).expanduser()
            file.parent.mkdir(parents=True, exist_ok=True)
            tracking_uri = f"{SQLITE}{file}"
        settings = {"run_name": name_of(folder), "tracking_uri": tracking_uri, "artifact_location": artifact_location}
        try:
            with _alone(tracking_uri):
                super().__init__(experiment_name or "default", **settings)
        except Exception as error:
            # Errors of SQLAlchemy too.
            raise _refusal(tracking_uri, error) from error
        self._held: list[Metric] = []
        self._has_failed = False
        self._written_at = time.monotonic()

    def begin(self, settings: dict[str, Any], tags: dict[str, str], run_id: str | None) -> str:
        """
        Raises:
            ConfigError: the store does not take the run.
        """
        try:
            with _alone(self._tracking_uri):
                self._open(run_id)
            self._log_settings(settings)
        except Exception as error:
            # Errors of SQLAlchemy too.
            raise _refusal(self._tracking_uri, error) from error
        known = {"mlflow.source.name": "train.py", "mlflow.source.git.commit": tags["git_commit"]}
        self._log(tags=[RunTag(key, value[:LONGEST]) for key, value in (tags | known).items()])
        assert self._run_id, "set above"
        return self._run_id

    def _open(self, run_id: str | None) -> None:
        """Go on with a run that is there, or start one; its experiment is made by the first."""
        client: MlflowClient = self._mlflow_client
        if run_id and _is_there(client, run_id):
            client.update_run(run_id, status="RUNNING")
            self._run_id = run_id
            return
        found = client.get_experiment_by_name(self._experiment_name)
        experiment = found.experiment_id if found else None
        # Else Lightning would warn of it.
        if experiment is None:
            experiment = client.create_experiment(self._experiment_name, self._artifact_location)
        self._experiment_id = experiment
        self._run_id = client.create_run(experiment, run_name=self._run_name).info.run_id

    def _log_settings(self, settings: dict[str, Any]) -> None:
        """As parameters, which MLflow lets nobody change: what a resumed run has others of become tags."""
        before = self._mlflow_client.get_run(self._run_id).data.params
        now = {key: str(value)[:LONGEST] for key, value in settings.items()}
        self._log(params=[Param(key, value) for key, value in now.items() if key not in before])
        changed = {key: value for key, value in now.items() if before.get(key, value) != value}
        self._log(tags=[RunTag(f"resumed.{key}", value) for key, value in changed.items()])

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        now = round(1000 * time.time())
        self._held += [Metric(name, float(value), now, step or 0) for name, value in metrics.items()]
        if time.monotonic() - self._written_at > WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write what is held back; a store that is busy or gone costs no run, and is asked again later."""
        self._written_at = time.monotonic()
        try:
            self._log(metrics=self._held)
        except Exception as error:
            # Errors of SQLAlchemy too.
            if not self._has_failed:
                warn(f"MLflow: {self._tracking_uri} takes no metrics ({one_line(error)}); they are held back")
            self._has_failed, self._written_at = True, self._written_at + WAIT_S
            return
        self._held = []

    @rank_zero_only
    def log_picture(self, tag: str, image: np.ndarray, step: int) -> None:
        """An image (H, W, C) uint8."""
        self._mlflow_client.log_image(self.run_id, image, key=tag, step=step)

    @rank_zero_only
    def log_table(self, tag: str, *, columns: list[str], data: list[list[Any]], step: int) -> None:
        """Rows of a table, as a file of the run."""
        by_column = dict(zip(columns, map(list, zip(*data, strict=True)), strict=True))
        self._mlflow_client.log_table(self.run_id, by_column, f"{tag}/step_{step}.json")

    def _log(self, **entries: list[Any]) -> None:
        for kind, listed in entries.items():
            for start in range(0, len(listed), MOST_AT_ONCE[kind]):
                part = listed[start : start + MOST_AT_ONCE[kind]]
                self._mlflow_client.log_batch(self.run_id, synchronous=True, **{kind: part})

    def state_dict(self) -> dict[str, Any]:
        """Nothing; asked for before each checkpoint."""
        self.write()
        return {}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """The run's folder knows the id."""

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Lightning ends here after training and again after the test."""
        self.write()

    def end(self, status: str, reason: str | None, best: dict[str, Any] | None) -> None:
        if best:
            self.log_metrics({f"best/{best['monitor']}": best["score"]})
        self.write()
        self._log(tags=[RunTag("status", status), RunTag("reason", (reason or "")[:LONGEST])])
        self._mlflow_client.set_terminated(self.run_id, STATUS[status])


def _is_there(client: MlflowClient, run_id: str) -> bool:
    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


@contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """Make the tables of a file while no other process does; two at once would spoil them."""
    if not tracking_uri.startswith(SQLITE):
        yield
        return
    with Path(f"{tracking_uri.removeprefix(SQLITE)}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _refusal(tracking_uri: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"logger.mlflow: given {tracking_uri}, which does not take the run ({one_line(error)}); allowed: a store of "
        "this version of MLflow, made to the end; move it away, or give another logger.mlflow.tracking_uri or "
        "experiment_name"
    )

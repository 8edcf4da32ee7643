"""As much of the packages mlflow and wandb as the loggers use, for machines that lack them."""

import sys
from collections import defaultdict
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

import kindling.loggers


class Entry(NamedTuple):
    key: str
    value: Any
    timestamp: int = 0
    step: int = 0


class MlflowException(Exception):  # noqa: N818  as MLflow calls it
    error_code = "RESOURCE_DOES_NOT_EXIST"


class MlflowClient:
    """A store of runs by address, as strict as MLflow's."""

    stores: dict[str, dict[str, Any]] = {}  # noqa: RUF012  one for all clients, as a file is

    def __init__(self, uri: str):
        self.runs = self.stores.setdefault(uri, {})

    def get_experiment_by_name(self, name: str):
        names = [run.info.experiment_id for run in self.runs.values()]
        return SimpleNamespace(experiment_id=name, lifecycle_stage="active") if name in names else None

    def create_experiment(self, name: str, artifact_location: str) -> str:
        return name

    def create_run(self, experiment_id: str, run_name: str):
        run_id, active = f"id{len(self.runs)}", {"status": "RUNNING", "lifecycle_stage": "active"}
        info = SimpleNamespace(run_id=run_id, experiment_id=experiment_id, run_name=run_name, **active)
        data = SimpleNamespace(params={}, tags={}, metrics={}, history=defaultdict(list))
        self.runs[info.run_id] = SimpleNamespace(info=info, data=data)
        return self.runs[info.run_id]

    def get_run(self, run_id: str):
        if run_id not in self.runs:
            raise MlflowException(run_id)
        return self.runs[run_id]

    def search_runs(self, experiment_ids: list[str]):
        return [run for run in self.runs.values() if run.info.experiment_id in experiment_ids]

    def get_metric_history(self, run_id: str, key: str):
        return self.runs[run_id].data.history[key]

    def update_run(self, run_id: str, status: str):
        self.runs[run_id].info.status = status

    set_terminated = update_run

    def log_image(self, run_id: str, image: Any, *, key: str, step: int):
        self.runs[run_id].data.history[key].append(Entry(key, image, step=step))

    def log_table(self, run_id: str, data: Any, artifact_file: str):
        self.runs[run_id].data.history[artifact_file].append(Entry(artifact_file, data))

    def log_batch(self, run_id: str, metrics=(), params=(), tags=(), synchronous=True):
        data = self.runs[run_id].data
        assert (len(metrics) <= 1000, len(params) <= 100, len(tags) <= 100) == (True, True, True)
        for each in params:
            assert data.params.setdefault(each.key, each.value) == each.value, "MLflow lets nobody change it"
        data.tags |= {each.key: each.value for each in tags}
        data.metrics |= {each.key: each.value for each in metrics}
        for each in metrics:
            data.history[each.key].append(each)


class WandbRun:
    """What a run was told; the last one stands in `runs`."""

    runs: list["WandbRun"] = []  # noqa: RUF012

    def __init__(self, **given: Any):
        self.given, self.id = given, given["id"]
        self.config, self.rows, self.summary, self.exit_code = self, [], {}, None
        self.settings: dict[str, Any] = {}
        self.runs.append(self)

    def update(self, settings: dict[str, Any], allow_val_change: bool) -> None:
        self.settings |= settings

    def log(self, metrics: dict[str, float]) -> None:
        self.rows.append(metrics)

    def define_metric(self, name: str, **options: Any) -> None: ...

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code
        sys.modules["wandb"].run = None


def install(patch: pytest.MonkeyPatch) -> None:
    """Let the packages be found."""
    MlflowClient.stores.clear()
    WandbRun.runs.clear()
    modules = {
        "mlflow": {"MlflowClient": MlflowClient, "set_tracking_uri": lambda uri: None},
        "mlflow.tracking": {"MlflowClient": MlflowClient},
        "mlflow.entities": dict.fromkeys(("Metric", "Param", "RunTag"), Entry),
        "mlflow.exceptions": {"MlflowException": MlflowException},
        "sqlalchemy": {},
        "alembic": {},
        "wandb": {"run": None, "Image": lambda image: image, "Table": dict, "Settings": SimpleNamespace, "init": _init},
        "wandb.sdk.lib": {"RunDisabled": type(None)},
        "wandb.wandb_run": {"Run": WandbRun},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(content)
        patch.setitem(sys.modules, name, module)
    for name in ("mlflow", "wandb"):
        patch.setattr(f"lightning.pytorch.loggers.{name}._{name.upper()}_AVAILABLE", True)
        patch.setitem(sys.modules, f"kindling.loggers.{name}", None)  # undone, it is imported anew
        patch.delitem(sys.modules, f"kindling.loggers.{name}")
        patch.setattr(kindling.loggers, name, None, raising=False)  # where Hydra looks first


def _init(**given: Any) -> WandbRun:
    sys.modules["wandb"].run = WandbRun(**given)
    return sys.modules["wandb"].run

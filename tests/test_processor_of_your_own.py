"""The Processor that docs/tasks.md shows, in a run of task=regression."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindling.cli.entry import compose
from kindling.config import project
from kindling.errors import ConfigError
from kindling.evaluate import evaluate
from kindling.export import export
from kindling.inference.serving.source import Source
from kindling.predict import predict
from kindling.train import train

pytest.importorskip("my_project.data.diabetes")
from my_project.data.diabetes import COLUMNS
from my_project.tasks.regression import Regression

PATIENT = {name: "1" for name in COLUMNS if name != "bmi"} | {"weight": "80", "height": "2"}


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """One whose task returns the Processor of the docs."""
    (code,) = re.findall(r"```python\n(.*?class Patient.*?)```", docs(), re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)
    (returned,) = re.findall(r"^ {8}return (Patient\(.*\))$", docs(), re.MULTILINE)
    monkeypatch.setattr(Regression, "processor", lambda self: eval(returned, shown | {"self": self}))
    chosen = ["task=regression", "data=diabetes", "model=tabular"]
    short = ["trainer=cpu", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
    cfg = compose([*chosen, *short, "logger=csv", f"paths.logs={tmp_path}"])
    train(cfg)
    return Path(cfg.paths.run)


def docs() -> str:
    return (project.current().root / "docs" / "tasks.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_predict_evaluate_and_serve_take_it_and_an_export_if_its_class_can_be_imported(run, tmp_path, monkeypatch):
    rows = [PATIENT, PATIENT | {"height": "0"}, PATIENT | {"weight": "40", "height": "1.41421356237"}]
    with (tmp_path / "rows.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, PATIENT)
        writer.writeheader()
        writer.writerows(rows)
    given = [f"run={run}", f"input={tmp_path}/rows.csv", f"output={tmp_path}/out.csv", "device=cpu"]
    predict(compose(given, "predict"))
    with (tmp_path / "out.csv").open(newline="") as stream:
        first, wrong, last = csv.DictReader(stream)
    assert wrong["error"] == "column height: given '0'; allowed: a number from 0.3"
    assert float(first["progression"]) == pytest.approx(float(last["progression"]), rel=1e-5), "the same index, 20"

    model = Source(run, None, None).open(threads=None)
    answer = model.processor.write(model.run(np.stack([model.processor.read(PATIENT)]))[0])
    assert answer == {"progression": pytest.approx(float(first["progression"]), rel=1e-5)}
    assert "test/r2" in evaluate(compose([f"run={run}"], "evaluate"))
    with pytest.raises(ConfigError, match=r"processor: given .*Patient, which no model folder can name"):
        export(compose([f"run={run}"], "export"))
    monkeypatch.setattr("my_project.tasks.regression.Patient", type(model.processor), raising=False)
    monkeypatch.setattr(type(model.processor), "__module__", "my_project.tasks.regression")
    assert export(compose([f"run={run}", "benchmark=false"], "export"))["max_difference"] < 1e-2
    exported = Source(run, None, None).open(threads=None)
    assert exported.format == "onnx"
    answer = exported.processor.write(exported.run(np.stack([exported.processor.read(PATIENT)]))[0])
    assert answer == {"progression": pytest.approx(float(first["progression"]), rel=1e-5)}

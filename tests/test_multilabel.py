"""Images with any number of labels each, through every command."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchmetrics.functional import classification

from kindling.cli.entry import compose
from kindling.errors import ConfigError
from kindling.evaluate import evaluate
from kindling.train import train
from my_project.tasks.labels_processor import LabelsProcessor
from my_project.tasks.labels_report import per_label
from my_project.tasks.multilabel import Multilabel

NAMES = ("blue", "green", "red")
SHORT = ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=4", "logger=none", "data.batch_size=30"]


def task_of(net: nn.Module | None = None) -> Multilabel:
    return Multilabel(net or nn.Identity(), nn.BCEWithLogitsLoss(), 0.3)


def write_set(folder: Path, num: int = 120) -> Path:
    """Squares of each colour or not, on noise, and their table."""
    rng, rows = np.random.default_rng(0), ["path,label"]
    for index in range(num):
        pixels, has = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8), rng.random(3) < 0.4
        for channel in np.flatnonzero(has):
            y, x = rng.integers(0, 8, 2)
            pixels[y : y + 8, x : x + 8, 2 - channel] = 220
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
        rows.append(f"{index:03}.png,{'|'.join(name for name, is_there in zip(NAMES, has, strict=True) if is_there)}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder / "labels.csv"


def test_accuracy_and_f1_are_those_of_torchmetrics_over_batches_of_any_size():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 4, generator=generator), torch.rand(50, 4, generator=generator) < 0.3
    task, sums = task_of(), {}
    for part in (slice(0, 33), slice(33, 50)):
        output = task.step((logits[part], labels[part]), "val")
        found = {**output.sums, "loss": output.loss * output.num, "num": torch.tensor(float(output.num))}
        sums = {name: sums.get(name, 0) + value for name, value in found.items()}
    metrics = task.epoch_metrics(sums)
    given = {"preds": logits.sigmoid(), "target": labels.long(), "num_labels": 4, "threshold": 0.3, "average": "micro"}
    assert metrics["accuracy"].item() == pytest.approx(classification.multilabel_accuracy(**given).item())
    assert metrics["f1"].item() == pytest.approx(classification.multilabel_f1_score(**given).item())
    assert metrics["loss"].item() == pytest.approx(nn.BCEWithLogitsLoss()(logits, labels.float()).item())
    assert set(metrics) == {"loss", "accuracy", "f1"}


def test_an_f1_without_any_label_is_zero_and_no_nan():
    output = task_of().step((torch.full((2, 3), -9.0), torch.zeros(2, 3, dtype=torch.bool)), "val")
    sums = {**output.sums, "loss": output.loss, "num": torch.tensor(2.0)}
    assert task_of().epoch_metrics(sums)["f1"].item() == 0


@pytest.mark.parametrize("task", ["multilabel", "classification"])
def test_labels_of_the_other_task_are_refused_by_name(task):
    labels = torch.zeros(2, dtype=torch.int64) if task == "multilabel" else torch.zeros(2, 3, dtype=torch.bool)
    if task == "multilabel":
        learner = task_of()
    else:
        from my_project.tasks.classification import Classification

        learner = Classification(nn.Identity(), nn.CrossEntropyLoss(), "none")
    with pytest.raises(ConfigError, match=f"task: given {task} for images with"):
        learner.step((torch.zeros(2, 3), labels), "train")


def test_an_answer_names_each_label_from_the_threshold_on():
    given = {"classes": NAMES, "image_size": 4, "channels": 3, "mean": [0.0], "std": [1.0]}
    processor = LabelsProcessor(**given, threshold=0.5, separator=";")
    answer = processor.write(np.array([2.0, 0.0, -800.0], dtype=np.float32))
    assert answer == {
        "labels": "blue;green",
        "probability_blue": pytest.approx(0.880797),
        "probability_green": 0.5,
        "probability_red": 0.0,
    }
    assert list(answer) == [column.name for column in processor.outputs]
    again = LabelsProcessor.from_dict(processor.as_dict())
    assert again.write(np.zeros(3)) == processor.write(np.zeros(3))


def test_a_label_that_no_image_has_is_measured_as_none():
    numbers = per_label(torch.tensor([[0.9, 0.1], [0.2, 0.3]]), torch.tensor([[1, 0], [0, 0]]), ["a", "b"], 0.5)
    assert numbers["a"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "average_precision": 1.0, "images": 1}
    assert numbers["b"] == dict.fromkeys(("precision", "recall", "f1", "average_precision"), None) | {"images": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    table = write_set(folder)
    cfg = compose(["experiment=multilabel", f"data.table={table}", *SHORT, f"paths.logs={folder}/logs"])
    train(cfg)
    return Path(cfg.paths.run)


def images_of(run: Path) -> Path:
    return run.parents[2]


@pytest.mark.slow
def test_evaluation_reports_each_label(run):
    metrics = evaluate(compose([f"run={run}"], "evaluate"))
    assert metrics["test/mean_average_precision"] > 0.6
    report = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())
    assert list(report["classes"]) == list(NAMES)
    expected = sum(each["average_precision"] for each in report["classes"].values()) / 3
    assert report["test/mean_average_precision"] == pytest.approx(expected)
    assert len(list((run / "evaluation" / "test").glob("example_*.png"))) == 3


@pytest.mark.slow
@pytest.mark.needs("predicting", "exporting", "serving")
def test_a_table_an_exported_model_and_a_server_give_the_same_labels_and_probabilities(run, tmp_path):
    from kindling.export import export
    from kindling.inference.serving.source import Source
    from kindling.predict import predict

    given = [f"run={run}", f"input={images_of(run)}", f"output={tmp_path}/out.csv", "device=cpu"]
    predict(compose(given, "predict"))
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["file", "labels", *(f"probability_{name}" for name in NAMES), "error"]
    for row in rows:
        said = [name for name in NAMES if float(row[f"probability_{name}"]) >= 0.5]
        assert row["labels"] == "|".join(said)
    assert export(compose([f"run={run}", "benchmark=false"], "export"))["max_difference"] < 1e-3
    exported = Source(run, None, None).open(threads=None)
    assert exported.format == "onnx"
    content = io.BytesIO((images_of(run) / "000.png").read_bytes()).getvalue()
    (output,) = exported.run(np.stack([exported.processor.read(content)]))
    answer = exported.processor.write(output)
    assert answer["labels"] == rows[0]["labels"]
    assert [answer[f"probability_{name}"] for name in NAMES] == pytest.approx(
        [float(rows[0][f"probability_{name}"]) for name in NAMES], abs=1e-4
    )


@pytest.mark.slow
@pytest.mark.needs("debug")
def test_a_look_at_the_data_names_all_labels_of_an_image(run, tmp_path, monkeypatch):
    from kindling.debug import data

    shown = []
    monkeypatch.setattr(data, "plot_grid", lambda cells, *_: shown.extend(cells))
    monkeypatch.setattr(data, "save", lambda *_: None)
    table = images_of(run) / "labels.csv"
    train(compose(["experiment=multilabel", "debug=data", f"data.table={table}", *SHORT, f"paths.logs={tmp_path}"]))
    titles = {title for _, title in shown} - {"as trained on", ""}
    assert titles <= {", ".join(name for name in NAMES if name in each.split(", ")) for each in titles}
    assert any(", " in title for title in titles)

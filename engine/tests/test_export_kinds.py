"""export.py for rows and texts: what is proven, what is refused, and that a folder is of use without Kindling."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from kindling.cli.entry import compose
from kindling.data.processor import Column
from kindling.data.rows_processor import RowsProcessor
from kindling.errors import CheckpointError, ConfigError, ExportError
from kindling.export import export
from kindling.inference import model_folder
from kindling.inference.exporting.parity import LARGEST_DIFFERENCE, Parity, measure
from kindling.inference.exporting.readme import readme
from kindling.inference.runtimes import open_model
from serving import write_lookup, write_model

ROW = {"width": 1.0, "height": 2.0, "depth": 3.0}


def export_task(run, target: Path, *overrides: str) -> dict[str, float]:
    return export(compose([f"run={run.folder}", f"output={target}", "benchmark=false", *overrides], name="export"))


def printed(folder: Path, argument: str) -> str:
    """What the README's lines print in a process that knows no Kindling."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.modules['kindling'] = None\n{code}", argument]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("format", ["onnx", pytest.param("pt2", marks=pytest.mark.slow), "torchscript"])
def test_rows_are_exported_with_the_proof_of_numbers_and_no_accuracy(trained_task, tmp_path, format):
    found = export_task(trained_task("sum"), tmp_path / "model", f"format={format}")
    assert list(found) == ["max_difference"]
    assert 0 <= found["max_difference"] < 1e-5
    described, compute = open_model(tmp_path / "model", threads=1)
    parity = described.about["parity"]
    assert parity.keys() == {"examples", "max_difference", "largest"}
    assert parity["examples"] == 32
    processor = described.make_processor()
    assert processor.as_dict() == trained_task_processor(trained_task("sum"))
    row = processor.write(compute(np.stack([processor.read(ROW)]))[0])
    assert eval(printed(tmp_path / "model", json.dumps(ROW))) == pytest.approx(row)
    assert compute(np.zeros((5, 3), dtype=np.float32)).shape[0] == 5


def trained_task_processor(run) -> dict:
    from kindling.checkpoints import checkpoint
    from kindling.inference.processors import needed_processor_of
    from kindling.training.rebuild import rebuild

    path = checkpoint.find(str(run.folder))
    return needed_processor_of(rebuild(checkpoint.load(path), path), path).as_dict()


@pytest.mark.parametrize("format", ["onnx", "int8"])
def test_classes_of_rows_are_proven_by_their_accuracy(trained_task, tmp_path, monkeypatch, format):
    monkeypatch.setattr("kindling.inference.exporting.parity.LARGEST_LOSS", 10)  # one of 32 rows is 3 points
    found = export_task(trained_task("sign"), tmp_path / "model", f"format={format}")
    assert found.keys() == {"max_difference", "changed_predictions", "accuracy_lost"}
    described, compute = open_model(tmp_path / "model", threads=1)
    assert 0.5 < described.about["parity"]["accuracy"]["pytorch"] <= 1
    assert described.about.get("calibration_images") == (32 if format == "int8" else None)
    processor = described.make_processor()
    row = processor.write(compute(np.stack([processor.read(ROW)]))[0])
    name, probability = printed(tmp_path / "model", json.dumps(ROW)).split()
    assert (name, float(probability)) == (row["class"], pytest.approx(row["probability"], abs=1e-4))


@pytest.mark.parametrize("format", ["onnx", pytest.param("pt2", marks=pytest.mark.slow), "torchscript"])
def test_a_text_of_any_length_goes_on_from_the_exported_model_and_its_readme(trained_task, tmp_path, format):
    found = export_task(trained_task("next"), tmp_path / "model", f"format={format}")
    assert list(found) == ["max_difference"]
    described, compute = open_model(tmp_path / "model", threads=1)
    for length in (1, 2, 6):
        assert compute(np.zeros((3, length), dtype=np.int64)).shape == (3, length, 5)
    text = "ab" + "".join(described.make_processor().answer(compute, "ab", length=200, seed=0))
    assert printed(tmp_path / "model", "ab") == text + "\n"


def test_a_net_of_one_length_is_no_net_for_texts():
    def fixed(ids: np.ndarray) -> np.ndarray:
        return np.full((*ids.shape, 5), ids.shape[1], dtype=np.float32)

    def other(ids: np.ndarray) -> list[np.ndarray]:
        return [np.full((*ids.shape, 5), 6, dtype=np.float32)]

    batches = [(np.zeros((4, 6), dtype=np.int64), None)]
    found = measure(fixed, other, batches, Parity("texts", "logits", False), any_length=True)
    with pytest.raises(ExportError, match=r"fails on 4 validation texts: logits differ by at most 5\.0e\+00; allowed"):
        found.refuse("onnx")
    measure(fixed, other, batches, Parity("texts", "logits", False)).refuse("onnx")


def test_numbers_may_differ_by_a_share_of_the_largest_and_other_shapes_never():
    large, off = np.array([[1000.0, 1.0]]), 1000 * LARGEST_DIFFERENCE
    for difference, is_same in ((0.9 * off, True), (1.1 * off, False)):
        parity = Parity("rows", "outputs", False)
        parity.add(large, [large + difference], None)
        assert parity.figures().keys() == {"max_difference"}
        if is_same:
            parity.refuse("onnx")
        else:
            with pytest.raises(ExportError, match=r"1 validation rows: outputs differ by .*the largest is 1e\+03"):
                parity.refuse("onnx")
    parity = Parity("rows", "outputs", False)
    parity.add(np.zeros((2, 1)), [np.zeros((2,))], None)
    with pytest.raises(ExportError, match="at most inf"):
        parity.refuse("onnx")


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [
        ("sum", ["preprocessing=true"], "preprocessing: given true for rows; allowed: of images alone; leave it out"),
        ("sum", ["format=int8"], "format: given int8 for rows without classes; allowed: for classes, .*take onnx, pt2"),
        ("next", ["format=int8"], "format: given int8 for text without classes"),
        ("silent", [], r"task: given Silent, which does not say .*write in it `def processor\(self\)`"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_computed(
    trained_task, tmp_path, monkeypatch, task, overrides, message
):
    monkeypatch.setattr("kindling.export.same_data", None)
    with pytest.raises(ConfigError, match=message):
        export_task(trained_task(task), tmp_path / "model", *overrides)
    assert not (tmp_path / "model").exists()


class Own(RowsProcessor):
    def read(self, raw, name="row"):
        return super().read(raw, name) * 2


def test_a_processor_that_reads_in_a_way_of_its_own_is_refused(trained_task, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.tasks.in_and_out.Sum.processor", lambda task: Own(["a", "b", "c"], ["sum"]))
    with pytest.raises(ConfigError, match=r"given Own, which reads or writes in a way of its own"):
        export_task(trained_task("sum"), tmp_path / "model")


class Several(nn.Module):
    def forward(self, rows):
        return {"sum": rows.sum(1)}


def test_a_net_that_gives_something_else_than_a_tensor_is_refused(trained_task, tmp_path, monkeypatch):
    from kindling.inference.exporting.trained import Trained
    from kindling.training.task import Task

    trained = Trained(Task(Several()), RowsProcessor(["a"], ["sum"]), preprocessing=False)
    with pytest.raises(ConfigError, match="given Several, which gives dict; allowed for an export: a net that"):
        trained.compute(np.zeros((2, 1), dtype=np.float32))


def test_a_folder_of_the_first_version_is_read_as_before(tmp_path):
    folder = write_model(tmp_path / "model")
    told = json.loads((folder / "model.json").read_text())
    assert told["format_version"] == 3
    processor = {name: told["processor"][name] for name in model_folder.OF_IMAGES}
    assert told.pop("processor")["decoding"] == 2
    (folder / "model.json").write_text(json.dumps({**told, **processor, "format_version": 1}))
    described, run = open_model(folder, threads=1)
    assert described.processor == {"kind": "image", **processor}
    assert described.make_processor().decoding.version == 1
    assert run(np.zeros((2, 4, 4, 1), dtype=np.uint8)).shape == (2, 3)
    (folder / "model.json").write_text(json.dumps({**told, **processor, "format_version": 4}))
    with pytest.raises(CheckpointError, match="of format version 4; allowed: 1, 2, 3"):
        model_folder.read(folder)


def test_the_readme_of_rows_takes_choices_and_scales_numbers(tmp_path):
    columns = ["x", Column('is "y"', choices=("no", "yes"))]
    processor = RowsProcessor(columns, ["z"], mean=[1, 0], std=[2, 1], output_mean=[5], output_std=[3])
    folder = write_lookup(tmp_path / "model", processor, "MatMul", np.array([[1], [10]], dtype=np.float32))
    (folder / "README.md").write_text(readme(model_folder.read(folder), "proof"))
    row = {"x": 3.0, 'is "y"': "yes"}
    assert eval(printed(folder, json.dumps(row))) == {"z": 5.0 + 3 * (1 + 10)}

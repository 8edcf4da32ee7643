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

from bench.own_processors import InInches
from kindling.cli.entry import compose
from kindling.data.processor import Column
from kindling.data.rows_processor import RowsProcessor
from kindling.data.text_processor import TextProcessor
from kindling.errors import CheckpointError, ConfigError, DataError, ExportError, one_line
from kindling.export import export
from kindling.images.processor import ImageProcessor
from kindling.inference import model_folder
from kindling.inference.exporting import made_up
from kindling.inference.exporting.parity import LARGEST_DIFFERENCE, Parity, measure
from kindling.inference.exporting.readme import readme
from kindling.inference.runtimes import open_model
from long_run import some
from model_folders import write_lookup, write_model

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


@pytest.mark.parametrize(
    "format", ["onnx", *(pytest.param(each, marks=pytest.mark.slow) for each in ("pt2", "torchscript"))]
)
def test_rows_are_exported_with_the_proof_of_numbers_and_no_accuracy(trained_task, tmp_path, format):
    found = export_task(trained_task("sum"), tmp_path / "model", f"format={format}")
    assert list(found) == ["max_difference"]
    assert 0 <= found["max_difference"] < 1e-5
    described, compute = open_model(tmp_path / "model", threads=1, trust=True)
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


@pytest.mark.parametrize("format", some(["onnx", "int8"], "onnx"))
def test_classes_of_rows_are_proven_by_their_accuracy(trained_task, tmp_path, monkeypatch, format):
    monkeypatch.setattr("kindling.inference.exporting.parity.LARGEST_LOSS", 10)  # one of 32 rows is 3 points
    found = export_task(trained_task("sign"), tmp_path / "model", f"format={format}")
    assert found.keys() == {"max_difference", "changed_predictions", "accuracy_lost"}
    described, compute = open_model(tmp_path / "model", threads=1, trust=True)
    assert 0.5 < described.about["parity"]["accuracy"]["pytorch"] <= 1
    assert described.about.get("calibration_images") == (32 if format == "int8" else None)
    processor = described.make_processor()
    row = processor.write(compute(np.stack([processor.read(ROW)]))[0])
    name, probability = printed(tmp_path / "model", json.dumps(ROW)).split()
    assert (name, float(probability)) == (row["class"], pytest.approx(row["probability"], abs=1e-4))


@pytest.mark.parametrize(
    "format", ["onnx", *(pytest.param(each, marks=pytest.mark.slow) for each in ("pt2", "torchscript"))]
)
def test_a_text_of_any_length_goes_on_from_the_exported_model_and_its_readme(trained_task, tmp_path, format):
    found = export_task(trained_task("next"), tmp_path / "model", f"format={format}")
    assert list(found) == ["max_difference"]
    described, compute = open_model(tmp_path / "model", threads=1, trust=True)
    for length in (1, 2, 6):
        assert compute(np.zeros((3, length), dtype=np.int64)).shape == (3, length, 5)
    text = "ab" + "".join(described.make_processor().answer(compute, "ab", length=200, seed=0))
    assert printed(tmp_path / "model", "ab") == text + "\n"


@pytest.mark.parametrize(
    ("task", "noun", "error"),
    [("sum", "rows", DataError("data.root: given x")), ("next", "texts", FileNotFoundError(2, "No such file", "x"))],
)
def test_without_its_data_a_model_is_exported_and_compared_on_made_up_inputs(
    trained_task, tmp_path, monkeypatch, caplog, task, noun, error
):
    run = trained_task(task)

    def read(data):
        raise error

    for kind in ("table.Table", "letters.Letters"):
        monkeypatch.setattr(f"bench.data.{kind}.read", read)
        monkeypatch.setattr(f"bench.data.{kind}.facts", property(read))
    export_task(run, tmp_path / "model", "format=torchscript")
    assert f"warning: {one_line(error)}; the export is compared with PyTorch on made-up inputs" in caplog.text
    described, _ = open_model(tmp_path / "model", threads=1, trust=True)
    assert (described.about["parity"]["examples"], described.about["parity"]["inputs"]) == (64, "made-up")
    assert f"64 made-up {noun}: " in (tmp_path / "model" / "README.md").read_text()


def test_int8_and_data_that_is_said_to_lie_elsewhere_are_not_done_without(trained_task, tmp_path, monkeypatch):
    run = trained_task("sign")

    def read(data):
        raise DataError("data.labelled: given what is not there")

    monkeypatch.setattr("bench.data.table.Table.facts", property(read))
    for given in ("format=int8", "data.batch_size=4"):
        with pytest.raises(DataError, match=r"is not there; if it has moved, \+data\.labelled=PATH"):
            export_task(run, tmp_path / "model", given)
    with pytest.raises(DataError, match=r"what is not there$"):
        export_task(run, tmp_path / "model", "+data.labelled=true")


def test_other_data_is_refused_and_not_left_out(trained_task, tmp_path, monkeypatch):
    run = trained_task("sum")
    monkeypatch.setattr("bench.data.table.Table.facts", {"columns": ["a"]})
    with pytest.raises(DataError, match=r"data: given the columns \['a'\]; the model knows"):
        export_task(run, tmp_path / "model")


def test_made_up_inputs_are_what_the_model_may_be_given():
    columns = [Column("n", "integer", low=3, high=5), Column("c", choices=("u", "v")), Column("x", low=0), "y"]
    rows = np.concatenate(list(made_up.batches(RowsProcessor(columns, ["z"]), preprocessing=False)))
    assert rows.shape == (64, 4)
    assert [set(column) for column in rows.T[:2].tolist()] == [{3.0, 4.0, 5.0}, {0.0, 1.0}]
    assert rows[:, 2].min() == 0
    assert rows[:, 3].min() < -1
    scaled = RowsProcessor(["x", "y"], ["z"], mean=[1000, -5], std=[10, 0.1])
    rows = np.concatenate(list(made_up.batches(scaled, preprocessing=False)))
    assert np.abs(rows.mean(0)).max() < 0.5
    assert np.abs(rows.std(0) - 1).max() < 0.3
    images = ImageProcessor(["a"], 4, 3, [0.5], [0.5])
    assert next(made_up.batches(images, preprocessing=True)).shape == (16, 4, 4, 3)
    assert next(made_up.batches(images, preprocessing=False)).shape == (16, 3, 4, 4)
    texts = np.concatenate(list(made_up.batches(TextProcessor("abc", 7), preprocessing=False)))
    assert (texts.shape, set(texts.flatten().tolist())) == ((64, 7), {0, 1, 2})


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
        (
            "sum",
            ["preprocessing=true"],
            "preprocessing: given true for rows; allowed: of classes of images alone; leave it out",
        ),
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


def test_a_processor_that_no_model_folder_can_name_is_refused(trained_task, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.tasks.in_and_out.Sum.processor", lambda task: Own(["a", "b", "c"], ["sum"]))
    with pytest.raises(ConfigError, match=r"given .*Own, which no model folder can name"):
        export_task(trained_task("sum"), tmp_path / "model")


@pytest.mark.slow
def test_a_processor_of_the_project_is_exported_by_its_name_and_writes_as_before(trained_task, tmp_path, monkeypatch):
    made = InInches(["width", "height", "depth"], ["sum"])
    monkeypatch.setattr("bench.tasks.in_and_out.Sum.processor", lambda task: made)
    assert list(export_task(trained_task("sum"), tmp_path / "model")) == ["max_difference"]
    described, compute = open_model(tmp_path / "model", threads=1)
    assert described.processor["_target_"] == ".own_processors.InInches"
    rows, processor = np.stack([made.read(ROW)]), described.make_processor()
    assert processor.write(compute(rows)[0]) == made.write(compute(rows)[0])
    assert described.about["takes"] == {"shape": [3], "dtype": "float32"}
    for overrides in (["format=int8"], ["preprocessing=true"]):
        with pytest.raises(ConfigError, match=r": given .* for InInches; allowed: "):
            export_task(trained_task("sum"), tmp_path / "other", *overrides)


@pytest.mark.slow
def test_the_readme_of_a_processor_of_the_project_runs_without_the_project(trained_task, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.tasks.in_and_out.Sum.processor", lambda task: InInches(["a", "b", "c"], ["sum"]))
    for format in ("onnx", "pt2", "torchscript"):
        export_task(trained_task("sum"), tmp_path / format, f"format={format}")
        assert printed(tmp_path / format, "") == "(1,)\n"


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
    assert told.pop("processor")["decoding"] == 4
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

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.models.pretrained import Pretrained
from kindling.cli.entry import compose
from kindling.data.class_report import per_class, summary
from kindling.data.processor import Evaluated
from kindling.data.rows_report import plot_predictions, report_numbers
from kindling.errors import CheckpointError, ConfigError, DataError
from kindling.evaluate import evaluate
from kindling.files.picture import save
from kindling.images.plots import plot_mistakes
from kindling.training.keep_outputs import KeepOutputs, join, on_cpu
from long_run import some


def evaluate_run(*overrides: str) -> dict[str, float]:
    return evaluate(compose([*overrides, "trainer.accelerator=cpu"], name="evaluate"))


@pytest.mark.parametrize("split", [pytest.param("val", marks=pytest.mark.slow), "test"])
def test_evaluation_equals_what_training_reported_to_the_bit(train_run, split):
    run = train_run("trainer.max_epochs=1", "model=cnn", "data.batch_size=24")
    found = evaluate_run(f"run={run.folder}", f"split={split}")
    for name in ("loss", "accuracy"):
        assert found[f"{split}/{name}"] == run.metrics[f"{split}/{name}"]


@pytest.mark.slow
def test_evaluation_averages_the_views_of_the_run_unless_it_is_given_others(train_run):
    run = train_run("trainer.max_epochs=1", "model=cnn", "views=flip")
    assert evaluate_run(f"run={run.folder}")["test/loss"] == run.metrics["test/loss"]
    plain = evaluate_run(f"run={run.folder}", "views=none")
    assert plain["test/loss"] != run.metrics["test/loss"]
    on_val = {
        views: evaluate_run(f"run={run.folder}", "split=val", f"views={views}") for views in ("null", "none", "flip")
    }
    assert on_val["null"] == on_val["none"]
    assert on_val["none"]["val/loss"] == run.metrics["val/loss"], "training validates without views"
    assert on_val["flip"]["val/loss"] != run.metrics["val/loss"]


def test_it_writes_metrics_and_two_pictures_beside_the_run_and_names_them(finished, capsys):
    run = finished
    found = evaluate_run(f"run={run.folder}")
    folder = run.folder / "evaluation" / "test"
    assert capsys.readouterr().out.endswith(f"evaluation: {folder}\n  confusion_matrix.png\n  mistakes.png\n")
    report = json.loads((folder / "metrics.json").read_text())
    assert found.items() <= report.items()
    assert len(report["classes"]) == 10
    assert sum(row["images"] for row in report["classes"].values()) == 64
    assert len([*folder.glob("example_*.png")]) == 10, "one of each class, for the page of a server"
    for name in ("confusion_matrix.png", "mistakes.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 200


def test_a_moved_run_is_evaluated_where_it_lies(finished, tmp_path):
    run = finished
    moved = tmp_path / "elsewhere ö" / "run"
    moved.parent.mkdir()
    shutil.move(run.folder, moved)
    found = evaluate_run(f"run='{moved}'")
    assert found["test/loss"] == run.metrics["test/loss"]
    assert (moved / "evaluation" / "test" / "metrics.json").exists()


@pytest.mark.slow
def test_results_of_a_run_that_cannot_be_written_go_to_the_logs(finished, tmp_path):
    run = finished
    (run.folder / "evaluation").write_text("a file where the folder would be")
    evaluate_run(f"run={run.folder}", f"paths.logs={tmp_path}/other")
    assert [*(tmp_path / "other" / "evaluation").glob(f"{run.folder.name}--*/test/metrics.json")]


def test_a_checkpoint_outside_any_run_is_enough(finished, tmp_path):
    run = finished
    file = shutil.copy(run.folder / "checkpoints" / "best.ckpt", tmp_path / "mine.ckpt")
    found = evaluate_run(f"ckpt={file}", f"paths.logs={tmp_path}/other")
    assert found["test/loss"] == run.metrics["test/loss"]
    assert [*(tmp_path / "other" / "evaluation").glob("mine--*/test/metrics.json")]


@pytest.mark.slow
def test_the_last_checkpoint_does_not_overwrite_the_results_of_the_best(finished):
    run = finished
    evaluate_run(f"ckpt={run.folder}/checkpoints/last.ckpt")
    assert (run.folder / "evaluation" / "test-last" / "metrics.json").exists()


@pytest.mark.slow
def test_another_root_with_the_same_classes_is_taken(train_run, make_tree, tmp_path):
    root = make_tree()
    run = train_run(
        "data=image_folder",
        f"data.root={root}",
        f"data.cache_dir={tmp_path}",
        "data.batch_size=8",
        "trainer.log_every_n_steps=1",
    )
    moved = shutil.move(root, tmp_path / "moved")
    found = evaluate_run(f"run={run.folder}", f"data.root={moved}")
    assert found["test/loss"] == run.metrics["test/loss"]
    (moved / "c").rename(moved / "d")
    with pytest.raises(DataError, match="the model knows"):
        evaluate_run(f"run={run.folder}", f"data.root={moved}")


@pytest.mark.slow
def test_evaluation_needs_no_weights_from_elsewhere(train_run, tmp_path):
    torch.save(Pretrained(1, 16, 10, None).state_dict(), tmp_path / "weights.pt")
    model = ["model=pretrained"]
    run = train_run(*model, f"model.weights={tmp_path}/weights.pt", "trainer.max_epochs=1")
    (tmp_path / "weights.pt").unlink()
    assert evaluate_run(f"run={run.folder}")["test/loss"] == run.metrics["test/loss"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "neither run nor ckpt; allowed: run=<run folder> or ckpt=<checkpoint file>"),
        (["run=a", "ckpt=b"], "both run and ckpt"),
        (["run=a", "split=some"], "split: given 'some'; allowed: test or val or train or all or null"),
    ],
)
def test_wrong_arguments_are_answered_with_what_is_allowed(overrides, message):
    with pytest.raises(ConfigError, match=message):
        evaluate_run(*overrides)


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere, which does not exist; allowed: a run folder"):
        evaluate_run(f"run={tmp_path}/nowhere")
    with pytest.raises(CheckpointError, match=r"lacks checkpoints/best\.ckpt"):
        evaluate_run(f"run={tmp_path}")


@pytest.mark.parametrize("task", some(["sum", "sign", "next", "silent"], "sum", "next"))
def test_a_task_of_any_kind_is_evaluated_as_training_tested_it(trained_task, task, tmp_path, caplog):
    run = trained_task(task).copied_to(tmp_path)
    caplog.set_level("INFO")
    found = evaluate_run(f"run={run.folder}")
    report = json.loads((run.folder / "evaluation" / "test" / "metrics.json").read_text())
    assert {name: found[name] for name in run.metrics if name.startswith("test/")} == {
        name: value for name, value in run.metrics.items() if name.startswith("test/")
    }
    assert found.items() <= report.items()
    further = {"sum": "test/r2", "sign": "test/calibration_error", "next": "test/accuracy"}
    assert further.get(task, "test/loss") in found
    said = "Silent has no processor: what it logs is all that is reported"
    assert (said in caplog.text) == (task == "silent")


def test_rows_are_reported_with_their_errors_the_worst_ones_and_a_picture(trained_task, tmp_path):
    run = trained_task("sum").copied_to(tmp_path)
    evaluate_run(f"run={run.folder}")
    folder = run.folder / "evaluation" / "test"
    report = json.loads((folder / "metrics.json").read_text())
    assert report["test/rmse"] == pytest.approx(report["test/loss"] ** 0.5, rel=1e-5)
    errors = [abs(each["true"]["sum"] - each["predicted"]["sum"]) for each in report["worst"]]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] >= report["test/mae"]
    with Image.open(folder / "predictions.png") as picture:
        assert min(picture.size) > 200


def test_a_picture_of_many_outputs_has_four_in_a_row_and_says_how_many_it_leaves_out(tmp_path, caplog):
    caplog.set_level("INFO")
    numbers, names = np.arange(60.0).reshape(3, 20), [f"hour+{number}" for number in range(20)]
    found = report_numbers(Evaluated(numbers, numbers + 1, "test", None, lambda _: _), names, None, None, tmp_path)
    assert found["test/mae_hour+19"] == 1
    panels = plot_predictions(numbers, numbers, names).axes
    assert [panel.get_title() for panel in panels] == names[:16]
    grids = {grid.get_geometry()[:2] for panel in panels if (grid := panel.get_subplotspec())}
    assert grids == {(4, 4)}
    assert "predictions.png shows the first 16 of 20 outputs" in caplog.text
    with Image.open(tmp_path / "predictions.png") as picture:
        assert picture.size == (2400, 2400)


def test_a_text_is_reported_with_a_sample(trained_task, tmp_path):
    run = trained_task("next").copied_to(tmp_path)
    evaluate_run(f"run={run.folder}")
    folder = run.folder / "evaluation" / "test"
    sample = json.loads((folder / "metrics.json").read_text())["sample"]
    assert len(sample["text"]) == 200
    assert set(sample["prompt"] + sample["text"]) <= set("abcd\n")
    assert (folder / "sample.txt").read_text() == sample["prompt"] + sample["text"]


def test_outputs_of_any_structure_are_kept_in_order():
    batches = [
        ({"box": torch.tensor([[1.0]]), "score": torch.tensor([0.5]).half()}, (torch.tensor([1]), "a")),
        ({"box": torch.tensor([[2.0], [3.0]]), "score": torch.tensor([0.25, 1.0]).half()}, (torch.tensor([2, 3]), "b")),
    ]
    outputs, targets = (join(tuple(on_cpu(each) for each in part)) for part in zip(*batches, strict=True))
    assert outputs["box"].tolist() == [[1], [2], [3]]
    assert outputs["score"].dtype == np.float32
    assert targets[0].tolist() == [1, 2, 3]
    assert targets[1] == ["a", "b"]


def test_a_task_is_left_as_it_was_once_it_is_evaluated(trained_task, monkeypatch):
    steps = []
    original = KeepOutputs.on_test_end

    def ended(self, trainer, module):
        original(self, trainer, module)
        steps.append("step" in vars(module))

    monkeypatch.setattr(KeepOutputs, "on_test_end", ended)
    evaluate_run(f"run={trained_task('sum').folder}")
    assert steps == [False]


@pytest.mark.parametrize("task", ["sum", "silent"])
def test_views_are_refused_where_a_task_averages_none(trained_task, task):
    name = task.capitalize()
    with pytest.raises(ConfigError, match=f"views: given flip for {name}, which averages no views; allowed: null"):
        evaluate_run(f"run={trained_task(task).folder}", "views=flip")


def test_settings_of_data_of_any_kind_may_be_others_if_it_has_them(trained_task, tmp_path):
    run = trained_task("sum").copied_to(tmp_path)
    found = evaluate_run(f"run={run.folder}", "data.batch_size=5")
    assert found["test/loss"] == pytest.approx(run.metrics["test/loss"], rel=1e-5)
    with pytest.raises(ConfigError, match=r"data\.root: given 'x'; the data that .* has no root"):
        evaluate_run(f"run={run.folder}", "data.root=x")


def test_data_whose_columns_are_others_is_refused(trained_task, monkeypatch):
    monkeypatch.setattr("bench.data.table.COLUMNS", ("depth", "height", "width"))
    with pytest.raises(DataError, match=r"given the columns \['depth', .*; the model knows \['width'"):
        evaluate_run(f"run={trained_task('sum').folder}")


def test_per_class_numbers_equal_their_definitions():
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    logits = torch.eye(3)[torch.tensor([0, 0, 1, 1, 2, 2])]
    found = per_class(logits, labels, ["a", "b", "c"])
    assert found["a"] == pytest.approx({"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "images": 3})
    assert found["b"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "images": 2})
    assert found["c"] == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "images": 1})


def test_top_k_and_calibration_equal_their_definitions():
    logits = torch.log(torch.tensor([[0.05, 0.8, 0.1, 0.05], [0.7, 0.1, 0.15, 0.05]]))
    found = summary(logits, torch.tensor([1, 3]), "test")
    assert found["test/top3_accuracy"] == 0.5
    assert "test/top5_accuracy" not in found
    assert found["test/calibration_error"] == pytest.approx((abs(0.8 - 1) + abs(0.7 - 0)) / 2, abs=1e-5)


def test_mistakes_show_only_wrong_images_worst_first(tmp_path, monkeypatch):
    from kindling.images.images import ImageTensors

    shown = []
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda self, x, y, text, **_: shown.append(text))
    images = ImageTensors(torch.zeros(3, 4, 4, 1, dtype=torch.uint8), torch.tensor([0, 1, 1]))
    logits = torch.tensor([[5.0, 0.0], [1.0, 0.0], [4.0, 0.0]])
    save(plot_mistakes(images, logits, images.labels, ["cat", "dog"]), tmp_path / "mistakes.png")
    assert shown == ["dog → cat  0.98", "dog → cat  0.73"]
    assert Path(tmp_path / "mistakes.png").exists()

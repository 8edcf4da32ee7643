"""Runs that older code wrote, in old_runs/, live on: they evaluate, resume, fork, predict, export and serve."""

import csv
import json
import os
import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import kindling
import odd_images
from kindling.checkpoints import checkpoint
from kindling.checkpoints.described import build, section
from kindling.cli.entry import compose
from kindling.config.processes import PER_PROCESS
from kindling.config.targets import absolute, locate
from kindling.config.upgrade import upgrade
from kindling.errors import ConfigError
from kindling.evaluate import evaluate
from kindling.images.datamodule import ImageDataModule
from kindling.images.decoding import Decoding
from kindling.inference.runtimes import open_model
from kindling.run_folders.saved_run import saved_config
from kindling.train import train
from long_run import some

OLD = Path(__file__).parent / "old_runs"
FINISHED = ("finished", "format_1")
TARGETS = (OLD / "targets.txt").read_text().split()
# What validation and tests of such a run log, in a run of today.
MINIMISED = "task.criterion.version=1"
# When they log the learning rate.
BY_EPOCH = "callbacks.learning_rate.logging_interval=epoch"
# Models and data sets of the project, of which bench/ has its own.
OF_THE_PROJECT = tuple(
    f"kindling.{each}." for each in ("models", "data.mnist_5k", "data.torchvision_sets", "callbacks.whitening")
)
CLOSE = {"rel": 1e-4, "abs": 1e-5}  # another processor rounds otherwise; what is lost costs more

# By a Lightning that is newer than the oldest that is allowed.
pytestmark = pytest.mark.filterwarnings("ignore:The loaded checkpoint was produced with Lightning")


@pytest.fixture
def old(tmp_path):
    """Copies an old run, with the names of its checkpoints that git would keep twice."""

    def copy(name: str) -> Path:
        folder = tmp_path / "old" / name
        shutil.copytree(OLD / name, folder)
        checkpoints = folder / "checkpoints"
        *_, newest = sorted(checkpoints.iterdir())
        os.link(newest, checkpoints / "last.ckpt")
        if newest.stem != "best":
            (checkpoints / f".{newest.stem}.best").mkdir()
            os.link(checkpoints / "best.ckpt", checkpoints / f".{newest.stem}.best" / "best.ckpt")
        return folder

    return copy


@pytest.fixture
def again(tmp_path):
    """Trains with the arguments that an old run was given, and more; returns the folder and its metrics."""

    def run(name: str, *more: str) -> tuple[Path, dict[str, float]]:
        _, *arguments = map(today, shlex.split(record(OLD / name)["command"]))
        places = [f"paths.logs={tmp_path}/logs"]
        if name in ("format_4", "format_7"):
            places += [f"data.root={tmp_path}/odd", f"data.cache_dir={tmp_path}/cache"]
        given = {each.partition("=")[0]: each for each in [*arguments, *places, *more]}
        cfg = compose(list(given.values()))
        return Path(cfg.paths.run), train(cfg)

    return run


def today(argument: str) -> str:
    """What an argument is called today."""
    return re.sub(r"^(criterion\.|views=)", r"task.\1", argument)


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def numbers_of(folder: Path) -> list[dict[str, float]]:
    return [{key: float(value) for key, value in row.items() if value} for row in rows_of(folder)]


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != ".lock"}


def images_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The test images (N, H, W, C) of a run, and their labels (N,)."""
    config = checkpoint.load(folder / "checkpoints" / "best.ckpt")["description"]["config"]
    images = build(section(config, "data"), "data", ImageDataModule).splits.test
    return images.images.numpy(), images.labels.numpy()


def evaluated(*overrides: str) -> dict[str, float]:
    return evaluate(compose([*overrides, "trainer.accelerator=cpu"], name="evaluate"))


def same_run(one: Path, other: Path) -> None:
    """The same rows of metrics, weights, averages and optimizer states, but for rounding."""
    ours, theirs = rows_of(one), rows_of(other)
    assert [(row["step"], row["epoch"]) for row in ours] == [(row["step"], row["epoch"]) for row in theirs]
    for ours, theirs in zip(numbers_of(one), numbers_of(other), strict=True):
        assert ours == pytest.approx(theirs, **CLOSE)
    saved = [checkpoint.load(folder / "checkpoints" / "last.ckpt") for folder in (one, other)]
    for key in ("state_dict", "current_model_state", "averaging_state"):
        torch.testing.assert_close(saved[0].get(key), saved[1].get(key), rtol=CLOSE["rel"], atol=CLOSE["abs"])
    states = [each["optimizer_states"][0]["state"] for each in saved]
    torch.testing.assert_close(*states, rtol=CLOSE["rel"], atol=CLOSE["abs"])


@pytest.mark.parametrize("name", some(FINISHED, "format_1"))
def test_an_old_run_evaluates_to_what_it_has_recorded(old, name):
    folder = old(name)
    metrics = record(folder)["metrics"]
    found = evaluated(f"run={folder}")
    assert found["test/loss"] == pytest.approx(metrics["test/loss"], **CLOSE)
    assert found["test/accuracy"] == pytest.approx(metrics["test/accuracy"])
    last = evaluated(f"ckpt={folder}/checkpoints/last.ckpt", "split=val")
    assert last["val/loss"] == pytest.approx(metrics["val/loss"], **CLOSE)


def test_an_old_run_that_was_stopped_evaluates_to_its_row_of_validation(old):
    folder = old("unfinished")
    assert record(folder)["status"] == "interrupted"
    (row,) = (row for row in numbers_of(folder) if "val/loss" in row)
    found = evaluated(f"run={folder}", "split=val")
    assert found["val/loss"] == pytest.approx(row["val/loss"], **CLOSE)
    assert found["val/accuracy"] == pytest.approx(row["val/accuracy"])


@pytest.mark.parametrize("name", some(["unfinished", "format_3", "format_5"], "unfinished"))
@pytest.mark.parametrize("key", some(["resume", "fork"], "resume"))
def test_an_old_run_goes_on_to_the_end_of_a_run_that_was_never_stopped(old, again, key, name):
    stopped = old(name)
    before = contents_of(stopped)
    folder, metrics = again(name, f"{key}={stopped}")
    whole, expected = again(name, MINIMISED, BY_EPOCH)
    assert (folder == stopped) == (key == "resume")
    assert (contents_of(stopped) == before) == (key == "fork")
    assert record(folder)["status"] == "finished"
    assert metrics == pytest.approx(expected, **CLOSE)
    same_run(folder, whole)


def test_an_old_run_of_several_processes_keeps_a_batch_for_each(old, again):
    folder = old("format_6")
    assert saved_config(folder)[PER_PROCESS]
    with pytest.raises(ConfigError, match="given 1 process; allowed: 2, as each has batches of its own"):
        again("format_6", f"resume={folder}", "trainer=cpu")


def test_the_best_score_of_an_old_run_is_what_its_best_checkpoint_is_evaluated_to(old):
    folder = old("format_5")
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    (state,) = (each for each in kept.values() if "best_model_score" in each)
    found = evaluated(f"run={folder}", "split=val")
    assert found["val/loss"] == pytest.approx(float(state["best_model_score"]), rel=1e-6)
    assert saved_config(folder)["task"]["criterion"]["version"] == 1


@pytest.mark.slow
def test_an_old_run_forks_as_one_of_today(old, again):
    longer = "trainer.max_epochs=4"
    finished = old("finished")
    before = contents_of(finished)
    folder, metrics = again("finished", longer, f"fork={finished}")
    today, expected = again("finished", longer, f"fork={again('finished', MINIMISED, BY_EPOCH)[0]}", BY_EPOCH)
    assert len(rows_of(folder)) > len(rows_of(finished))
    assert metrics == pytest.approx(expected, **CLOSE)
    same_run(folder, today)
    assert contents_of(finished) == before


def test_an_old_run_that_has_finished_says_so_and_stays_as_it_was(old, again, caplog):
    caplog.set_level("INFO")
    folder = old("finished")
    before = contents_of(folder)
    _, metrics = again("finished", f"resume={folder}")
    assert f"resume: {folder} has finished; nothing is left to do" in caplog.text
    assert metrics == record(folder)["metrics"]
    assert contents_of(folder) == before


def test_a_run_of_format_1_has_nothing_to_go_on_from_but_its_weights(old, again):
    folder = old("format_1")
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["description"]["format"] == 1
    with pytest.raises(ConfigError, match=r"fork: given .*format_1, which holds nothing to go on from; .*; weights="):
        again("format_1", f"fork={folder}")


@pytest.mark.parametrize("name", FINISHED)
def test_the_weights_of_an_old_run_are_those_that_it_was_tested_with(old, again, name):
    folder = old(name)
    _, metrics = again(name, "train=false", MINIMISED, f"weights={folder}")
    assert metrics["test/loss"] == pytest.approx(record(folder)["metrics"]["test/loss"], **CLOSE)


@pytest.mark.parametrize("name", FINISHED)
def test_an_old_run_predicts_as_often_right_as_it_has_recorded(old, name):
    folder = old(name)
    pixels, expected = images_of(folder)
    predictor = kindling.load(folder, device="cpu")
    labels = predictor.predict(list(pixels))
    assert len(set(labels)) > 2
    right = np.array(labels) == np.array(predictor.classes)[expected]
    assert np.mean(right) == pytest.approx(record(folder)["metrics"]["test/accuracy"])


@pytest.mark.needs("exporting")
@pytest.mark.needs("serving")
@pytest.mark.parametrize("name", some(["unfinished", "finished"], "finished"))
def test_an_old_run_is_exported_and_served_as_it_predicts(old, name, tmp_path):
    from kindling.export import export
    from kindling.inference.serving.model import warm
    from kindling.inference.serving.source import Source

    folder = old(name)
    model = tmp_path / "model"
    export(compose([f"run={folder}", "format=pt2", "benchmark=false", f"output={model}"], name="export"))
    served = Source(run=folder, ckpt=None, folder=None).open(threads=None)
    warm(served, max_batch=3)
    pixels, _ = images_of(folder)
    expected = kindling.load(folder, device="cpu").probabilities(pixels).numpy()
    assert np.array_equal(served.run(pixels), expected)
    assert expected.std(0).max() > 0.01, "other images, other probabilities"
    described, run = open_model(model, threads=1, trust=True)
    assert described.processor == served.processor.as_dict()
    assert np.abs(run(pixels) - expected).max() < 1e-6


@pytest.fixture
def plain_odd(tmp_path) -> str:
    """The images of format_7, as an override."""
    return f"data.root={odd_images.write(tmp_path / 'odd')}"


@pytest.fixture
def odd(tmp_path, plain_odd) -> str:
    """The images of format_4, as an override."""
    root = tmp_path / "odd"
    # Which runs of before do not list.
    shutil.copy(sorted((root / "a").iterdir())[0], root / "a" / "later_integers.jfif")
    return plain_odd


def test_a_run_of_before_decodes_its_images_as_ever(old, odd, tmp_path):
    folder = old("format_4")
    metrics = record(folder)["metrics"]
    found = evaluated(f"run={folder}", odd)
    assert found["test/loss"] == pytest.approx(metrics["test/loss"], **CLOSE)
    best = evaluated(f"run={folder}", odd, "split=val")
    assert best["val/loss"] == pytest.approx(record(folder)["best"]["score"], **CLOSE)
    predictor = kindling.load(folder, device="cpu")
    for file in sorted((tmp_path / "odd" / "a").iterdir()):
        expected = Decoding(8, 1, version=1).file(file)
        assert np.array_equal(predictor.pixels(file), expected)
        if "integers" not in file.name:
            assert not np.array_equal(Decoding(8, 1).file(file), expected)


def test_a_run_of_before_keeps_the_square_of_its_images(old, plain_odd, tmp_path):
    folder = old("format_7")
    metrics = record(folder)["metrics"]
    found = evaluated(f"run={folder}", plain_odd)
    assert found["test/loss"] == pytest.approx(metrics["test/loss"], **CLOSE)
    predictor = kindling.load(folder, device="cpu")
    for file in sorted((tmp_path / "odd" / "a").iterdir()):
        expected = Decoding(8, 3, white=4095, version=3).file(file)
        assert np.array_equal(predictor.pixels(file), expected)


@pytest.mark.slow
@pytest.mark.needs("exporting")
@pytest.mark.needs("serving")
def test_a_run_of_before_is_exported_and_served_with_the_square_of_its_images(old, plain_odd, tmp_path):
    from kindling.export import export
    from kindling.inference.serving.source import Source
    from serving import serving

    folder, cache = old("format_7"), f"paths.cache={tmp_path}/cache"
    figures = export(compose([f"run={folder}", plain_odd, cache, "benchmark=false"], name="export"))
    assert figures["changed_predictions"] == 0
    model = folder / "export" / "onnx"
    described = json.loads((model / "model.json").read_text())
    assert described["processor"]["decoding"] == 3
    assert described["about"]["parity"].get("inputs", "validation") == "validation"
    # Those of the run are nearly square.
    wide = np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    images = [*sorted((tmp_path / "odd" / "a").iterdir()), tmp_path / "wide.png"]
    own = runpy.run_path(str(model / "decoding.py"))["Decoding"].of(described["processor"])
    predictor = kindling.load(folder, device="cpu")
    expected = predictor.predict(images, "probabilities").numpy()
    assert expected.std(0).max() > 0.01, "other images, other probabilities"
    with serving(tmp_path / "serve.log", f"model={model}", "max_images=100") as server:
        answers = server.probabilities(*(file.read_bytes() for file in images))
    found = np.array([[each[name] for name in predictor.classes] for each in answers])
    assert np.abs(found - expected).max() < 1e-5
    served = Source(run=None, ckpt=folder / "checkpoints" / "best.ckpt", folder=None).open(threads=None)
    pixels = np.stack([served.processor.pixels(file.read_bytes()) for file in images])
    assert np.array_equal(served.run(pixels), expected)
    for file in images:
        assert np.array_equal(own.file(file), Decoding(8, 3, white=4095, version=3).file(file))
    assert not np.array_equal(own.file(images[-1]), Decoding(8, 3, white=4095).file(images[-1]))


@pytest.mark.parametrize("key", some(["resume", "fork"], "resume"))
@pytest.mark.parametrize(("name", "version"), some([("format_4", 1), ("format_7", 3)], ("format_7", 3)))
def test_a_run_of_before_goes_on_with_its_decoding(old, again, key, name, version, request):
    request.getfixturevalue("odd" if version == 1 else "plain_odd")
    longer = "trainer.max_epochs=4"
    stopped = old(name)
    folder, _ = again(name, longer, f"{key}={stopped}")
    minimised = [MINIMISED] if version == 1 else []
    whole, _ = again(name, longer, f"data.decoding={version}", BY_EPOCH, *minimised)
    assert saved_config(folder)["data"]["decoding"] == version
    same_run(folder, whole)
    with pytest.raises(ConfigError, match=rf"{key}: given the settings data.decoding=4 \(it has {version}\)"):
        again(name, longer, "data.decoding=4", f"{key}={stopped}")


@pytest.mark.needs("trackers")
def test_whatever_a_config_has_named_is_found_also_as_checkpoints_name_it(monkeypatch):
    import fake_trackers

    fake_trackers.install(monkeypatch)
    assert len(TARGETS) == 39
    for target in TARGETS:
        if target.startswith(OF_THE_PROJECT):
            assert upgrade({"_target_": target}, 2) == {"_target_": target.removeprefix("kindling")}
            continue
        (found,) = absolute(upgrade({"_target_": target}, 2)).values()
        (saved,) = absolute(upgrade({"_target_": target.removeprefix("kindling")}, 2)).values()
        assert locate(found, target) is locate(saved, target)
        assert locate(found, target).__name__ == target.rpartition(".")[2]

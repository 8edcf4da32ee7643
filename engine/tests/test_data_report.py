"""debug=data: what a set holds, counted and compared before training."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.debug.data import DataReport, columns_of, counts_of, described, names_of, sizes_and_pixels, table
from kindling.errors import DataError
from kindling.images.images import ImageFiles, ImageTensors


def images(*values: int) -> ImageTensors:
    pixels = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 3)
    return ImageTensors(pixels.contiguous(), torch.tensor(values) % 2)


def test_duplicates_are_counted_within_a_split_and_across_splits():
    splits = {"train": images(1, 2, 3, 3, 3), "val": images(4, 5), "test": images(1, 4, 4, 6)}
    assert described(splits) == {
        "train": {"examples": 5, "duplicates": 2, "in_earlier_splits": None},
        "val": {"examples": 2, "duplicates": 0, "in_earlier_splits": 0},
        "test": {"examples": 4, "duplicates": 1, "in_earlier_splits": 3},
    }
    one_by_one: Any = [1, 2, 3]
    assert described({"train": one_by_one})["train"] == {
        "examples": 3,
        "duplicates": None,
        "in_earlier_splits": None,
    }, "not known without reading each"


def test_examples_of_each_class_are_counted_by_split():
    found = counts_of({"train": images(1, 3, 2), "val": images(5)}, ["even", "odd", "none"])
    assert found == {"even": {"train": 1, "val": 0}, "odd": {"train": 2, "val": 1}, "none": {"train": 0, "val": 0}}
    assert counts_of({"train": torch.zeros(3, 2)}, ["even"]) == {}


def test_mean_and_std_of_the_pixels_are_those_by_hand(monkeypatch):
    monkeypatch.setattr("kindling.debug.data.CHUNK", 2)
    found = sizes_and_pixels(images(0, 255, 51, 102, 0))
    values = torch.tensor([0, 1, 0.2, 0.4, 0]).double()
    assert found["mean"] == pytest.approx([values.mean().item()] * 3)
    assert found["std"] == pytest.approx([values.std(correction=0).item()] * 3)
    assert found["of"] == 5


def test_files_have_their_own_sizes_and_some_of_them_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("kindling.debug.data.NUM_DECODED", 3)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        Image.new("RGB", (10 + i, 20 - i)).save(path)
    files = ImageFiles(paths, torch.zeros(5).long(), lambda path: torch.full((2, 2, 3), int(path.stem) * 51).byte())
    found = sizes_and_pixels(files)
    assert (found["widths"], found["heights"], found["of"]) == ([10, 12, 14], [16, 18, 20], 3)
    assert found["mean"] == pytest.approx([0.4] * 3), "of the first, the middle and the last"


def test_columns_of_numbers_are_described_and_those_of_texts_are_not():
    rows = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    found = columns_of((rows, torch.tensor([0.0, 1.0])), ["age", "bmi"])
    assert found["age"] == {"mean": 2, "std": 1, "min": 1, "max": 3}
    assert list(found) == ["age", "bmi", "[1]"]
    assert columns_of((torch.zeros(5, 8, dtype=torch.int64),), []) == {}


def test_data_that_shows_no_splits_is_named(tmp_path):
    with pytest.raises(DataError, match="given SimpleNamespace, which shows no splits; allowed for debug=data"):
        DataReport(str(tmp_path), 1).report(SimpleNamespace())


@pytest.mark.slow
def test_a_report_ends_before_training_and_draws_images_as_training_has_them(train_run, monkeypatch, caplog):
    drawn = {}
    monkeypatch.setattr("kindling.debug.data.plot_grid", lambda cells, title, columns: drawn.update(cells=cells))
    monkeypatch.setattr("kindling.debug.data.save", lambda figure, file: Path(file).touch())
    caplog.set_level("INFO")
    run = train_run("debug=data", "data.batch_size=12")
    assert run.metrics == {}
    assert len(drawn["cells"]) == 32, "12 images in rows of 8, twice"
    raw, changed = drawn["cells"][0][0], drawn["cells"][8][0]
    assert (raw.int() - changed.int()).abs().max() <= 1, "bench/ has no augmentation"
    found = json.loads((run.folder / "data.json").read_text())
    assert sum(each["train"] for each in found["classes"].values()) == found["splits"]["train"]["examples"]
    assert "classes, rarest first" in caplog.text


def test_the_first_of_two_processes_draws_each_image_above_the_one_that_it_trains_on(tmp_path, monkeypatch):
    drawn: dict[str, Any] = {}
    monkeypatch.setattr("kindling.debug.data.plot_grid", lambda cells, title, columns: drawn.update(cells=cells))
    monkeypatch.setattr("kindling.debug.data.save", lambda *_: None)
    cfg = compose(["data=fake", "data.batch_size=16", "data.num_images=64", "data.image_size=8"])
    data: Any = instantiate(cfg.data, "data")
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(datamodule=data, strategy=strategy, global_rank=0, world_size=2)
    data.trainer = trainer
    DataReport(str(tmp_path), num_images=6)._draw(trainer, data)
    pictures = [picture for picture, name in drawn["cells"] if picture.shape[0] > 1]
    assert len(pictures) == 12
    for image, trained_on in zip(pictures[:6], pictures[6:], strict=True):
        assert (image.int() - trained_on.int()).abs().max() <= 1


def test_a_line_break_in_a_class_name_breaks_no_line():
    assert names_of(torch.tensor(1), ["cat", "a\nb"]) == r"a\nb"
    found = table("class", {"a\nb": {"train": 1}}, "classes")
    assert [str(cell) for cell in found.columns[0].cells] == [r"a\nb"]

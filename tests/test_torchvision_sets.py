"""MNIST, Fashion-MNIST and CIFAR, from files written here."""

import pickle
import struct
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets

from kindling.errors import ConfigError, DataError

pytest.importorskip("my_project.data.torchvision_sets")
from my_project.data.torchvision_sets import TorchvisionImages

GREY = {"channels": 1, "image_size": 28, "mean": [0.5], "std": [0.5]}
COLOUR = {"channels": 3, "image_size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
LOADED = {"num_classes": 10, "batch_size": 16, "num_workers": 0, "in_memory": True, "seed": 0, "augment": None}


def data_of(name: str, root: Path, facts: dict[str, Any] = GREY) -> TorchvisionImages:
    return TorchvisionImages(name=name, root=str(root), val_fraction=0.1, **facts, **LOADED)


def write_idx(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    file.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(root: Path, name: str = "MNIST") -> Path:
    rng = np.random.default_rng(0)
    for prefix, num_images in (("train", 120), ("t10k", 20)):
        raw = root / name / "raw"
        write_idx(raw / f"{prefix}-images-idx3-ubyte", rng.integers(0, 256, (num_images, 28, 28)))
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(num_images) % 10)
    return root


def write_cifar10(root: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [i % 10 for i in range(20)]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"name {i}" for i in range(10)]}))
    return root


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", refuse)


def test_mnist_comes_from_torchvisions_files_with_validation_cut_from_train(tmp_path):
    data = data_of("MNIST", write_mnist(tmp_path))
    data.prepare_data()
    data.setup("fit")
    assert [len(data.splits.train), len(data.splits.val), len(data.splits.test)] == [100 + 10, 10, 20]
    assert data.splits.train.labels.bincount().tolist() == [11] * 10
    assert data.splits.classes[3] == "3 - three"


def test_fashion_mnist_reads_its_own_files(tmp_path):
    data = data_of("FashionMNIST", write_mnist(tmp_path, "FashionMNIST"))
    data.prepare_data()
    assert "Sneaker" in data.splits.classes


def test_cifar10_images_are_in_colour_and_not_transposed(tmp_path, monkeypatch):
    dataset = torchvision.datasets.CIFAR10
    for lists in ("train_list", "test_list"):
        monkeypatch.setattr(dataset, lists, [[name, None] for name, _ in getattr(dataset, lists)])
    monkeypatch.setattr(dataset, "meta", dataset.meta | {"md5": None})
    data = data_of("CIFAR10", write_cifar10(tmp_path), COLOUR)
    data.setup("fit")
    assert [len(data.splits.train), len(data.splits.val), len(data.splits.test)] == [90, 10, 20]
    raw = pickle.loads((tmp_path / "cifar-10-batches-py" / "test_batch").read_bytes())["data"]
    assert np.array_equal(data.splits.test.images[4].permute(2, 0, 1).flatten().numpy(), raw[4])


@pytest.mark.usefixtures("no_network")
def test_missing_files_without_a_network_name_the_root_and_the_way_out(tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path}.*MNIST.*download failed.*data=mnist_5k"):
        data_of("MNIST", tmp_path).prepare_data()


@pytest.mark.usefixtures("no_network")
def test_a_truncated_file_is_named_as_damaged(tmp_path):
    write_mnist(tmp_path)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="missing or damaged"):
        _ = data_of("MNIST", tmp_path).splits


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=f"given the file {tmp_path}/file; allowed: a folder"):
        data_of("MNIST", tmp_path / "file").prepare_data()


@pytest.mark.parametrize("name", ["ImageNet", "FakeData", "mnist", "nothing"])
def test_a_set_of_another_kind_is_refused_by_name(tmp_path, name):
    with pytest.raises(
        ConfigError, match=rf"data\.name: given '{name}'; allowed: MNIST, FashionMNIST, KMNIST, CIFAR10"
    ):
        data_of(name, tmp_path)

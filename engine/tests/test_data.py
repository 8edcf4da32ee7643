"""Each set of images: what it holds, how it is split, and what it says of wrong input."""

import pytest
import torch

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.errors import ConfigError, DataError
from kindling.images.datamodule import ImageDataModule
from kindling.images.images import ImageTensors


def data_of(*overrides: str) -> ImageDataModule:
    return instantiate(compose(overrides).data, "data")


def test_each_loader_reads_its_own_split():
    data = data_of()
    loaders = {"train": data.train_dataloader(), "val": data.val_dataloader(), "test": data.test_dataloader()}
    for name, loader in loaders.items():
        assert torch.equal(loader.images.images, getattr(data.splits, name).images)


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

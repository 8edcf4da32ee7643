"""What every set of images in configs/data keeps, beside what any data set does."""

import copy
from collections import Counter
from pathlib import Path

import pytest
import torch

from kindling.images.datamodule import ImageDataModule
from kindling.stages import STAGES
from kindling.testing.sets import DATA, MissingFilesError, as_bytes, labelled, pixels_of, read, read_all


@pytest.fixture(scope="module", params=DATA)
def image_data(request: pytest.FixtureRequest, offline: Path) -> ImageDataModule:
    """Each set of images in turn."""
    try:
        return read(request.param, offline)
    except MissingFilesError as error:
        pytest.skip(f"its files are missing: {error}")


def without_augmentation(data: ImageDataModule) -> ImageDataModule:
    plain = copy.copy(data)
    plain.augment = None
    return plain


def test_every_class_has_a_name_and_images_in_every_split(image_data):
    assert len(set(image_data.splits.classes)) == image_data.num_classes
    for split in STAGES:
        labels = getattr(image_data.splits, split).labels
        assert labels.dtype == torch.int64
        assert labels.unique().tolist() == list(range(image_data.num_classes)), split


def test_a_label_means_the_same_in_every_split(image_data):
    """The nearest mean image of training separates classes better than a guess, in the other splits too."""
    images, labels = pixels_of(image_data.splits.train).flatten(1).float(), image_data.splits.train.labels
    means = torch.stack([images[labels == label].mean(0) for label in range(image_data.num_classes)])
    for split in STAGES:
        found = getattr(image_data.splits, split)
        images, labels = pixels_of(found).flatten(1).float(), found.labels
        hits = (torch.cdist(images, means).argmin(1) == labels).float().mean().item()
        assert hits > 1.2 / image_data.num_classes, split


def test_batches_have_the_shape_that_the_config_promises(image_data):
    for loader in (image_data.train_dataloader(), image_data.val_dataloader(), image_data.test_dataloader()):
        images, labels = next(iter(loader))
        size = min(image_data.batch_size, len(loader.images))
        assert images.shape == (size, image_data.channels, image_data.image_size, image_data.image_size)
        assert (images.dtype, labels.dtype, labels.shape) == (torch.float32, torch.int64, (size,))


def test_training_pixels_have_a_mean_near_zero_and_a_std_near_one(image_data):
    images, _ = read_all(without_augmentation(image_data).train_dataloader())
    channels = images.transpose(0, 1).flatten(1)
    assert channels.mean(1).tolist() == pytest.approx([0.0] * image_data.channels, abs=0.15)
    assert channels.std(1).tolist() == pytest.approx([1.0] * image_data.channels, abs=0.15)


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_sees_each_image_as_it_was_read_and_in_order(image_data, split):
    expected = getattr(image_data.splits, split)
    loader = image_data.val_dataloader() if split == "val" else image_data.test_dataloader()
    for epoch in (0, 1):
        images, labels = read_all(loader, epoch)
        assert torch.equal(labels, expected.labels)
        assert torch.equal(as_bytes(image_data, images), pixels_of(expected))


def test_an_epoch_of_training_holds_each_image_once_with_its_label(image_data):
    loader = without_augmentation(image_data).train_dataloader()
    here = Counter(labelled(pixels_of(image_data.splits.train), image_data.splits.train.labels))
    orders = []
    for epoch in (0, 1):
        images, labels = read_all(loader, epoch)
        orders.append(labelled(as_bytes(image_data, images), labels))
        assert Counter(orders[-1]) <= here
        assert len(labels) > len(image_data.splits.train) - image_data.batch_size, (
            "more than an uneven batch is left out"
        )
    assert orders[0] != orders[1]


def test_augmentation_changes_neither_order_nor_labels(image_data):
    augmented, plain = image_data.train_dataloader(), without_augmentation(image_data).train_dataloader()
    for epoch in (0, 1):
        images, labels = read_all(augmented, epoch)
        unchanged, same_labels = read_all(plain, epoch)
        assert torch.equal(labels, same_labels)
        assert images.shape == unchanged.shape
        assert torch.equal(images, unchanged) == (image_data.augment is None)

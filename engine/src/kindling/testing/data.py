"""What every data set of configs/data keeps; one whose files are missing is skipped."""

import copy
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import torch

from kindling.images.datamodule import ImageDataModule
from kindling.stages import STAGES
from kindling.testing.sets import DATA, MissingFilesError, as_bytes, labelled, pixels_of, read, read_all


@pytest.fixture(scope="module", params=DATA)
def data(request: pytest.FixtureRequest, offline: Path) -> ImageDataModule:
    """Each data set in turn."""
    try:
        return read(request.param, offline)
    except MissingFilesError as error:
        pytest.skip(f"its files are missing: {error}")


def without_augmentation(data: ImageDataModule) -> ImageDataModule:
    plain = copy.copy(data)
    plain.augment = None
    return plain


def test_no_two_splits_share_an_image(data):
    seen = {split: {image.numpy().tobytes() for image in pixels_of(getattr(data.splits, split))} for split in STAGES}
    for one, other in combinations(STAGES, 2):
        # Large collections hold some images twice.
        assert len(seen[one] & seen[other]) <= 0.01 * len(seen[other]), (one, other)


def test_every_class_has_a_name_and_images_in_every_split(data):
    assert len(set(data.splits.classes)) == data.num_classes
    for split in STAGES:
        labels = getattr(data.splits, split).labels
        assert labels.dtype == torch.int64
        assert labels.unique().tolist() == list(range(data.num_classes)), split


def test_a_label_means_the_same_in_every_split(data):
    """The nearest mean image of training separates classes better than a guess, in the other splits too."""
    images, labels = pixels_of(data.splits.train).flatten(1).float(), data.splits.train.labels
    means = torch.stack([images[labels == label].mean(0) for label in range(data.num_classes)])
    for split in STAGES:
        images, labels = pixels_of(getattr(data.splits, split)).flatten(1).float(), getattr(data.splits, split).labels
        hits = (torch.cdist(images, means).argmin(1) == labels).float().mean().item()
        assert hits > 1.2 / data.num_classes, split


def test_batches_have_the_shape_that_the_config_promises(data):
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        images, labels = next(iter(loader))
        size = min(data.batch_size, len(loader.images))
        assert images.shape == (size, data.channels, data.image_size, data.image_size)
        assert (images.dtype, labels.dtype, labels.shape) == (torch.float32, torch.int64, (size,))


def test_training_pixels_have_a_mean_near_zero_and_a_std_near_one(data):
    images, _ = read_all(without_augmentation(data).train_dataloader())
    channels = images.transpose(0, 1).flatten(1)
    assert channels.mean(1).tolist() == pytest.approx([0.0] * data.channels, abs=0.15)
    assert channels.std(1).tolist() == pytest.approx([1.0] * data.channels, abs=0.15)


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_sees_each_image_as_it_was_read_and_in_order(data, split):
    expected = getattr(data.splits, split)
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    for epoch in (0, 1):
        images, labels = read_all(loader, epoch)
        assert torch.equal(labels, expected.labels)
        assert torch.equal(as_bytes(data, images), pixels_of(expected))


def test_an_epoch_of_training_holds_each_image_once_with_its_label(data):
    loader = without_augmentation(data).train_dataloader()
    here = Counter(labelled(pixels_of(data.splits.train), data.splits.train.labels))
    orders = []
    for epoch in (0, 1):
        images, labels = read_all(loader, epoch)
        orders.append(labelled(as_bytes(data, images), labels))
        assert Counter(orders[-1]) <= here
        assert len(labels) > len(data.splits.train) - data.batch_size, "more than an uneven batch is left out"
    assert orders[0] != orders[1]


def test_augmentation_changes_neither_order_nor_labels(data):
    augmented, plain = data.train_dataloader(), without_augmentation(data).train_dataloader()
    for epoch in (0, 1):
        images, labels = read_all(augmented, epoch)
        unchanged, same_labels = read_all(plain, epoch)
        assert torch.equal(labels, same_labels)
        assert images.shape == unchanged.shape
        assert torch.equal(images, unchanged) == (data.augment is None)


def test_the_seed_decides_on_the_batches_and_on_nothing_else(data):
    other = copy.copy(data)
    other.seed = data.seed + 1
    torch.manual_seed(1)
    images, labels = read_all(data.train_dataloader())
    torch.manual_seed(2)
    again, same_labels = read_all(data.train_dataloader())
    assert torch.equal(images, again)
    assert torch.equal(labels, same_labels)
    assert not torch.equal(images, read_all(other.train_dataloader())[0])


def test_the_splits_do_not_depend_on_the_seed(data, offline, request):
    torch.manual_seed(1)
    assert read(request.node.callspec.params["data"], offline, seed=1).fingerprint == data.fingerprint

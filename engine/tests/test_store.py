"""Pictures are decoded once, into a file that workers, processes and runs read."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kindling.errors import DataError
from kindling.images.decoder import Decoder
from kindling.images.image_folder import ImageFolder
from kindling.images.image_table import ImageTable
from kindling.images.store import RECORD, PictureStore
from kindling.images.stored import StoredImages
from kindling.testing.sets import labelled, read_all
from photos import CROP, data_of, picture, write_tree


@pytest.fixture
def tree(tmp_path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that have been decoded."""
    names, decode = [], Decoder.stored
    monkeypatch.setattr(Decoder, "stored", lambda self, path: names.append(path.name) or decode(self, path))
    return names


def cache_of(tree: Path) -> list[Path]:
    return sorted((tree.parent / "cache").glob("*.pictures")) + sorted((tree.parent / "cache").glob("*.index"))


def batches(data: ImageFolder) -> list[torch.Tensor]:
    return [images for loader in (data.train_dataloader(), data.val_dataloader()) for images, _ in loader]


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def test_memory_and_disk_give_the_same_bits_by_any_number_of_workers(tree, decoded):
    disk = data_of(tree, transform=CROP, cache="disk")
    expected = batches(disk)
    assert len(decoded) == 20
    for settings in ({"cache": "memory"}, {"cache": "auto"}, {"cache": "disk", "in_memory": None}):
        other = data_of(tree, transform=CROP, **settings)
        assert isinstance(other.splits.train, StoredImages)
        assert same(batches(other), expected)
        assert other.fingerprint == disk.fingerprint
    assert len(decoded) == 20


def test_an_index_with_a_damaged_record_is_read_up_to_it(tree, decoded):
    expected = batches(data_of(tree, transform=CROP, cache="disk"))
    (index,) = (tree.parent / "cache").glob("*.index")
    content = index.read_bytes()
    index.write_bytes(content[: 5 * RECORD.itemsize] + b"\xff" * RECORD.itemsize + content[6 * RECORD.itemsize :])
    decoded.clear()
    assert same(batches(data_of(tree, transform=CROP, cache="disk")), expected)
    assert len(decoded) == 15


@pytest.mark.slow
def test_workers_give_the_same_bits(tree):
    one, two = (batches(data_of(tree, transform=CROP, cache="disk", num_workers=n)) for n in (0, 2))
    assert same(one, two)


def test_what_evaluation_sees_is_the_same_without_a_cache(tree):
    disk, none = (data_of(tree, transform=CROP, cache=cache) for cache in ("disk", "none"))
    assert same(*([images for images, _ in data.loader("train")] for data in (disk, none)))
    assert not same(batches(disk), batches(none))
    assert disk.fingerprint == none.fingerprint


def test_folds_are_cut_from_the_same_pictures(tree):
    for cache in ("disk", "memory"):
        data = data_of(tree, transform=CROP, cache=cache, fold=1, num_folds=3)
        train: Any = data.splits.train
        for index in range(len(train)):
            expected = train.decode.whole(train.paths[index])
            assert abs(train.picture(index).float().mean() - expected.float().mean()) < 1


def test_what_was_stopped_goes_on(tree, decoded, monkeypatch):
    monkeypatch.setattr("kindling.images.store.PART", 4)
    expected = batches(data_of(tree, transform=CROP, cache="memory", cache_dir=f"{tree}_elsewhere"))
    decoded.clear()
    # As after a kill in the middle: pixels without a record, and half a record.
    data_of(tree, transform=CROP, cache="disk")
    pictures, index = cache_of(tree)
    whole = index.read_bytes()
    index.write_bytes(whole[: 25 * 12 + 9])
    decoded.clear()
    assert same(batches(data_of(tree, transform=CROP, cache="disk")), expected)
    assert len(decoded) == 8
    # As after a power cut: a record without its pixels.
    pictures.write_bytes(pictures.read_bytes()[:-1])
    decoded.clear()
    assert same(batches(data_of(tree, transform=CROP, cache="disk")), expected)
    assert len(decoded) == 1
    assert index.stat().st_size == len(whole)


def test_a_file_that_changes_is_decoded_anew_and_the_others_are_not(tree, decoded):
    data_of(tree, cache="disk", crop=20)
    decoded.clear()
    Image.fromarray(picture(60, 45, seed=99)).save(tree / "a" / "3.jpg")
    Image.fromarray(picture(60, 45, seed=98)).save(tree / "b" / "new.jpg")
    data = data_of(tree, cache="disk", crop=20)
    assert sorted(decoded) == ["3.jpg", "new.jpg"]
    for index, path in enumerate(data.splits.train.paths):
        assert torch.equal(data.splits.train[index], data.splits.train.decode(path))


def test_a_damaged_file_is_named_and_what_was_decoded_stays(tree, decoded, monkeypatch):
    monkeypatch.setattr("kindling.images.store.PART", 2)
    # It becomes so later.
    monkeypatch.setattr("kindling.images.image_files.damaged", lambda *_: torch.empty(0).long())
    damaged = sorted(tree.rglob("*.jpg"))[10]
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"0\.jpg: cannot be read as an image"):
        data_of(tree, transform=CROP, cache="disk")
    decoded.clear()
    damaged.write_bytes(content)
    data_of(tree, transform=CROP, cache="disk")
    assert 1 <= len(decoded) < 20


def test_too_little_space_is_named_before_anything_is_written(tree, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 2**30 + 10_000))
    with pytest.raises(
        DataError,
        match=r"data.cache: given disk, which needs space for \d+ pictures of about 1 KB, 0.0 MB, and .*cache has "
        r"1.1 GB free; allowed: that and 1.1 GB more; set paths.cache to another disk, a lower data.resize, or ",
    ):
        data_of(tree, transform=CROP, cache="disk")
    assert not cache_of(tree)


def test_a_disk_that_is_full_is_named_and_memory_goes_on_without(tree, monkeypatch):
    expected = batches(data_of(tree, transform=CROP, cache="memory"))
    shutil.rmtree(tree.parent / "cache")

    def fail(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(
        DataError, match=r"cannot be written \(No space left on device\); it stays; make space and repeat"
    ):
        data_of(tree, transform=CROP, cache="disk")
    assert same(batches(data_of(tree, transform=CROP, cache="memory")), expected)


def test_a_vanished_file_is_not_missed_once_it_is_stored(tree):
    data = data_of(tree, transform=CROP, cache="disk")
    expected = batches(data)
    shutil.rmtree(tree)
    assert same(batches(data), expected)


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("removed", ["*", "*.index"])
def test_a_run_keeps_its_pictures_when_the_cache_is_removed_and_made_anew(tree, cache, removed):
    data, other = (data_of(tree, transform=CROP, cache=cache) for _ in range(2))
    expected = batches(other)
    for file in (tree.parent / "cache").glob(removed):
        file.unlink()
    shutil.rmtree(tree)
    write_tree(tree, quality=50)
    data_of(tree, transform=CROP, cache=cache)
    assert same(batches(data), expected)


def test_a_store_finds_each_picture_by_its_key(tmp_path):
    rng = np.random.default_rng(0)
    store = PictureStore(tmp_path / "a.pictures", 1)
    keys = rng.integers(0, 2**63, (50, 2)).astype("<u8")
    pictures = [torch.from_numpy(rng.integers(0, 256, (3 + i % 4, 5, 1)).astype(np.uint8)) for i in range(50)]
    paths = [Path(str(i)) for i in range(50)]
    store.add(keys[:30], paths[:30], lambda path: (pictures[int(path.name)], int(path.name) % 3))
    store.add(keys, paths, lambda path: (pictures[int(path.name)], int(path.name) % 3))
    order = rng.permutation(50)
    places = PictureStore(tmp_path / "a.pictures", 1).places_of(keys[order])
    assert sorted(places.tolist()) == list(range(50))
    store.places_of(keys)
    assert all(torch.equal(store.picture(place), pictures[i]) for place, i in zip(places.tolist(), order, strict=True))
    assert store.noted(places).tolist() == [i % 3 for i in order]
    assert store.places_of(keys[:1] + np.uint64(1)).tolist() == [-1]


@pytest.mark.slow
def test_folder_table_memory_and_disk_give_the_same_order_and_bits(tree):
    rows = [f"{path.relative_to(tree)},{path.parent.name}" for path in sorted(tree.rglob("*.jpg"), reverse=True)]
    (tree.parent / "labels.csv").write_text("\n".join(["path,label", *rows]))
    columns = dict.fromkeys(("path_column", "label_column", "split_column"))
    sources = {"folder": {}, "table": {"kind": ImageTable, "table": str(tree.parent / "labels.csv"), **columns}}
    # With a cache folder of its own, each decodes by itself.
    found = [
        epochs(
            data_of(
                tree, cache=cache, num_workers=num, cache_dir=f"{tree}_{name}_{cache}_{num}", transform=CROP, **given
            )
        )
        for name, given in sources.items()
        for cache in ("memory", "disk")
        for num in (0, 2)
    ]
    assert len(found) == 8
    assert all(each == found[0] for each in found)
    assert found[0][0] != found[0][1], "the second epoch has another order"


def epochs(data: ImageFolder) -> list[list[tuple[bytes, int]]]:
    """Pixels and labels of two epochs of training, then of validation and test."""
    data.setup("test")
    train = data.train_dataloader()
    loaders = ((train, 0), (train, 1), (data.val_dataloader(), 0), (data.test_dataloader(), 0))
    return [labelled(*read_all(loader, epoch)) for loader, epoch in loaders]

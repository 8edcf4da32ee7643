import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.errors import ConfigError, DataError
from kindling.images import image_files
from kindling.images.folder import class_names
from kindling.images.image_folder import ImageFolder
from kindling.images.images import ImageFiles, ImageTensors
from kindling.images.looks import looks_of


def folder_of(root: Path, *overrides: str) -> ImageFolder:
    cache = root.parent / "cache"
    cfg = compose(["data=image_folder", f"data.root={root}", f"data.cache_dir={cache}", *overrides])
    return instantiate(cfg.data, "data")


def batches_of(data: ImageFolder) -> list[tuple[torch.Tensor, torch.Tensor]]:
    data.prepare_data()
    data.setup("fit")
    return list(data.train_dataloader())


def test_a_tree_without_splits_is_cut_into_three_disjoint_ones(make_tree):
    data = folder_of(make_tree(), "data.in_memory=false")
    splits = [data.splits.train, data.splits.val, data.splits.test]
    assert [split.labels.bincount().tolist() for split in splits] == [[8] * 3, [1] * 3, [1] * 3]
    assert len({path for split in splits for path in split.paths or ()}) == 30
    assert data.splits.classes == ("a", "b", "c")


def test_a_trees_own_splits_are_kept(make_tree):
    root = make_tree(splits=("train", "val", "test"), images=4)
    data = folder_of(root, "data.in_memory=false")
    for name in ("train", "val", "test"):
        split = getattr(data.splits, name)
        assert len(split) == 12
        assert {path.relative_to(root).parts[0] for path in split.paths or ()} == {name}


def test_a_missing_validation_split_is_cut_from_train_only(make_tree):
    data = folder_of(make_tree(splits=("train", "test")), "data.in_memory=false")
    assert [len(data.splits.train), len(data.splits.val), len(data.splits.test)] == [27, 3, 30]
    assert all("test" not in path.parts for path in data.splits.val.paths or ())


@pytest.mark.parametrize("channels", [1, 3])
def test_the_config_knows_classes_channels_and_size_of_the_tree(make_tree, channels):
    cfg = compose(["data=image_folder", f"data.root={make_tree(channels=channels, size=17)}"])
    assert (cfg.data.num_classes, cfg.data.channels, cfg.data.image_size) == (3, channels, 17)


def test_images_in_memory_and_decoded_by_workers_are_the_same_bits(make_tree):
    root = make_tree()
    expected = batches_of(folder_of(root, "data.in_memory=true", "data.batch_size=8"))
    for num_workers in (0, 2):
        data = folder_of(root, "data.in_memory=false", "data.batch_size=8", f"data.num_workers={num_workers}")
        assert isinstance(data.splits.train, ImageFiles)
        for (images, labels), (others, other_labels) in zip(expected, batches_of(data), strict=True):
            assert torch.equal(images, others)
            assert torch.equal(labels, other_labels)


def test_auto_decides_by_size(make_tree, monkeypatch):
    root = make_tree()
    assert isinstance(folder_of(root).splits.train, ImageTensors)
    monkeypatch.setattr(image_files, "IN_MEMORY_LIMIT", 100)
    assert isinstance(folder_of(root).splits.train, ImageFiles)


def test_mean_and_std_are_those_of_the_training_pixels(make_tree):
    data = folder_of(make_tree())
    pixels = data.splits.train.images.double().flatten(0, 2) / 255
    assert data.mean == pytest.approx(pixels.mean(0).tolist())
    assert data.std == pytest.approx(pixels.std(0, correction=0).tolist())


def test_decoded_pixels_are_cached_until_a_file_changes(make_tree, monkeypatch):
    root = make_tree()
    before = folder_of(root).splits.train.images
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "decode_all", lambda files: pytest.fail("decoded again"))
        assert torch.equal(folder_of(root).splits.train.images, before)
    for file in (root / "a").iterdir():
        Image.new("RGB", (12, 12), "red").save(file)
    assert not torch.equal(folder_of(root).splits.train.images, before)


def test_a_damaged_cache_is_made_anew(make_tree):
    root = make_tree()
    before = folder_of(root).splits.train.images.clone()
    for file in (root.parent / "cache").iterdir():
        file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(folder_of(root).splits.train.images, before)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_pixels_in_memory_are_pages_of_a_file_and_stay_when_it_is_removed(make_tree):
    root = make_tree()
    splits = folder_of(root).splits
    expected = splits.train.images.clone()
    files = [*(root.parent / "cache").glob("*-pixels.npy")]
    maps = Path("/proc/self/maps").read_text()
    assert len(files) == 3
    assert all(file.name in maps for file in files)
    for file in files:
        file.unlink()
    assert torch.equal(splits.train.images, expected)


def test_what_is_written_into_pixels_in_memory_stays_in_this_process(make_tree):
    root = make_tree()
    folder_of(root).splits.train.images.zero_()
    assert folder_of(root).splits.train.images.any()


def test_a_cache_that_cannot_be_written_only_costs_time(make_tree):
    root = make_tree()
    (root.parent / "cache").write_text("a file where the folder would be")
    assert len(folder_of(root).splits.train) == 24


def test_a_damaged_file_stops_reading_into_memory(make_tree):
    root = make_tree()
    (root / "b" / "003.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"003\.png"):
        folder_of(root).prepare_data()


def test_a_class_without_an_image_is_named(make_tree):
    root = make_tree()
    shutil.rmtree(root / "b")
    (root / "b").mkdir()
    (root / "b" / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"tree/b: given a class without an image"):
        folder_of(root).prepare_data()


def test_a_test_class_that_training_lacks_is_named(make_tree):
    root = make_tree(splits=("train", "test"))
    shutil.copytree(root / "test" / "a", root / "test" / "new")
    with pytest.raises(DataError, match="'new'"):
        folder_of(root).prepare_data()


@pytest.mark.parametrize(
    ("root", "reason"),
    [("nowhere", "does not exist"), ("file", "is a file"), ("empty", "no class folder")],
)
def test_a_wrong_root_is_named_when_the_config_is_resolved(tmp_path, root, reason):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=reason) as refused:
        compose(["data=image_folder", f"data.root={tmp_path / root}"])
    assert len(str(refused.value).splitlines()) == 1


def test_two_trees_with_the_same_names_and_dates_do_not_share_a_cache(tmp_path):
    found = []
    for shade in (0, 255):
        root = tmp_path / str(shade)
        for index in range(18):
            file = root / "ab"[index % 2] / f"{index}.bmp"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), shade).save(file)
            os.utime(file, (0, 0))
        found.append(folder_of(root).splits.train.images.max().item())
    assert found == [0, 255]


def test_a_tree_with_val_but_no_train_is_refused(make_tree):
    with pytest.raises(DataError, match="has test/ and no train/"):
        class_names(make_tree(splits=("val", "test")))


def test_two_names_for_one_split_are_refused(make_tree):
    with pytest.raises(DataError, match="with val/ and valid/; allowed: one of them"):
        class_names(make_tree(splits=("train", "val", "valid")))


def test_a_class_may_be_named_like_a_split(make_tree):
    root = make_tree(classes="ab")
    (root / "a").rename(root / "train")
    assert class_names(root) == ["b", "train"]


def test_a_test_split_may_lack_a_class(make_tree):
    root = make_tree(splits=("train", "test"))
    shutil.rmtree(root / "test" / "b")
    assert folder_of(root).splits.test.labels.bincount().tolist() == [10, 0, 10]


@pytest.mark.parametrize("images", [1, 2])
def test_too_few_images_for_three_splits_are_named(make_tree, images):
    with pytest.raises(DataError, match=r"too few images for a (train|val|test) split"):
        folder_of(make_tree(images=images, classes="ab")).prepare_data()


def test_files_that_are_skipped_are_counted_where_a_split_has_too_few_images(make_tree):
    root = make_tree(images=2, classes="ab", splits=("train", "val"))
    for file in (root / "val").rglob("*.png"):
        file.write_bytes(b"no image")
    (root / "val" / "a" / "notes.txt").touch()
    told = r"too few images for a val split; left out: 1 ending in \.txt; 4 of 4 images cannot be read: .*000\.png"
    with pytest.raises(DataError, match=told):
        folder_of(root, "data.faulty=skip").prepare_data()


def test_one_image_in_colour_makes_the_set_colour(make_tree):
    root = make_tree(channels=1)
    Image.new("RGB", (12, 12)).save(root / "c" / "000.png")
    looks = looks_of(root)
    assert (looks.channels, looks.image_size) == (3, 12)


def test_a_broken_link_is_named(make_tree):
    root = make_tree()
    (root / "a" / "zzz.png").symlink_to(root / "nowhere.png")
    with pytest.raises(DataError, match=r"zzz\.png: cannot be read"):
        folder_of(root).prepare_data()


def test_a_name_that_is_not_utf_8_is_read(make_tree):
    root = make_tree()
    os.rename(root / "a" / "000.png", os.fsencode(root / "a") + b"/\xff.png")
    data = folder_of(root)
    assert len(data.splits.train) == 24
    assert len(data.fingerprint) == 32


@pytest.mark.parametrize("fraction", ["0", "1", "-0.5", "2"])
def test_a_share_that_leaves_nothing_is_refused(make_tree, fraction):
    with pytest.raises(ConfigError, match=r"data\.val_fraction: given .*; allowed: more than 0 and less than 1"):
        folder_of(make_tree(), f"data.val_fraction={fraction}")


def test_an_empty_root_is_not_the_current_folder():
    with pytest.raises(DataError, match=r"data\.root: given nothing"):
        class_names("")

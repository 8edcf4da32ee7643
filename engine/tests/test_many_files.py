"""Many files: their paths, their lists, and those that cannot be read."""

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.errors import DataError
from kindling.images import found_files
from kindling.images.damage import damage_of, is_whole
from kindling.images.folder import list_images
from kindling.images.found_files import images_below
from kindling.images.image_folder import ImageFolder
from kindling.images.paths import LabelledPaths, Paths

NAMES = ["/a/b.png", "/a/ü.png", "c.png", os.fsdecode(b"/x\xff.png"), "/a/b.png"]


def test_paths_in_one_array_are_the_paths():
    paths = Paths.of(NAMES)
    expected = [Path(name) for name in NAMES]
    assert list(paths) == expected
    assert [paths[index] for index in (0, 1, -1, 3)] == [expected[index] for index in (0, 1, -1, 3)]
    assert list(paths[1:3]) == expected[1:3]
    assert list(paths.take(torch.tensor([4, 1, 1]))) == [expected[4], expected[1], expected[1]]
    assert list(paths.join(paths[:1])) == [*expected, expected[0]]
    assert list(Paths.of([])) == list(paths.take(torch.empty(0, dtype=torch.int64))) == []
    assert paths == Paths.of(NAMES) == expected != Paths.of(NAMES[1:])
    with pytest.raises(IndexError):
        paths[5]


def test_paths_cost_their_characters_alone():
    paths = Paths.of(f"/data/train/class_{index % 10}/{index:06}.jpg" for index in range(10_000))
    assert len(pickle.dumps(paths)) < 10_000 * (31 + 8) + 1000


def test_states_of_files_are_asked_for_once_and_taken_along(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    paths = Paths.of([tmp_path / "a", tmp_path / "b"])
    first = paths.key()
    assert paths.states()[:, 0].tolist() == [1, 1]
    monkeypatch.setattr(os, "stat", lambda path: pytest.fail(f"{path} was asked for again"))
    assert paths.key() == first != paths.take(torch.tensor([1, 0])).key()


def test_a_change_of_a_file_changes_the_key_and_a_missing_one_is_named(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"1")
    before = Paths.of([file]).key()
    file.write_bytes(b"22")
    assert Paths.of([file]).key() != before
    file.unlink()
    with pytest.raises(DataError, match=r"/a: cannot be read \(No such file"):
        Paths.of([file]).states()


def aged(root: Path, seconds: float = 10) -> Path:
    """A tree whose folders have not changed for a while."""
    at = time.time() - seconds
    for folder in [root, *(each for each in root.rglob("*") if each.is_dir())]:
        os.utime(folder, (at, at))
    return root


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of files, in a process that has listed none."""
    monkeypatch.setattr(found_files, "_known", {})
    monkeypatch.setattr(found_files, "FEWEST_KEPT", 1)
    for name in ("b.png", "a-1/x.png", "a/y.png", "a/deep/z.jpg", "note.txt", ".hidden"):
        (tmp_path / "class" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "class" / name).touch()
    return aged(tmp_path / "class")


def listed_again(folder: Path, monkeypatch: pytest.MonkeyPatch, *, process: bool) -> found_files.Found:
    """As this process or the next one sees it, without listing."""
    with monkeypatch.context() as patch:
        patch.setattr(found_files, "_listed", lambda place: pytest.fail("listed again"))
        if process:
            patch.setattr(found_files, "_known", {})
        return images_below(folder, folder.parent / "cache")


def test_a_list_is_known_by_the_times_of_its_folders(folder, monkeypatch):
    first = images_below(folder, folder.parent / "cache")
    assert first.names == b"a/deep/z.jpg\0a/y.png\0a-1/x.png\0b.png", "folder by folder"
    assert (first.left_out.num_foreign, first.left_out.endings) == (1, {".txt": 1})
    for process in (False, True):
        found = listed_again(folder, monkeypatch, process=process)
        assert (found.names, found.left_out) == (first.names, first.left_out)


@pytest.mark.parametrize("name", ["new.png", "a/deep/new.png"])
def test_a_new_file_at_any_depth_is_found(folder, name):
    images_below(folder, folder.parent / "cache")
    (folder / name).touch()
    assert name.encode() in images_below(folder, folder.parent / "cache").names.split(b"\0")


def test_lists_that_a_folders_time_does_not_tell_of_are_made_anew(folder, monkeypatch):
    monkeypatch.setattr(found_files, "_kept", lambda *_: None)
    assert images_below(folder).is_sure
    (folder / "without_ending").touch()
    aged(folder)
    assert not images_below(folder).is_sure, "its first bytes tell"
    (folder / "without_ending").unlink()
    assert not images_below(folder).is_sure, "the folder has just changed, and may change again"


def test_a_damaged_list_is_made_anew(folder, monkeypatch):
    cache = folder.parent / "cache"
    names = images_below(folder, cache).names
    for content in (b"", b"{}\nx", b"\xff", b'{"format": 1, "place": "/elsewhere"}\nx'):
        (file,) = cache.iterdir()
        file.write_bytes(content)
        monkeypatch.setattr(found_files, "_known", {})
        assert images_below(folder, cache).names == names


def test_a_listing_in_one_array_is_the_listing(make_tree):
    listing = list_images(make_tree(), ["a", "b", "c"])
    labelled = LabelledPaths.of(listing)
    assert list(labelled) == list(listing) == list(LabelledPaths.of(list(listing)))
    assert labelled.labels.bincount().tolist() == [10] * 3


# Damage


def write(file: Path, format: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format)
    return file.read_bytes()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_ends_tell_a_whole_file_from_a_truncated_one(tmp_path, format):
    file = tmp_path / "image"
    content = write(file, format)
    assert is_whole(file)
    for cut in (0, 10, len(content) // 2, len(content) - 3):
        file.write_bytes(content[:cut])
        assert not is_whole(file), cut


def test_what_ends_do_not_tell_is_decoded(tmp_path):
    decoded: list[Path] = []
    for format in ("BMP", "JPEG"):
        write(tmp_path / format, format)
        assert damage_of(tmp_path / format, decoded.append) == ""
    with (tmp_path / "JPEG").open("ab") as stream:
        stream.write(bytes(1000))
    assert damage_of(tmp_path / "JPEG", decoded.append) == ""
    assert decoded == [tmp_path / "BMP", tmp_path / "JPEG"], "a file with more behind its end may be whole"


def folder_of(root: Path, *overrides: str) -> ImageFolder:
    given = ["data=image_folder", f"data.root={root}", f"data.cache_dir={root.parent}/cache", *overrides]
    return instantiate(compose([*given, "data.num_classes=3", "data.channels=3", "data.image_size=12"]).data, "data")


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_damaged_files_are_counted_and_refused_or_left_out_before_the_first_epoch(make_tree, caplog, cache):
    root = make_tree()
    for name in ("a/001.png", "b/000.png"):
        (root / name).write_bytes((root / name).read_bytes()[:200])
    with pytest.raises(DataError) as raised:
        folder_of(root, f"data.cache={cache}").prepare_data()
    told = f"2 of 30 images cannot be read: {root}/a/001.png, {root}/b/000.png"
    assert str(raised.value).startswith(f"data: {told} ({root}/a/001.png: cannot be read as an image")
    assert str(raised.value).endswith("leave them out with data.faulty=skip")
    splits = folder_of(root, f"data.cache={cache}", "data.faulty=skip").splits
    assert f"data: left out: {told}" in caplog.text
    paths = [path for split in (splits.train, splits.val, splits.test) for path in split.paths or ()]
    assert len(paths) == 28
    assert not {root / "a/001.png", root / "b/000.png"} & set(paths)


def test_files_are_looked_at_once(make_tree, monkeypatch):
    root = make_tree()
    _ = folder_of(root).splits
    monkeypatch.setattr("kindling.images.image_files.damaged", lambda *_: pytest.fail("looked at again"))
    _ = folder_of(root).splits


def test_a_damaged_sample_does_not_hide_the_looks_of_the_others(make_tree):
    root = make_tree(size=17)
    (root / "a/000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a/000\.png"):
        compose(["data=image_folder", f"data.root={root}"])
    assert compose(["data=image_folder", f"data.root={root}", "data.faulty=skip"]).data.image_size == 17

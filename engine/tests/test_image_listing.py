"""What lies in a folder of images is read, or named and counted, or refused: never silently less or other."""

import os
from pathlib import Path
from unicodedata import normalize

import pytest
from PIL import Image

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.errors import DataError
from kindling.images.folder import class_names, list_images
from kindling.images.image_folder import ImageFolder

FOREIGN = (".ipynb_checkpoints", ".thumbnails", "@eaDir", ".AppleDouble", "__MACOSX", "$RECYCLE.BIN", "lost+found")


def folder_of(root: Path, *overrides: str) -> ImageFolder:
    places = [f"data.root={root}", f"data.cache_dir={root.parent}/cache", "data.in_memory=false"]
    return instantiate(compose(["data=image_folder", *places, *overrides]).data, "data")


@pytest.fixture
def said(caplog):
    """What is said of a tree once it is read."""

    def of(root: Path, *overrides: str) -> str:
        caplog.clear()
        with caplog.at_level("INFO"):
            folder_of(root, *overrides).setup("fit")
        return caplog.text

    return of


def image(file: Path, kind: str = "PNG", color: object = 0, mode: str = "RGB", size: tuple[int, int] = (12, 12)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(file, kind)  # pyright: ignore[reportArgumentType]


def with_oddities(root: Path) -> Path:
    """Adds all that one version lists and another does not."""
    for name in FOREIGN:
        image(root / "a" / name / "000.png")
    image(root / "__MACOSX" / "000.png")
    image(root / "a" / "._000.png")
    image(root / "a" / "Thumbs.db")
    (root / "a" / "notes.txt").write_text("no image")
    (root / "a" / "README").write_text("no image")
    (root / "labels.csv").write_text("a,b")
    image(root / "a" / "below" / "UPPER.PNG")
    image(root / "a" / "bare")
    for ending, kind in {"jfif": "JPEG", "jpe": "JPEG", "JPE": "JPEG", "pnm": "PPM", "pbm": "PPM"}.items():
        image(root / "a" / f"new.{ending}", kind)
    (root / "a" / "phone.heic").write_bytes(b"")
    return root


def test_hidden_files_and_those_of_other_programs_are_no_images(make_tree, said):
    root = make_tree()
    for name in FOREIGN:
        image(root / "a" / name / "000.png")
        image(root / name / "000.png")
    image(root / "a" / "._000.png")
    assert len(list_images(root, class_names(root))) == 30
    assert "left out: 15 hidden or of other programs\n" in said(root)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.jfif", "JPEG"), ("a.JPE", "JPEG"), ("a.pnm", "PPM"), ("a.pbm", "PPM"), ("a.avif", "AVIF"), ("bare", "PNG")],
)
def test_every_ending_that_pillow_reads_is_one_of_images(make_tree, name, kind):
    root = make_tree()
    image(root / "a" / name, kind)
    assert root / "a" / name in dict(list_images(root, class_names(root)))


def test_other_files_are_counted_by_ending(make_tree, said, monkeypatch):
    monkeypatch.setattr("kindling.images.decoding.readable_formats", lambda: ("PNG",))
    root = make_tree()
    for name in ("a/1.heic", "b/2.HEIC", "c/notes.txt", "a/Makefile", "c/holiday.lnk", "labels.csv"):
        (root / name).write_text("no image")
    left_out = (
        "left out: 2 ending in .heic (pip install -e './engine[heic]' reads them), 1 without an ending, "
        "1 ending in .lnk, 1 ending in .txt, 1 beside the folders (labels.csv)\n"
    )
    assert left_out in said(root)


def test_a_run_of_before_keeps_its_list_of_files(make_tree, tmp_path):
    root = with_oddities(make_tree(classes="ab", images=1))
    cfg = compose(["data=image_folder", f"data.root={root}", "data.decoding=1"])
    assert cfg.data.num_classes == 3
    data = folder_of(root, "data.decoding=1", "data.val_fraction=0.5")
    listed = {str(path.relative_to(root)) for each in data.present().values() for path in each.paths}
    hidden = {f"a/{name}/000.png" for name in FOREIGN}
    assert listed == {"__MACOSX/000.png", "a/000.png", "a/below/UPPER.PNG", "b/000.png"} | hidden
    assert data.splits.classes == ("__MACOSX", "a", "b")


@pytest.mark.parametrize("inner", ["", "train"])
def test_a_root_that_is_one_level_too_high_is_refused_with_the_likely_one(make_tree, inner):
    root = make_tree(splits=("mydata/train", "mydata/val") if inner else ("mydata",))
    with pytest.raises(DataError, match=rf"{root}, which holds one class folder, mydata; .*\?$") as refused:
        compose(["data=image_folder", f"data.root={root}"])
    assert str(refused.value).endswith(f"; did you mean data.root={root}/mydata?")
    assert class_names(root / "mydata") == ["a", "b", "c"]


def test_a_root_two_levels_too_high_is_refused_with_the_likely_one(make_tree):
    root = make_tree(splits=("archive/mydata/train",))
    with pytest.raises(DataError, match=rf"did you mean data\.root={root}/archive/mydata\?"):
        class_names(root)


def test_a_split_that_was_unpacked_into_a_folder_of_its_own_name_is_refused(make_tree):
    root = make_tree(splits=("train/train", "val/val"))
    with pytest.raises(DataError, match=rf"one class folder, train; .*did you mean data\.root={root}/train\?"):
        class_names(root)


def test_data_sets_beside_each_other_are_no_classes(make_tree):
    root = make_tree(splits=("first/train", "second/train"))
    with pytest.raises(DataError, match=rf"folder first is a data set of its own.*data\.root={root}/first\?"):
        class_names(root)


@pytest.mark.parametrize("names", [("train", "test"), ("train", "test1"), ("training", "validation", "testing")])
def test_splits_without_classes_are_refused(tmp_path, names):
    for name in names:
        image(tmp_path / name / "0.png")
    with pytest.raises(DataError, match="are named like splits and hold no class folders"):
        class_names(tmp_path)


@pytest.mark.parametrize(
    "names", [("train_images", "test_images"), ("images_train", "images-val"), ("Test set", "Train set")]
)
def test_folders_named_almost_like_splits_are_refused(make_tree, names):
    with pytest.raises(DataError, match=r"which are named like splits; .*rename them train/, val/ and test/"):
        class_names(make_tree(splits=names))


@pytest.mark.parametrize("names", [("images", "masks"), ("JPEGImages", "Annotations", "SegmentationClass")])
@pytest.mark.parametrize("above", ["", "train"])
def test_inputs_and_targets_of_another_task_are_no_classes(tmp_path, names, above):
    for name in names:
        image(tmp_path / above / name / "0.png")
    with pytest.raises(DataError, match=r"named like the inputs and targets of another task; .*rename them"):
        class_names(tmp_path)
    assert class_names(tmp_path, 2) == sorted(names)


def test_a_class_may_be_named_like_an_input(tmp_path):
    for name in ("images", "photos", "mask"):
        image(tmp_path / name / "0.png")
    image(tmp_path / "car" / "0.png")
    assert class_names(tmp_path) == ["car", "images", "mask", "photos"]


def test_class_folders_that_all_hold_the_same_folders_are_told(make_tree, said):
    root = make_tree(splits=("batch1", "batch2"))
    assert "whose class folders all hold the same folders, a, b, c; usual: images" in said(root)
    image(root / "batch1" / "own.png")
    assert "same folders" not in said(root)


def test_a_class_may_hold_a_folder_named_train_among_others(make_tree):
    root = make_tree(splits=("land/train", "land/car", "sea"), classes="xy")
    assert class_names(root) == ["land", "sea"]


def test_a_split_without_class_folders_is_told(make_tree, said):
    root = make_tree(splits=("train",))
    image(root / "test" / "0.png")
    assert "left out: 1 beside the folders (test, which holds no class folder)\n" in said(root)


def test_classes_that_hold_the_splits_are_refused(make_tree):
    root = make_tree()
    for name in ("a", "b", "c"):
        for split in ("train", "test"):
            image(root / name / split / "new.png")
    with pytest.raises(DataError, match=r"whose class folders hold splits, such as a/test/, a/train/; .*train/CLASS"):
        class_names(root)


@pytest.mark.parametrize("name", ["dev", "val_set", "train_2"])
def test_a_split_of_an_unknown_name_is_told(make_tree, said, name):
    root = make_tree(splits=("train", "test", name), images=5)
    assert f"left out: 1 beside the folders ({name}, which holds class folders and is named like no split;" in said(
        root
    )


@pytest.mark.parametrize("other", ["A", "a "])
def test_classes_that_differ_in_case_or_blanks_alone_are_told(make_tree, said, other):
    root = make_tree()
    (root / "b").rename(root / other)
    assert "classes whose names differ in case or blanks alone: 'A' and 'a'" in said(root).replace(
        "'a' and 'a '", "'A' and 'a'"
    )


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar.gz"])
def test_an_archive_is_to_be_unpacked(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match="which is an archive; unpack it"):
        class_names(tmp_path / name)


def test_folders_within_a_class_belong_to_it(make_tree):
    root = make_tree(splits=("cat/day", "dog/day"), classes="xy", images=2)
    assert [label for _, label in list_images(root, class_names(root))] == [0] * 4 + [1] * 4


@pytest.fixture
def locked(monkeypatch):
    """Makes a folder one that may not be listed; root may list any."""
    scandir, listdir = os.scandir, os.listdir

    def lock(folder: Path) -> None:
        def refuse(path=".", *, then=scandir):
            if os.fspath(path) == str(folder):
                raise PermissionError(13, "Permission denied", str(path))
            return then(path)

        monkeypatch.setattr(os, "scandir", refuse)
        monkeypatch.setattr(os, "listdir", lambda path=".": refuse(path, then=listdir))

    return lock


def test_folders_and_links_that_cannot_be_read_are_named_and_counted(make_tree, said, locked):
    root = make_tree()
    image(root / "a" / "below" / "000.png")
    (root / "b" / "more").symlink_to(root / "nowhere")
    locked(root / "a" / "below")
    warning = (
        f"warning: data: 2 left out that cannot be read: {root}/a/below (Permission denied), "
        f"{root}/b/more (a link that leads nowhere)\n"
    )
    assert warning in said(root)


def test_a_class_all_of_whose_images_are_out_of_reach_is_refused(make_tree, locked):
    root = make_tree()
    image(root / "d" / "below" / "000.png")
    locked(root / "d" / "below")
    with pytest.raises(DataError, match=r"d: given a class without an image, as .*below \(Permission denied\) cannot"):
        list_images(root, class_names(root))


@pytest.mark.parametrize("split", ["", "val"])
def test_a_class_or_split_behind_a_link_to_nowhere_is_refused(make_tree, split):
    root = make_tree(splits=("train",) if split else ("",))
    (root / (split or "d")).symlink_to(root / "nowhere")
    with pytest.raises(DataError, match="is a link that leads nowhere; allowed: one to a folder of images"):
        class_names(root)


def test_a_root_that_may_not_be_listed_is_named(make_tree, locked):
    root = make_tree()
    locked(root)
    with pytest.raises(DataError, match=r"tree: cannot be listed \(Permission denied\)"):
        class_names(root)


def test_a_class_folder_may_be_a_link(make_tree, tmp_path):
    root = make_tree()
    (root / "c").rename(tmp_path / "elsewhere")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    assert len(list_images(root, class_names(root))) == 30


def test_a_link_back_to_a_folder_above_lists_no_image_twice(make_tree):
    root = make_tree()
    (root / "a" / "again").symlink_to(root / "a")
    assert len(list_images(root, ["a", "b", "c"])) == 30


def test_names_with_accents_are_one_however_they_are_written(make_tree):
    root = make_tree(splits=("train", "val"), classes="ab")
    (root / "train" / "a").rename(root / "train" / normalize("NFD", "é"))
    (root / "val" / "a").rename(root / "val" / normalize("NFC", "é"))
    assert folder_of(root).splits.classes == ("b", normalize("NFC", "é"))
    assert folder_of(root).splits.val.labels.bincount().tolist() == [10, 10]


def test_a_root_with_accents_is_found_however_it_is_written(make_tree):
    root = make_tree()
    root = root.rename(root.parent / normalize("NFD", "Café"))
    (root / "a").rename(root / normalize("NFD", "ü"))
    assert class_names(normalize("NFC", str(root))) == ["b", "c", normalize("NFC", "ü")]


def test_two_classes_whose_names_look_alike_are_refused(make_tree):
    root = make_tree(classes="abc")
    (root / "a").rename(root / normalize("NFD", "é"))
    (root / "b").rename(root / normalize("NFC", "é"))
    with pytest.raises(DataError, match=r"given 'e\\u0301' and '\\xe9', two names that look alike"):
        class_names(root)


def test_channels_and_size_are_those_of_a_sample_of_the_whole_set(make_tree, said):
    root = make_tree(channels=1)
    for index in range(5, 10):
        image(root / "b" / f"00{index}.png", size=(40, 30))
    cfg = compose(["data=image_folder", f"data.root={root}"])
    assert (cfg.data.channels, cfg.data.image_size) == (3, 12)
    assert "data: 30 of the images looked at: 25 grey and 5 in colour, shorter sides of 12 to 30 pixels\n" in said(root)


def test_a_sample_is_small(make_tree, said):
    assert "data: 60 of the images looked at: all in colour, shorter sides of 12 pixels\n" in said(make_tree(images=60))


def test_the_first_lines_name_splits_classes_and_size(make_tree, caplog, said):
    said(make_tree())
    assert caplog.messages[:2] == [
        "data: 24 train, 3 val, 3 test images, 12 x 12 pixels in 3 channels",
        "data: 3 classes: a, b, c",
    ]


def test_a_first_image_of_too_many_pixels_is_named_with_the_setting(make_tree):
    root = make_tree()
    image(root / "a" / "000.png", mode="1", size=(20_000, 10_000))
    with pytest.raises(DataError) as refused:
        compose(["data=image_folder", f"data.root={root}"])
    assert str(refused.value) == (
        f"{root}/a/000.png: given an image of more pixels; allowed: 178956970; make it smaller, or raise "
        "data.max_pixels"
    )
    assert compose(["data=image_folder", f"data.root={root}", "data.max_pixels=200000000"]).data.image_size == 12


def test_an_empty_file_is_named(make_tree):
    root = make_tree()
    (root / "b" / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"b/000\.png: cannot be read as an image"):
        folder_of(root, "data.in_memory=true", "data.channels=3", "data.image_size=12").prepare_data()

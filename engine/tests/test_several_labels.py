"""Images with any number of labels each, in a table."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kindling.data.examples import join
from kindling.data.splits import Splits, hold_out, rarest
from kindling.debug.data import counts_of
from kindling.errors import DataError, OtherDataError
from kindling.images.image_table import ImageTable, labelled
from kindling.images.images import ImageTensors, num_by_class
from kindling.images.table import Columns, columns_of
from kindling.images.table_listing import list_table, spread_of_classes
from kindling.testing.sets import make_tree

BARS = Columns(separator="|")
CELLS = ["cat", "dog|cat", "", "owl", " cat | dog ", "dog|dog|"]
EXPECTED = [("cat",), ("cat", "dog"), (), ("owl",), ("cat", "dog"), ("dog",)]


@pytest.fixture
def root(tmp_path) -> Path:
    return make_tree(tmp_path / "tree", classes="a", images=len(CELLS)) / "a"


def write(root: Path, *lines: str, names: str = "path,label") -> Path:
    file = root / "labels.csv"
    file.write_text("\n".join([names, *(f"{index:03}.png,{line}" for index, line in enumerate(lines))]) + "\n")
    return file


def by_name(listed) -> dict[str, tuple[str, ...]]:
    rows = [row for split in listed.splits.values() for row in split]
    return {path.name: tuple(listed.classes[label] for label in labels) for path, labels in rows}


def data_of(table: Path, **settings) -> ImageTable:
    columns = dict.fromkeys(("root", "path_column", "label_column", "split_column"))
    facts = {"num_classes": 3, "channels": 3, "image_size": 12, "mean": [0.5] * 3, "std": [0.5] * 3}
    more = {"val_fraction": 0.25, "test_fraction": 0.25, "batch_size": 4, "num_workers": 0, "seed": 0, "augment": None}
    place = {"table": str(table), "cache_dir": str(table.parent / "cache"), "label_separator": "|"}
    return ImageTable(**{**columns, **facts, **more, **place, **settings})


def test_cells_columns_of_zeros_and_ones_and_lists_of_parquet_give_the_same_labels(root):
    expected = {f"{index:03}.png": labels for index, labels in enumerate(EXPECTED)}
    cells = list_table(write(root, *CELLS), None, BARS)
    assert by_name(cells) == expected
    names = ("owl", "cat", "dog")
    rows = [",".join(str(int(name in labels)) for name in names) for labels in EXPECTED]
    columns = list_table(write(root, *rows, names="path,owl,cat,dog"), None, Columns(label=names))
    assert by_name(columns) == expected
    assert columns.splits == cells.splits
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    lists = {"path": list(expected), "label": [list(labels) for labels in EXPECTED]}
    parquet.write_table(arrow.table(lists), root / "t.parquet")
    assert by_name(list_table(root / "t.parquet", None, BARS)) == expected


def test_a_batch_has_a_row_of_labels_for_each_image_and_images_without_any_are_counted(root):
    data = data_of(write(root, *CELLS))
    data.setup("fit")
    assert data.splits.classes == ("cat", "dog", "owl")
    found = {
        path.name: row.tolist()
        for images in data.present().values()
        for path, row in zip(images.paths, images.labels, strict=True)
    }
    assert found == {
        f"{index:03}.png": [name in labels for name in data.splits.classes] for index, labels in enumerate(EXPECTED)
    }
    _, labels = next(iter(data.val_dataloader()))
    assert (labels.dtype, labels.shape) == (torch.bool, (len(data.splits.val), 3))
    assert "data: 1.17 labels an image; 1 of 6 have none" in data.described()
    # As evaluate.py does with split=all.
    data.splits = replace(data.splits, test=join(data.splits.val, data.splits.test))
    assert "data: 1.17 labels an image; 1 of 6 have none" in data.described()


def test_each_image_of_training_is_looked_at_once_also_those_without_a_label(root):
    listed = list_table(write(root, *CELLS), None, BARS)
    looked_at = [path.name for paths in spread_of_classes(listed) for path in paths]
    assert sorted(looked_at) == [f"{index:03}.png" for index in range(len(CELLS))]


def test_debug_data_counts_the_images_of_each_label(root):
    data = data_of(write(root, *CELLS), fold=0, num_folds=2)
    data.setup("fit")
    counts = counts_of(data.present(), data.splits.classes)
    assert {name: sum(of_label.values()) for name, of_label in counts.items()} == {"cat": 3, "dog": 3, "owl": 1}


def test_a_label_without_an_image_in_a_split_is_named(root, caplog):
    data = data_of(write(root, *CELLS))
    data.setup("fit")
    missing = [name for name, row in zip(data.splits.classes, data.splits.val.labels.T, strict=True) if not row.any()]
    assert f"{len(missing)} labels without an image in val: {', '.join(missing)}" in caplog.text


def test_a_column_without_a_one_is_left_out_and_told(root, caplog):
    table = write(root, *["1,0,0", "0,1,0", "1,1,0"] * 2, names="path,b,a,never")
    data = data_of(table, label_separator=None, label_column=["b", "a", "never"], num_classes=2)
    data.setup("fit")
    assert data.splits.classes == ("a", "b")
    assert "left out: 1 label column without a 1 in training: never" in caplog.text


def test_each_label_has_its_share_of_what_is_held_out():
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(2000, 4, generator=generator) < torch.tensor([0.5, 0.2, 0.05, 0.01])
    kept, held = hold_out(labels, 0.2)
    assert len(kept) + len(held) == 2000
    assert (labels[held].sum(0) / labels.sum(0)).tolist() == pytest.approx([0.2] * 4, abs=0.06)


def test_labels_that_few_images_have_do_not_enlarge_what_is_held_out():
    labels = torch.eye(100).bool().repeat(3, 1)
    kept, held = hold_out(labels, 0.1)
    assert (len(kept), len(held)) == (270, 30)
    assert labels[held].sum(0).max() == 1
    assert len(hold_out(labels[:1], 0.1)[1]) == 0


def test_folds_have_each_label_in_its_share():
    is_rare = torch.arange(100) % 10 == 0
    images = ImageTensors(torch.zeros(100, 1, 1, 1, dtype=torch.uint8), torch.stack([is_rare, ~is_rare], 1))
    folds = [Splits(images, None, None).of_fold(fold, 5).val for fold in range(5)]
    assert [fold.labels.sum(0).tolist() for fold in folds] == [[2, 18]] * 5


def test_an_image_counts_for_the_rarest_of_its_labels():
    labels = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]]).bool()
    assert rarest(labels).tolist() == [1, 0, 3, 2, 1]


def test_a_label_that_training_lacks_is_refused_or_its_rows_are_left_out(root):
    names = "path,label,split"
    table = write(root, "cat,train", "dog|cat,train", "owl|cat,val", "cat,val", names=names)
    with pytest.raises(DataError, match=r"1 with a label that no row of training has \('owl' of 002\.png\)"):
        list_table(table, None, BARS)
    found = list_table(table, None, BARS, "skip")
    assert (found.classes, [path.name for path, _ in found.splits["val"]]) == (["cat", "dog"], ["003.png"])


def test_a_file_with_other_labels_in_another_row_is_refused_whatever_their_order(root):
    table = write(root, "cat|dog", "dog|owl")
    table.write_text(table.read_text() + "000.png,dog|cat\n001.png,dog\n")
    with pytest.raises(DataError, match=r"1 of a file named before \(000\.png\), 1 .*'dog, owl' and 'dog'"):
        list_table(table, None, BARS)


@pytest.mark.parametrize(
    ("lines", "columns", "said"),
    [
        (["cat;dog", "cat", "dog", "cat;dog"], BARS, "several labels (';') in 2 of 4 rows: 'cat;dog'; allowed"),
        (["1,-1", "0,1"], Columns(label=("a", "b")), "with '-1' in the column 'b'; allowed: 0 or 1"),
        (["1,", "0,1"], Columns(label=("a", "b")), "with '' in the column 'b'; allowed: 0 or 1"),
        (["1,1", "0,1"], Columns(label=("a", "c")), "data.label_column: given 'c'"),
        (["cat", "cat|cat"], BARS, "have the labels ['cat']; allowed: two or more"),
        (["", ""], BARS, "have the labels []; allowed: two or more"),
    ],
)
def test_tables_of_several_labels_that_cannot_be_used_are_refused_in_one_line(root, lines, columns, said):
    names = "path,a,b" if isinstance(columns.label, tuple) else "path,label"
    with pytest.raises(DataError) as raised:
        list_table(write(root, *lines, names=names), None, columns)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("label", "separator", "said"),
    [
        (None, "", "data.label_separator: given ''"),
        (["a", "b"], "|", "data.label_separator: given '|' with 2 columns of 0 and 1"),
        (["a", "a"], None, "data.label_column: given ['a', 'a']; allowed: a name, or two or more, each once"),
        (["a"], None, "data.label_column: given ['a']"),
    ],
)
def test_settings_of_labels_that_make_no_sense_are_refused(label, separator, said):
    with pytest.raises(DataError) as raised:
        columns_of(None, label, None, separator)
    assert said in str(raised.value)


def test_other_data_is_measured_by_the_labels_that_the_model_knows(root):
    data = data_of(write(root, "owl", "cat|owl", "owl", "cat", "owl", "cat"), num_classes=4)
    data.known = {"classes": ["owl", "fox", "cat", "emu"]}
    counts = sum(num_by_class(images.labels, 4) for images in data.present().values())
    assert counts.tolist() == [4, 0, 3, 0]
    other = data_of(write(root, "owl", "cat|owl", "owl", "cat", "owl", "cat"), num_classes=4)
    other.known = {"classes": ["owl", "fox"]}
    with pytest.raises(OtherDataError, match="classes that the model lacks, 3 of 'cat'"):
        _ = other.splits


def test_a_thousand_labels_of_many_images_take_a_byte_each():
    listed = [(Path(f"{index}.png"), tuple({index % 1000, 7})) for index in range(3000)]
    labels = labelled(listed, 1000).labels
    assert (labels.shape, labels.element_size()) == ((3000, 1000), 1)
    assert labels.sum().item() == 3000 * 2 - 3

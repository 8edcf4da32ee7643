"""Images whose labels are in a table."""

from pathlib import Path

import pytest
import torch

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.errors import DataError
from kindling.images import table_listing
from kindling.images.table import Columns, chosen, combined
from kindling.images.table_listing import list_table
from kindling.testing.sets import labelled, make_tree, read_all

FACTS = ["data.num_classes=3", "data.channels=3", "data.image_size=12"]


def rows_of(root: Path) -> list[tuple[str, str]]:
    return [(str(file.relative_to(root)), file.parent.name) for file in sorted(root.rglob("*.png"))]


def write(file: Path, rows, names: str = "path,label") -> Path:
    file.write_text("\n".join([names, *(",".join(row) for row in rows)]) + "\n")
    return file


def data_of(root: Path, given: Path | None, *overrides: str, faulty: str = "refuse"):
    """A tree as it is, or by a table."""
    cfg = compose(["data=image_folder", f"data.root={root}", f"data.cache_dir={root.parent}/cache", *FACTS, *overrides])
    node = cfg.data.copy()
    if given is not None:
        node._target_ = "kindling.images.image_table.ImageTable"
        columns = dict.fromkeys(("path_column", "label_column", "split_column"))
        node = {**node, **columns, "table": str(given), "faulty": faulty}
    data = instantiate(node, "data")
    data.setup("fit")
    return data


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_a_set_gives_the_same_order_and_bits_through_a_folder_and_through_a_table(tmp_path, in_memory):
    root = make_tree(tmp_path / "tree", classes=("a-b", "a", "b"), size=12)
    rows = rows_of(root)
    mixed = [rows[index] for index in torch.randperm(len(rows), generator=torch.Generator().manual_seed(3)).tolist()]
    given = write(tmp_path / "labels.csv", mixed)
    settings = [f"data.in_memory={in_memory}", "data.num_workers=0", "data.batch_size=8"]
    folder, through = data_of(root, None, *settings), data_of(root, given, *settings)
    assert folder.fingerprint == through.fingerprint
    assert (folder.mean, folder.std) == (through.mean, through.std)
    for split in ("train", "val", "test"):
        assert getattr(folder.splits, split).paths == getattr(through.splits, split).paths
    for epoch in (0, 1):
        expected, found = (labelled(*read_all(data.train_dataloader(), epoch)) for data in (folder, through))
        assert found == expected


def test_a_column_of_splits_gives_those_of_a_tree_with_splits(tmp_path):
    root = make_tree(tmp_path / "tree", splits=("train", "val", "test"), images=3)
    rows = [
        (path, label, {"val": "Validation"}.get(path.split("/")[0], path.split("/")[0]))
        for path, label in rows_of(root)
    ]
    folder, through = data_of(root, None), data_of(root, write(tmp_path / "t.csv", rows, "File Name,class,split"))
    assert folder.fingerprint == through.fingerprint
    assert not through.cut


def test_the_config_finds_classes_channels_and_size_of_a_table(tmp_path):
    root = make_tree(tmp_path / "tree", size=17, channels=1)
    listed = table_listing.facts_of(str(write(tmp_path / "t.csv", rows_of(root))), str(root), Columns(), "refuse")
    looks = table_looks(listed)
    assert (len(listed.classes), looks.channels, looks.image_size) == (3, 1, 17)


def table_looks(listed):
    from kindling.images.looks import looks_at

    return looks_at(table_listing.spread_of_classes(listed))


def test_parquet_and_other_delimiters_give_the_same_as_csv(tmp_path):
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    root = make_tree(tmp_path / "tree", images=3)
    rows = rows_of(root)
    expected = list_table(write(tmp_path / "t.csv", rows), root)
    paths, labels = zip(*rows, strict=True)
    parquet.write_table(arrow.table({"label": labels, "path": paths, "more": range(9)}), tmp_path / "t.parquet")
    assert list_table(tmp_path / "t.parquet", root) == expected
    for delimiter, name in ((";", "s.csv"), ("\t", "t.tsv"), ("|", "p.csv")):
        lines = [f"path{delimiter}label", *(delimiter.join(row) for row in rows)]
        (tmp_path / name).write_text("\ufeff" + "\r\n".join(lines))
        assert list_table(tmp_path / name, root) == expected


def test_whole_paths_and_a_table_in_its_own_folder_need_no_root(tmp_path):
    root = make_tree(tmp_path / "tree", images=2)
    expected = list_table(write(tmp_path / "a.csv", rows_of(root)), root)
    assert list_table(write(root / "a.csv", rows_of(root))) == expected
    whole = [(str(root / path), label) for path, label in rows_of(root)]
    assert list_table(write(tmp_path / "b.csv", whole), root) == expected


FAULTS = {
    "1 of a missing file (gone.png)": ("gone.png", "a", "train"),
    "1 without a label (x.png)": ("x.png", " ", "train"),
    "1 without a path (label 'a')": ("", "a", "train"),
    "1 of a file named before (a/000.png)": ("a/000.png", "a", "train"),
    "1 of a file named before (./a/000.png in val and train)": ("./a/000.png", "a", "val"),
    "1 of a file named before with another label (a/000.png: 'a' and 'b')": ("a/000.png", "b", "train"),
    "1 with a label that no row of training has ('d' of x.png)": ("x.png", "d", "val"),
}


@pytest.mark.parametrize("said", FAULTS)
def test_rows_that_cannot_be_used_are_counted_and_refused_or_left_out(tmp_path, said):
    root = make_tree(tmp_path / "tree", images=2)
    (root / "x.png").write_bytes(b"")
    rows = [(*row, "train") for row in rows_of(root) if row[0] != "x.png"]
    given = write(tmp_path / "t.csv", [*rows, FAULTS[said]], "path,label,split")
    with pytest.raises(DataError) as raised:
        list_table(given, root)
    contradicted = "another label" in said
    assert f"which has rows that cannot be used, {1 + contradicted} of 7 rows: {said}" in str(raised.value)
    assert str(raised.value).endswith("leave them out with data.faulty=skip")
    found = list_table(given, root, Columns(), "skip")
    assert said in found.faults.words()
    assert sum(map(len, found.splits.values())) == 6 - contradicted, "of two labels neither is believed"
    assert found.classes == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("names", "columns", "said"),
    [
        (["a", "label"], Columns(), "data.path_column: given none, and no column is named path, file"),
        (["path", "b"], Columns(), "data.label_column: given none, and no column is named label"),
        (["path", "label", "class"], Columns(), "data.label_column: given none, and 'label', 'class' may be meant"),
        (["path", "label", "label"], Columns(), "with two columns 'label'"),
        (["path", "label"], Columns(label="labl"), "did you mean label?"),
    ],
)
def test_columns_that_are_not_clear_are_named(names, columns, said):
    with pytest.raises(DataError, match=r"^data") as raised:
        chosen(Path("t.csv"), names, columns)
    assert said in str(raised.value)


def test_columns_are_found_whatever_signs_their_names_have():
    assert chosen(Path("t.csv"), ["Class_Name", "File-Path", "n"], Columns()) == ("File-Path", ["Class_Name"], None)
    assert chosen(Path("t.csv"), ["label", "path", "x"], Columns(label="x")) == ("path", ["x"], None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("path,label\na.png,x\nb.png\n", "t.csv, line 3: has 1 values for 2 columns; mend it"),
        ("path,label\n", "has no rows"),
        ("", "no column is named path"),
        ('path,label\n"a.png,x\n', "is no CSV"),
        ("path,label,split\na.png,x,tset\n", "with 'tset'; allowed: train"),
        ("path,label,split\na.png,x,test\n", "without rows of train"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_in_one_line(tmp_path, content, said):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError) as raised:
        list_table(tmp_path / "t.csv")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    for given in ("nowhere.csv", "", tmp_path, tmp_path / "t.parquet"):
        with pytest.raises(DataError, match=r"^data\.table: given"):
            list_table(given)


def test_one_class_or_a_root_that_is_none_is_refused(tmp_path):
    root = make_tree(tmp_path / "tree", classes="a", images=2)
    given = write(tmp_path / "t.csv", rows_of(root))
    with pytest.raises(DataError, match=r"have the labels \['a'\]; allowed: two or more"):
        list_table(given, root)
    with pytest.raises(DataError, match="which is no folder"):
        list_table(given, root / "none")


@pytest.mark.parametrize("sign", ["|", ";", ", ", "/", " "])
def test_cells_with_several_labels_are_refused_by_name(tmp_path, sign):
    labels = ["cat", "dog", "owl", f"cat{sign}dog", f"owl{sign}cat", f"cat{sign}dog{sign}owl"]
    given = write(tmp_path / "t.csv", [(f"{index}.png", f'"{label}"') for index, label in enumerate(labels)])
    with pytest.raises(
        DataError, match=r"^data\.table: given .*t\.csv with several labels \(.*\) in 3 of 6 rows"
    ) as raised:
        list_table(given)
    assert f"'cat{sign}dog'" in str(raised.value)
    assert f"keep one label of each, or write names of classes without {sign.strip() or sign!r}" in str(raised.value)
    assert f"or, for a multi-label task, set data.label_separator to {sign.strip() or sign!r}" in str(raised.value)


def test_lists_of_labels_in_parquet_are_refused_by_name(tmp_path):
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    parquet.write_table(arrow.table({"path": ["a.png", "b.png"], "label": [["x"], ["x", "y"]]}), tmp_path / "t.parquet")
    with pytest.raises(
        DataError, match=r"with several labels in 2 of 2 rows: \['x'\], \['x', 'y'\]; allowed: one a row"
    ):
        list_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("labels", "sign", "found"),
    [
        (["a|b", "b|c", "c|a"], "|", ["a|b", "b|c", "c|a"]),
        (["['a']", "['b']", "['a', 'b']"], ",", ["['a', 'b']"]),
        (["a", "b", "a;b;"], ";", ["a;b;"]),
        (["animal|cat", "animal|dog", "car|fiat"], "|", []),
        (["ankle, left", "ankle, right", "wrist, left", "wrist, right"], ",", []),
        (["hot", "dog", "hot dog", "cat"], " ", []),
        (["red", "wine", "oak", "red wine", "red oak", "great tit"], " ", []),
    ],
)
def test_a_class_whose_name_holds_a_sign_is_not_taken_for_several_labels(labels, sign, found):
    assert combined(labels, sign) == found


def test_rows_and_files_that_are_skipped_are_counted_where_a_split_has_too_few_images(tmp_path):
    root = make_tree(tmp_path / "tree", images=2)
    rows = [(*row, "train") for row in rows_of(root)]
    (root / "x.png").write_bytes(b"no image")
    given = write(tmp_path / "t.csv", [*rows, ("gone.png", "a", "val"), ("x.png", "b", "val")], "path,label,split")
    with pytest.raises(DataError) as raised:
        data_of(root, given, faulty="skip")
    assert str(raised.value) == (
        f"data.table: given {given}, too few images for a val split; left out: 1 of 8 rows: 1 of a missing file "
        f"(gone.png); 1 of 1 images cannot be read: {root / 'x.png'}; add images"
    )


def test_rows_that_are_skipped_are_counted_where_one_label_is_left(tmp_path):
    root = make_tree(tmp_path / "tree", images=2, classes="a")
    given = write(tmp_path / "t.csv", [*rows_of(root), ("gone.png", "b")])
    with pytest.raises(DataError, match=r"have the labels \['a'\]; left out: 1 of 3 rows: 1 of a missing file \(gone"):
        list_table(given, root, Columns(), "skip")

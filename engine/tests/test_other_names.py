"""Weights that were trained with other names than the data has are named, or refused where they would be measured."""

from pathlib import Path

import pytest

from kindling.errors import OtherDataError
from kindling.testing.sets import make_tree
from kindling.training.other_names import Origin, hold_against

SET = ["data=image_folder", "data.num_classes=2", "data.channels=3", "data.image_size=16", "trainer.max_epochs=1"]


def run_on(train_run, root: Path, *given: str):
    return train_run(*SET, f"data.root={root}", f"data.cache_dir={root.parent}/cache", *given)


def test_weights_of_other_classes_are_named_and_trained_on_and_not_measured(tmp_path, train_run, caplog):
    pets = make_tree(tmp_path / "pets", classes=("cat", "dog"), size=16)
    fish = make_tree(tmp_path / "fish", classes=("cod", "dog"), size=16)
    origin = run_on(train_run, pets)
    weights = f"weights={origin.folder}"
    run_on(train_run, pets, weights)
    run_on(train_run, pets, weights, "train=false")
    assert "trained with" not in caplog.text
    run_on(train_run, fish, weights)
    said = [line for line in caplog.messages if "trained with" in line]
    assert [line.partition("best.ckpt, ")[2] for line in said] == [
        "trained with other classes: 1 of 2 differ, the first is 'cat' (0), and 'cod' in the data; they are trained on "
        "as they are; rename or order those of the data if they mean the same"
    ]
    with pytest.raises(OtherDataError, match="'cod' in the data; allowed with train=false: those of the weights"):
        run_on(train_run, fish, weights, "train=false")


def test_a_fork_with_other_classes_is_named(tmp_path, train_run, caplog):
    pets = make_tree(tmp_path / "pets", classes=("cat", "dog"), size=16)
    fish = make_tree(tmp_path / "fish", classes=("cod", "dog"), size=16)
    origin = run_on(train_run, pets)
    run_on(train_run, fish, f"fork={origin.folder}", "trainer.max_epochs=2")
    assert "trained with other classes: 1 of 2 differ" in caplog.text


def test_a_new_last_layer_knows_no_classes(tmp_path, train_run, caplog):
    pets = make_tree(tmp_path / "pets", classes=("cat", "dog"), size=16)
    more = make_tree(tmp_path / "more", classes=("cod", "dog", "eel"), size=16)
    origin = run_on(train_run, pets)
    run_on(train_run, more, f"weights={origin.folder}", "data.num_classes=3")
    assert "trained with" not in caplog.text


@pytest.mark.parametrize(
    ("known", "facts", "line"),
    [
        ({"classes": ["cat", "dog"]}, {"classes": ("dog", "cat")}, "the same classes in another order: 2 of 2 differ"),
        ({"vocabulary": "abc"}, {"vocabulary": "abd"}, r"other vocabulary: 1 of 3 differ, the first is 'c' \(2\)"),
        ({"columns": ["a", "b"]}, {"columns": ["a"]}, "2 columns, and the data has 1"),
    ],
)
def test_the_first_of_the_names_that_differ_is_said(known, facts, line):
    with pytest.raises(OtherDataError, match=line):
        hold_against(Origin(Path("x.ckpt"), known), facts, trains=False)


@pytest.mark.parametrize("facts", [{}, {"classes": None}, {"classes": ["cat", "dog"]}])
def test_data_without_names_or_with_the_same_is_left_alone(facts, caplog):
    for known in ({"classes": ["cat", "dog"], "columns": ["a"]}, {"classes": None}, {"classes": 3}, {}):
        hold_against(Origin(Path("x.ckpt"), known), facts, trains=False)
    assert not caplog.messages

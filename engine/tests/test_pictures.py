"""The numbers that are drawn and printed of an evaluation; what a picture looks like, a person judges."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from kindling.data.class_report import MAX_SHOWN, per_class, table_of
from kindling.data.confusion import MAX_NAMED_CLASSES, plot_confusion_matrix, shortened
from kindling.errors import printable
from kindling.images.images import ImageTensors
from kindling.images.listing import shortened as listed
from kindling.images.plots import fitted, plot_mistakes, plot_rates

LABELS = torch.tensor([0] * 100 + [1] * 50 + [2] * 4)
PREDICTED = torch.tensor([0] * 99 + [1] + [1] * 48 + [0] * 2 + [2] * 2 + [0] * 2)
LOGITS = one_hot(PREDICTED, 4).float()
CLASSES = ["cat", "dog", "$x$", "none"]


def cells_of(table) -> list[list[str]]:
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def test_recall_stands_at_the_row_ends_and_precision_at_the_foot():
    figure = plot_confusion_matrix(LOGITS, LABELS, CLASSES)
    (axes,) = figure.axes
    right_end, foot = axes.child_axes
    assert [label.get_text() for label in right_end.get_yticklabels()] == ["99.0 %", "96.0 %", "50.0 %", "–"]
    assert [label.get_text() for label in foot.get_xticklabels()] == ["96.1 %", "98.0 %", "100.0 %", "–"]
    assert (
        axes.get_title()
        == "149 of 154 right (96.8 %)\nmost often confused: dog → cat (2), $x$ → cat (2), cat → dog (1)"
    )


def test_one_mistake_in_a_hundred_is_shaded_like_a_mistake():
    (axes,) = plot_confusion_matrix(LOGITS, LABELS, CLASSES).axes
    hits, mistakes = (np.ma.asarray(image.get_array()) for image in axes.images)
    assert np.argwhere(~mistakes.mask).tolist() == [[0, 1], [1, 0], [2, 0]], "cells without mistakes stay white"
    shades = axes.images[1].to_rgba(mistakes)
    assert (1 - shades[0, 1, :3]).max() > 0.25, "almost white"
    assert mistakes[2, 0] == mistakes.max() == 1, "the largest share of a row"
    assert (np.diagonal(hits) == [0.99, 0.96, 0.5, 0]).all()


def test_a_confusion_matrix_of_many_classes_names_none_and_of_a_hundred_all():
    for num_classes, is_named in ((MAX_NAMED_CLASSES, True), (MAX_NAMED_CLASSES + 1, False)):
        logits, labels = torch.eye(num_classes), torch.arange(num_classes)
        (axes,) = plot_confusion_matrix(logits, labels, [f"class {i}" for i in range(num_classes)]).axes
        assert (len(axes.texts) == num_classes) == is_named
        assert (axes.get_yticklabels()[-1].get_text() == f"class {num_classes - 1}") == is_named


def test_long_class_names_keep_the_end_in_which_they_differ():
    names = [shortened(f"a very long name of class {i}") for i in range(2)]
    assert names == ["a very lo…of class 0", "a very lo…of class 1"]


def test_a_line_break_in_a_class_name_breaks_no_line():
    classes = ["cat", "a\nb", "c\u2028d", "none"]
    (axes, *_) = plot_confusion_matrix(LOGITS, LABELS, classes).axes
    assert [each.get_text() for each in axes.get_yticklabels()] == ["cat", r"a\nb", r"c\u2028d", "none"]
    table = table_of(LOGITS, LABELS, per_class(LOGITS, LABELS, classes))
    assert [row[0] for row in cells_of(table)] == [r"c\u2028d", r"a\nb", "cat"]
    assert listed(classes) == r"cat, a\nb, c\u2028d, ..."
    assert printable("Ärzte 日本 👩‍🔬") == "Ärzte 日本 👩‍🔬"


def test_the_worst_classes_come_first_with_what_they_are_taken_for():
    table = table_of(LOGITS, LABELS, per_class(LOGITS, LABELS, CLASSES))
    assert [[*row[:1], *row[3:]] for row in cells_of(table)] == [
        ["$x$", "0.6667", "4", "cat (2)"],
        ["dog", "0.9697", "50", "cat (2)"],
        ["cat", "0.9754", "100", "dog (1)"],
    ]
    assert table.caption == "1 of 4 classes have no images here"


def test_a_table_of_many_classes_says_what_it_leaves_out():
    logits, labels = torch.eye(30), torch.arange(30)
    logits[7] = logits[8]
    table = table_of(logits, labels, per_class(logits, labels, [f"[b]{i}" for i in range(30)], "rows"))
    assert [row[0] for row in cells_of(table)][:2] == ["[b]7", "[b]8"]
    assert table.row_count == MAX_SHOWN
    assert table.caption == f"{MAX_SHOWN} of 30 classes; metrics.json has them all"


def test_mistakes_of_a_folder_are_shown_with_the_names_of_their_files(monkeypatch):
    shown = []
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda self, x, y, text, **_: shown.append(text))
    paths = [Path("data/cat/1.png"), Path("data/cat/$a_photo_taken_in_the_year_2024_of_a_cat.jpeg")]
    labels = torch.tensor([0, 0])
    files = ImageTensors(torch.zeros(2, 4, 4, 1, dtype=torch.uint8), labels, paths)
    plot_mistakes(files, torch.tensor([[0.0, 2.0], [0.0, 1.0]]), labels, ["cat", "dog"])
    assert shown == ["cat → dog  0.88\n1.png", "cat → dog  0.73\n$a_photo_tak…of_a_cat.jpeg"]


@pytest.mark.needs("debug")
def test_a_range_test_draws_a_smooth_curve_over_the_raw_one(tmp_path, monkeypatch):
    from kindling.debug.find_lr import smoothed

    drawn = {}
    monkeypatch.setattr("kindling.images.plots.save", lambda figure, file: drawn.update(axes=figure.axes[0]))
    losses = [2.0 + (-1) ** step * 0.2 - 0.01 * step for step in range(100)]
    rates = [10 ** (-5 + step / 20) for step in range(100)]
    plot_rates(rates, losses, smoothed(losses, 3.0).tolist(), {"given": 0.01}, tmp_path / "lr_find.png")
    raw, smooth, given = drawn["axes"].lines
    assert raw.get_ydata().tolist() == losses
    assert np.abs(np.diff(smooth.get_ydata())).max() < 0.02 < np.abs(np.diff(raw.get_ydata())).max()
    assert given.get_label() == "given: 0.01"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (("cat", "aeroplane"), ("cat", "aeroplane")),
        (("cat", "a name of class 12"), ("cat", "a name…lass 12")),
        (("a name of class 1", "a name of class 2"), ("a n…ss 1", "a n…ss 2")),
    ],
)
def test_two_names_fit_above_an_image_with_their_ends(given, shown):
    assert fitted(*given) == shown

"""The characters of a text."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from kindling.cli.entry import compose
from kindling.config.check import fits
from kindling.data.measured import measure
from kindling.errors import ConfigError, DataError

pytest.importorskip("my_project.data.text")
from my_project.data.text import Text, blocks
from my_project.tasks.language import NOT_COUNTED

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A text of 260 characters, each followed by the next of the alphabet."""
    file = tmp_path / "text.txt"
    file.write_text(ALPHABET * 10)
    return file


def text(file: Path | None, **settings: Any) -> Text:
    given = {"vocab_size": None, "block_size": 8, "stride": 3, "batch_size": 4, "num_workers": 0, "seed": 0}
    return Text(file=None if file is None else str(file), **given | settings)


def test_a_byte_order_mark_is_told(file, caplog):
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    _ = text(file).splits
    assert "begins with a byte order mark, which counts as a character; save it without" in caplog.text


def test_the_text_that_is_here_is_three_plays_without_words_of_others():
    data = text(None)
    assert hashlib.sha256(data.text.encode()).hexdigest()[:16] == "4c892ec317df1cdf"
    assert [name in data.text for name in ("HAMLET", "KING LEAR", "ROMEO AND JULIET", "Gutenberg")] == [True] * 3 + [
        False
    ]
    assert compose(fits.lines_for("text")).data.vocab_size in (None, data.facts["vocab_size"])


def test_its_facts_are_the_characters_by_id_and_their_number(file):
    assert text(file).facts == {"vocabulary": ALPHABET, "vocab_size": 26}


def test_train_val_and_test_follow_each_other_in_the_text_and_share_no_character(file):
    file.write_text("".join(map(chr, range(300, 560))), encoding="utf-8")  # whose ids are their places
    splits = text(file).present()
    seen = {name: set(ids.flatten().tolist()) for name, (ids, _) in splits.items()}
    asked = {name: set(following.flatten().tolist()) - {NOT_COUNTED} for name, (_, following) in splits.items()}
    ends = {"train": (0, 208), "val": (208, 234), "test": (234, 260)}
    assert seen == {name: set(range(first, last - 1)) for name, (first, last) in ends.items()}
    assert asked == {name: set(range(first + 1, last)) for name, (first, last) in ends.items()}


def test_what_follows_each_id_is_the_next_of_the_text(file):
    ids, following = text(file).splits.train
    assert ids.shape == following.shape
    assert torch.equal(following, (ids + 1) % 26)
    assert torch.equal(ids[:, 1:], following[:, :-1])


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("num", [10, 11, 17, 40])
def test_evaluation_counts_each_character_once_after_half_a_block_of_others(size, num):
    numbers = torch.arange(num)
    ids, following = blocks(numbers, size, (size + 1) // 2, once=True)
    counted = following != NOT_COUNTED
    assert sorted(following[counted].tolist()) == list(range(1, num))
    assert torch.equal(following[counted], ids[counted] + 1)
    before = counted.int().argmax(1)
    assert (before[1:] >= size // 2).all()


@pytest.mark.parametrize(("stride", "starts"), [(3, [0, 3, 6, 7]), (8, [0, 7]), (7, [0, 7])])
def test_training_blocks_start_every_stride_and_the_last_ends_with_the_text(stride, starts):
    ids, following = blocks(torch.arange(16), 8, stride)
    assert ids[:, 0].tolist() == starts
    assert following[-1, -1] == 15
    assert not (following == NOT_COUNTED).any()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"vocab_size": 25}, DataError, r"data\.vocab_size: given 25; the text has 26; set it to null"),
        ({"block_size": 26}, DataError, r"data\.block_size: given 26; allowed: under a tenth of 260, the text"),
        ({"fold": 0}, ConfigError, r"data\.fold: given 0; allowed: null, since blocks of a text overlap"),
    ],
)
def test_a_setting_that_does_not_fit_is_answered_with_what_is_allowed(file, settings, error, message):
    with pytest.raises(error, match=message):
        text(file, **settings).setup("fit")


def test_the_largest_block_that_is_allowed_fits_every_split(file):
    data = text(file, block_size=25)
    data.setup("fit")
    assert [len(ids) for ids, _ in data.present().values()] == [62, 1, 1]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"], ids=["missing", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=rf"data\.file: given {file}: .*; allowed: a text file in UTF-8"):
        text(file).setup("fit")


def test_an_evaluation_of_another_text_asks_which_part_of_it_is_meant(tmp_path):
    file = tmp_path / "other.txt"
    file.write_text("abcdefgh" * 20, encoding="utf-8")
    other = text(file)
    with pytest.raises(DataError, match=r"split: given none for .*other\.txt.*allowed: split=all"):
        measure(other, None, lambda kind: None, is_own=False, include_train=False)
    found = measure(other, "all", lambda kind: None, is_own=False, include_train=False)
    assert found.examples == found.of
    assert found.trained_on is None

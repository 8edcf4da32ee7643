"""scripts/references.py."""

import math
from types import ModuleType

import pytest

from kindling.config import project


@pytest.fixture
def references(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(project.current().root / "scripts"))
    return pytest.importorskip("references")


TEXT = "the cat sat on the mat and the rat ate the oat at the gate"


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("context", ["", "t", "the ", "zzzz", "e c", "at t"])
def test_the_shares_of_what_may_follow_sum_to_one(references, order, context):
    vocabulary = sorted({*TEXT, "z"})
    model = references.KneserNey(TEXT, order, len(vocabulary))
    shares = [model.probability(context, character) for character in vocabulary]
    assert min(shares) > 0
    assert math.fsum(shares) == pytest.approx(1)


def test_a_lower_order_counts_contexts_and_not_times(references):
    """Kneser and Ney's example: Francisco is frequent, and follows San alone."""
    model = references.KneserNey("sfsfsfsfsf" + "axbxcx", 2, 8)
    unseen = [model.probability("z", character) for character in "fx"]
    assert unseen[0] < unseen[1]


def test_a_bigram_is_what_the_formula_gives_by_hand(references):
    # Of ab, bb, ba, aa, aa: three were seen once and one twice.
    model = references.KneserNey("abbaaa", 2, 2)
    less, below = 3 / 5, 0.5  # each character follows two contexts, and no count of those is one
    unigram = (2 - 0.5) / 4 + 0.5 * 2 / 4 * below
    assert model.probability("a", "a") == pytest.approx((2 - less) / 3 + less * 2 / 3 * unigram)


def test_a_text_of_one_character_costs_next_to_nothing_and_noise_costs_its_logarithm(references):
    assert references.KneserNey("a" * 1000, 3, 2).nats("a" * 100) < 0.01
    assert references.KneserNey("ab", 1, 2).nats("abab") == pytest.approx(math.log(2))


@pytest.mark.slow
def test_ridge_is_chosen_on_validation(references):
    pytest.importorskip("my_project.data.diabetes")
    assert references.ridge() == "ridge, alpha 30: test rmse 54.16"

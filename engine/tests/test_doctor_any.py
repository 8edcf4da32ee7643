"""What the doctor says of rows and tokens that lie in memory, whatever they are of."""

import pytest
import torch

from kindling.data.plain import PlainData
from kindling.images.doctor.any_rules import OF_TENSORS
from kindling.images.doctor.seen import Seen

X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(30) % 3
DULL = X.clone()
DULL[:, 2] = 7.0


def said(train, val=None) -> list[str]:
    data = PlainData(train=train, val=val, batch_size=8, num_workers=0, seed=0)
    seen = Seen(None, None, data)  # pyright: ignore[reportArgumentType]
    return [line for rule in OF_TENSORS for line in rule(seen)]


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ((torch.full((30, 4), 2.0), CLASSES), "the training inputs are all 2, so nothing can be learnt"),
        (
            (torch.zeros(30, 8, dtype=torch.int64), torch.zeros(30, 8, dtype=torch.int64)),
            "the training inputs are all 0",
        ),
        ((DULL, CLASSES), "1 of 4 columns of the training inputs hold one value each: 2; usual: different ones"),
        ((torch.where(X > 1, torch.nan, X), CLASSES), "train examples hold NaN or infinity; usual: none"),
        ((X, torch.ones(30)), "the training targets are all 1, so nothing can be learnt"),
    ],
)
def test_inputs_columns_and_targets_of_one_value_are_told(train, sentence):
    assert sentence in said(train)[0]


@pytest.mark.parametrize(
    ("train", "val", "sentences"),
    [
        ((X, CLASSES), (-X[:9], CLASSES[:9]), []),
        ((X, CLASSES), (X[:9], CLASSES[:9]), ["data: 9 of 9 val examples are in train too;"]),
        ((X, CLASSES), (-X[CLASSES < 2], CLASSES[CLASSES < 2]), ["data: val lacks class 2 of train;"]),
        ((X[CLASSES > 0], CLASSES[CLASSES > 0]), (-X, CLASSES), ["data: train lacks class 0 of val;"]),
        # Whole numbers that are no classes, and a split that is too small for all.
        ((X, torch.arange(30)), (-X, torch.arange(30) + 50), []),
        ((X, CLASSES), (-X[:2], CLASSES[:2]), []),
    ],
)
def test_classes_that_a_split_of_rows_lacks_are_told(train, val, sentences):
    found = said(train, val)
    assert len(found) == len(sentences)
    assert all(line.startswith(sentence) for line, sentence in zip(found, sentences, strict=True))


def test_rows_and_tokens_that_differ_are_told_nothing():
    tokens = torch.randint(0, 5, (30, 8))
    assert said((X, CLASSES), (-X, CLASSES)) == said((tokens, tokens)) == said(X) == []

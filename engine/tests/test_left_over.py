"""Examples that an epoch does not train, since only full batches are: told from a tenth of them on."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from kindling.data.loader import OrderedLoader
from kindling.training import requirements
from kindling.training.requirements import best_batch_size, warn_of_examples_left_over


@pytest.fixture
def said(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(requirements, "warn", lines.append)

    def ask(loader: Any, world_size: int = 1, **settings: Any) -> list[str]:
        usual = {"limit_train_batches": 1.0, "overfit_batches": 0.0, "fast_dev_run": False}
        warn_of_examples_left_over(SimpleNamespace(train_dataloader=loader, world_size=world_size, **usual | settings))  # pyright: ignore
        return lines

    return ask


def examples(num: int) -> TensorDataset:
    return TensorDataset(torch.zeros(num, 2))


def ordered(num: int, batch_size: int, **settings: Any) -> OrderedLoader:
    return OrderedLoader((torch.zeros(num, 2),), batch_size=batch_size, seed=0, train=True, shuffle=True, **settings)


@pytest.mark.parametrize(
    ("num", "size", "left", "better", "rest"),
    [(255, 128, 127, 85, "none"), (3500, 2000, 1500, 1750, "none"), (257, 200, 57, 128, 1), (100, 90, 10, 50, "none")],
)
def test_a_batch_size_that_leaves_none_out_is_named(said, num, size, left, better, rest):
    for loader in (ordered(num, size), DataLoader(examples(num), size, drop_last=True)):
        assert said(loader).pop() == (
            f"data.batch_size: given {size} for {num} training examples, of which each epoch leaves out {left}; "
            f"data.batch_size={better} leaves out {rest}"
        )


def test_each_loader_of_several_is_looked_at(said):
    assert len(said({"a": ordered(255, 128), "b": [ordered(3500, 2000)]})) == 2


def test_several_processes_leave_out_the_rest_of_each(said):
    assert "leaves out 56; data.batch_size=50 leaves out none" in said(ordered(200, 72, world_size=2), 2)[0]


@pytest.mark.parametrize(
    ("loader", "settings"),
    [
        (ordered(256, 25), {}),
        (ordered(100, 128), {}),
        (DataLoader(examples(255), 128), {}),
        (DataLoader(examples(255), 128, drop_last=True), {"limit_train_batches": 1}),
        (ordered(255, 128), {"overfit_batches": 1}),
        (ordered(255, 128), {"fast_dev_run": True}),
        ([torch.zeros(2)], {}),
    ],
)
def test_nothing_is_said_of_fewer_and_of_what_was_asked_for(said, loader, settings):
    assert said(loader, **settings) == []


def test_the_better_size_is_the_best_of_all():
    for total in range(2, 80):
        for most in range(1, total + 1):
            better = best_batch_size(total, most)
            assert max(1, most // 4) <= better <= most
            assert all(total % better <= total % other for other in range(max(1, most // 4), most + 1))

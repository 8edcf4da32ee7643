"""Batches of data that is no set of images."""

import random
from itertools import pairwise
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from kindling.data.loader import OrderedLoader
from kindling.errors import DataError

NUM = 23


class Noisy(Dataset):
    """An example is its index, and what the three generators draw for it."""

    def __init__(self, num: int = NUM, error: Exception | None = None):
        self.num = num
        self.error = error

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if self.error and index == 1:
            raise self.error
        drawn = [random.random(), np.random.rand(), torch.rand(()).item()]  # noqa: NPY002
        return {"index": torch.tensor(index), "drawn": torch.tensor(drawn, dtype=torch.float64)}


def rows() -> tuple[Tensor, Tensor]:
    return torch.arange(NUM * 2, dtype=torch.float32).view(NUM, 2), torch.arange(NUM)


def loader_of(examples, **settings) -> OrderedLoader:
    return OrderedLoader(examples, **{"batch_size": 4, "train": True, "shuffle": True} | settings)


def flat(batches) -> list[Tensor]:
    return [part for batch in batches for part in (batch.values() if isinstance(batch, dict) else batch)]


def same(a, b) -> bool:
    a, b = flat(a), flat(b)
    return len(a) == len(b) > 0 and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def indices_of(loader) -> list[int]:
    return torch.cat([batch["index"] if isinstance(batch, dict) else batch[1] for batch in loader]).tolist()


def test_a_tuple_of_tensors_gives_tuples_whose_rows_stay_together():
    for x, y in loader_of(rows()):
        assert (x.shape, x.dtype, y.dtype) == ((4, 2), torch.float32, torch.int64)
        assert torch.equal(x, rows()[0][y])


def test_tensors_by_name_give_batches_by_name():
    tokens, mask = torch.arange(NUM * 5).view(NUM, 5), torch.arange(NUM * 5).view(NUM, 5) % 3 == 0
    for batch in loader_of({"tokens": tokens, "mask": mask}):
        assert batch["tokens"].shape == (4, 5)
        assert torch.equal(batch["mask"], batch["tokens"] % 3 == 0)


def test_tensors_within_a_batch_may_be_nested():
    x, y = rows()
    for inputs, targets in loader_of(({"x": x, "mask": y > 3}, y)):
        assert torch.equal(inputs["x"], x[targets])
        assert torch.equal(inputs["mask"], targets > 3)


def test_a_lone_tensor_gives_tensors():
    batches = list(loader_of(torch.arange(NUM), train=False, shuffle=False))
    assert torch.equal(torch.cat(batches), torch.arange(NUM))


def test_a_tensor_dataset_is_held_as_its_tensors():
    assert same(loader_of(TensorDataset(*rows())), loader_of(rows()))


def test_a_list_is_a_data_set():
    x, y = rows()
    assert same(loader_of(list(zip(x, y, strict=True))), loader_of(rows()))


@pytest.mark.parametrize("examples", [rows(), Noisy()], ids=["tensors", "data set"])
def test_training_leaves_out_the_uneven_rest_and_evaluation_nothing(examples):
    trained = indices_of(loader_of(examples))
    assert len(trained) == len(set(trained)) == 20
    assert indices_of(loader_of(examples, train=False, shuffle=False)) == list(range(NUM))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_give_the_bits_that_one_process_gives(num_workers):
    alone, several = loader_of(Noisy()), loader_of(Noisy(), num_workers=num_workers, prefetch_factor=3)
    for epoch in range(2):
        for loader in (alone, several):
            loader.order.set_epoch(epoch)
        assert same(alone, several)


def test_workers_that_do_not_persist_give_the_same_bits():
    several = loader_of(Noisy(), num_workers=1, persistent_workers=False)
    assert same(several, loader_of(Noisy()))
    assert same(several, loader_of(Noisy()))


def test_what_an_example_draws_follows_its_position_and_not_the_batch():
    small, large = list(loader_of(Noisy())), list(loader_of(Noisy(), batch_size=20))
    assert torch.equal(torch.cat([batch["drawn"] for batch in small]), large[0]["drawn"])
    assert len(large[0]["drawn"].unique()) == 60


def test_what_an_example_draws_is_another_in_each_epoch():
    loader = loader_of(Noisy(), shuffle=False)
    first = next(iter(loader))["drawn"]
    loader.order.set_epoch(1)
    assert not (next(iter(loader))["drawn"] == first).any()


def test_reading_leaves_the_generators_of_a_step_alone():
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    expected = torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    list(loader_of(Noisy()))
    assert torch.equal(torch.rand(3), expected[0])
    assert (random.random(), np.random.rand()) == expected[1:]  # noqa: NPY002


def masked(batch, generator):
    """Changes inputs and targets."""
    x, y = batch
    hidden = torch.rand(len(x), generator=generator) < 0.5
    return x.masked_fill(hidden[:, None], -1), y.masked_fill(hidden, -100)


@pytest.mark.parametrize("examples", [rows(), TensorDataset(*rows()), list(zip(*rows(), strict=True))])
def test_augmentation_may_change_targets_and_is_a_function_of_the_batch(examples):
    first, again, plain = loader_of(examples, augment=masked), loader_of(examples, augment=masked), loader_of(examples)
    torch.manual_seed(1)
    expected = list(first)
    torch.manual_seed(2)
    assert same(again, expected)
    hidden = [targets == -100 for _, targets in expected]
    assert not all(torch.equal(a, b) for a, b in pairwise(hidden)), "each batch has draws of its own"
    for (x, y), (x0, y0) in zip(expected, plain, strict=True):
        assert torch.equal(x, torch.where((y == -100)[:, None], -1, x0))
        assert torch.equal(y, torch.where(y == -100, -100, y0))
    first.order.set_epoch(1)
    assert not same([[targets == -100] for _, targets in first], [[each] for each in hidden])


def test_augmentation_differs_between_processes():
    constant = torch.ones(64, 2), torch.arange(64)
    one, other = (list(loader_of(constant, augment=masked, rank=rank, world_size=2)) for rank in range(2))
    assert not same([x for x, _ in one], [x for x, _ in other])


@pytest.mark.parametrize("settings", [{}, {"augment": masked}, {"rank": 1, "world_size": 2, "augment": masked}])
def test_a_loader_that_is_told_its_place_goes_on_exactly_there(settings):
    loader = loader_of(rows(), batch_size=3, **settings)
    loader.order.set_epoch(3)
    whole = list(loader)
    started = iter(loader)
    _ = [next(started) for _ in range(2)]
    assert loader.state_dict() == {"epoch": 3, "batches_done": 2}
    resumed = loader_of(rows(), batch_size=3, **settings)
    resumed.load_state_dict(loader.state_dict())
    resumed.batch_sampler.sampler.set_epoch(3)
    assert same(resumed, whole[2:])
    assert same(resumed, whole), "only the first epoch after a resume starts later"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_data_set_goes_on_exactly_where_it_was(num_workers):
    whole = list(loader_of(Noisy()))
    resumed = loader_of(Noisy(), num_workers=num_workers)
    resumed.load_state_dict({"epoch": 0, "batches_done": 3})
    assert same(resumed, whole[3:])


@pytest.mark.parametrize("num", range(3, 14))
def test_processes_evaluate_each_example_once(num):
    loaders = [
        loader_of(torch.arange(num), batch_size=2, train=False, shuffle=False, rank=r, world_size=3) for r in range(3)
    ]
    shown = [list(loader) for loader in loaders]
    assert [len(batches) for batches in shown] == [len(loader) for loader in loaders]
    assert sorted(torch.cat([batch for batches in shown for batch in batches]).tolist()) == list(range(num))


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("num", range(1, 14))
def test_with_repeats_processes_evaluate_as_many_batches_of_which_their_own_show_each_example_once(num, batch_size):
    settings = {"batch_size": batch_size, "train": False, "shuffle": False, "world_size": 3, "repeats": True}
    loaders = [loader_of(torch.arange(num), rank=rank, **settings) for rank in range(3)]
    shown = [list(loader) for loader in loaders]
    assert {len(batches) for batches in shown} == {len(loader) for loader in loaders} == {-(-num // (3 * batch_size))}
    assert all(1 <= len(batch) <= batch_size for batches in shown for batch in batches)
    own = [batch for batches, each in zip(shown, loaders, strict=True) for batch in batches[: each.num_own]]
    assert sorted(torch.cat(own).tolist()) == list(range(num))


def test_a_mistake_in_an_example_is_one_line_even_from_a_worker():
    before = active_children()
    with pytest.raises(DataError, match=r"^row 1: has no target$"):
        list(loader_of(Noisy(error=DataError("row 1: has no target")), num_workers=2))
    assert set(active_children()) <= set(before)


def test_any_other_error_in_a_worker_keeps_its_kind_and_ends_the_workers():
    before = active_children()
    with pytest.raises(ZeroDivisionError, match="by nothing"):
        list(loader_of(Noisy(error=ZeroDivisionError("by nothing")), num_workers=2))
    assert set(active_children()) <= set(before)


def test_examples_are_put_together_by_collate_fn():
    loader = loader_of(list(range(NUM)), collate_fn=lambda items: torch.tensor(items) * 10, shuffle=False)
    assert next(iter(loader)).tolist() == [0, 10, 20, 30]


def test_tensors_of_different_lengths_are_refused_with_their_lengths():
    with pytest.raises(DataError, match=r"different lengths, 3 in \[0\], 2 in \['y'\]; allowed: one length"):
        loader_of({0: torch.zeros(3), "y": torch.zeros(2)})


def test_an_array_among_the_tensors_is_refused_by_its_place():
    with pytest.raises(DataError, match=r"given ndarray for \[1\] of a split; allowed: tensors .*torch\.as_tensor"):
        loader_of((torch.zeros(3), np.zeros(3)))


def test_what_is_no_data_set_is_refused():
    with pytest.raises(DataError, match=r"given generator for a split; allowed: .*data=plain takes any loader"):
        loader_of(iter_of_nothing())


def iter_of_nothing():
    yield from ()

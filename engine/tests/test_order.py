"""Which process gets which examples."""

from itertools import product

import pytest
import torch

from kindling.data.order import (
    EpochOrder,
    balanced_weights,
    evaluation_batches,
    repeated_batches,
    training_batches,
)

SIZES = [*product(range(1, 21), range(1, 8))]

each_world = pytest.mark.parametrize("world_size", [1, 2, 3])


def batches_of(num: int, batch_size: int, rank: int, world_size: int, *, train: bool) -> list[list[int]]:
    """The positions of each batch of a process."""
    share = list(range(num))[rank::world_size]
    slices = (
        training_batches(num, batch_size, world_size)
        if train
        else evaluation_batches(num, batch_size, rank, world_size)
    )
    return [share[part] for part in slices]


def ranks_of(num: int, batch_size: int, world_size: int, *, train: bool) -> list[list[list[int]]]:
    return [batches_of(num, batch_size, rank, world_size, train=train) for rank in range(world_size)]


@each_world
def test_evaluation_shows_each_example_once_in_no_larger_and_no_empty_batches(world_size):
    for num, batch_size in SIZES:
        ranks = ranks_of(num, batch_size, world_size, train=False)
        batches = [batch for rank in ranks for batch in rank]
        assert sorted(position for batch in batches for position in batch) == list(range(num))
        assert all(1 <= len(batch) <= batch_size for batch in batches)


@each_world
def test_evaluation_takes_as_many_steps_in_each_process_unless_that_cannot_be(world_size):
    for num, batch_size in SIZES:
        steps = [len(rank) for rank in ranks_of(num, batch_size, world_size, train=False)]
        fewest = -(-num // (batch_size * world_size))
        assert max(steps) == fewest
        if num >= fewest * world_size:
            assert min(steps) == fewest
        assert min(steps) >= fewest - 1


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_with_examples_repeated_each_process_evaluates_as_many_batches(world_size):
    for num, batch_size in SIZES:
        own = [evaluation_batches(num, batch_size, rank, world_size) for rank in range(world_size)]
        repeated = [repeated_batches(num, batch_size, rank, world_size) for rank in range(world_size)]
        assert len({len(some) + len(more) for some, more in zip(own, repeated, strict=True)}) == 1
        for rank, batches in enumerate(repeated):
            share = list(range(num))[rank % num :: world_size]
            assert all(len(share[part]) == 1 for part in batches)


@each_world
def test_training_shows_no_example_twice_and_leaves_out_less_than_a_batch_a_process(world_size):
    for num, batch_size in SIZES:
        ranks = ranks_of(num, batch_size, world_size, train=True)
        shown = [position for rank in ranks for batch in rank for position in batch]
        assert len(set(shown)) == len(shown)
        assert num - len(shown) < batch_size * world_size
        assert len({len(rank) for rank in ranks}) == 1
        assert all(batch for rank in ranks for batch in rank)
        if num >= batch_size * world_size:
            assert {len(batch) for rank in ranks for batch in rank} == {batch_size}


def test_one_process_evaluates_full_batches_and_then_the_rest():
    for num, batch_size in SIZES:
        expected = [list(range(start, min(start + batch_size, num))) for start in range(0, num, batch_size)]
        assert batches_of(num, batch_size, 0, 1, train=False) == expected


def test_the_shares_of_several_processes_interleave_to_the_whole():
    ranks = [[position for batch in rank for position in batch] for rank in ranks_of(17, 4, 3, train=False)]
    assert ranks == [list(range(17))[rank::3] for rank in range(3)]


def test_the_order_is_a_permutation_that_depends_on_seed_and_epoch_alone():
    orders = {}
    for seed, epoch in product(range(3), range(3)):
        order = EpochOrder(50, seed, shuffle=True)
        order.set_epoch(epoch)
        torch.manual_seed(epoch)
        orders[seed, epoch] = tuple(order.draw()[0].tolist())
        assert sorted(orders[seed, epoch]) == list(range(50))
        assert tuple(order.draw()[0].tolist()) == orders[seed, epoch]
    assert len(set(orders.values())) == 9


def test_the_seed_of_a_position_is_another_in_each_epoch():
    order = EpochOrder(50, 0, shuffle=False)
    seeds = []
    for epoch in range(2):
        order.set_epoch(epoch)
        seeds += order.draw_seeds(order.draw()[1]).tolist()
    assert len(set(seeds)) == 100


def test_balanced_weights_draw_each_class_equally_often():
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    drawn = EpochOrder(1000, 0, shuffle=True, weights=balanced_weights(labels)).draw()[0]
    assert (labels[drawn].bincount() / 1000 - 1 / 3).abs().max() < 0.05

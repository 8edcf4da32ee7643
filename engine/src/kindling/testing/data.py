"""What every data set of configs/data keeps; one whose files are missing is skipped."""

import copy
import io
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kindling.data.datamodule import DataModule
from kindling.data.examples import in_memory, num_examples
from kindling.data.loader import OrderedLoader
from kindling.images.images import Images
from kindling.testing import batches
from kindling.testing.images import *  # noqa: F403
from kindling.testing.sets import SETS, MissingFilesError, pixels_of, read


@pytest.fixture(scope="module", params=SETS)
def any_data(request: pytest.FixtureRequest, offline: Path) -> Any:
    """Each data set in turn."""
    try:
        return read(request.param, offline)
    except MissingFilesError as error:
        pytest.skip(f"its files are missing: {error}")


@pytest.fixture
def data(any_data: Any) -> DataModule:
    """Each whose loaders are the engine's."""
    if not isinstance(any_data, DataModule) or not isinstance(any_data.train_dataloader(), OrderedLoader):
        pytest.skip("its loaders are its own")
    return any_data


def loaders_of(data: Any) -> dict[str, Any]:
    """The loaders that there are, by stage."""
    found = {stage: getattr(data, f"{stage}_dataloader")() for stage in ("train", "val", "test")}
    return {stage: loader for stage, loader in found.items() if loader}


def epoch_of(loader: Any, epoch: int = 0) -> list[Any]:
    """All batches of an epoch."""
    loader.order.set_epoch(epoch)
    return list(loader)


def same(some: list[Any], others: list[Any]) -> bool:
    return len(some) == len(others) and all(map(batches.equal, some, others))


def counted(found: list[Any]) -> Counter[bytes]:
    """How often each example is in some batches."""
    return Counter(each for batch in found for each in batches.as_bytes(batch))


def inputs_of(examples: Any) -> list[bytes]:
    """The bytes of each example of a split, without its target."""
    if isinstance(examples, Images):
        return batches.as_bytes(pixels_of(examples))
    if in_memory(examples):
        several = isinstance(examples, tuple) and len(examples) > 1
        return batches.as_bytes(examples[:-1] if several else examples)
    read_one_by_one = (examples[index] for index in range(num_examples(examples)))
    inputs = (each[0] if isinstance(each, tuple | list) else each for each in read_one_by_one)
    return [b"".join(tensor.numpy().tobytes() for tensor in batches.leaves(each)) for each in inputs]


def test_no_two_splits_share_an_example(data):
    seen = {split: set(inputs_of(examples)) for split, examples in data.present().items()}
    for one, other in combinations(seen, 2):
        # Large collections hold some examples twice.
        assert len(seen[one] & seen[other]) <= 0.01 * len(seen[other]), (one, other)


def test_all_batches_are_alike_but_for_their_length(any_data):
    found = [[signature(batch) for batch in loader] for loader in loaders_of(any_data).values()]
    assert len({each for signatures in found for each in signatures}) == 1


def signature(batch: Any) -> tuple[Any, ...]:
    """The kinds and shapes of a batch's tensors, all of whose numbers are finite."""
    tensors, num = batches.leaves(batch), batches.num_in(batch)
    assert all(tensor.isfinite().all() for tensor in tensors)
    return tuple(
        (each.dtype, tuple(each.shape[1:] if batches.of_each_example(each, num) else each.shape)) for each in tensors
    )


def test_the_seed_decides_on_the_batches_and_on_nothing_else(data):
    other = copy.copy(data)
    other.seed = data.seed + 1
    torch.manual_seed(1)
    found = epoch_of(data.train_dataloader())
    torch.manual_seed(2)
    assert same(epoch_of(data.train_dataloader()), found)
    assert not same(epoch_of(other.train_dataloader()), found)
    assert not same(epoch_of(data.train_dataloader(), 1), found)


def test_the_splits_do_not_depend_on_the_seed(data, offline, request):
    torch.manual_seed(1)
    again = read(request.node.callspec.params["any_data"], offline, seed=1)
    assert again.fingerprint == data.fingerprint
    assert [inputs_of(each) for each in again.present().values()] == [
        inputs_of(each) for each in data.present().values()
    ]


def test_evaluation_sees_the_same_batches_each_time(data):
    for loader in (data.val_dataloader(), data.test_dataloader()):
        if loader:
            assert same(epoch_of(loader, 0), epoch_of(loader, 1))


def test_an_epoch_goes_on_where_it_was_left(data):
    whole = epoch_of(data.train_dataloader(), 1)
    for batches_done in {0, 1, len(whole) // 2, len(whole) - 1}:
        loader = data.train_dataloader()
        loader.load_state_dict({"epoch": 1, "batches_done": batches_done})
        assert same(list(loader), whole[batches_done:])


@pytest.mark.parametrize("num_processes", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_any_number_of_processes_sees_each_example_once(data, num_processes):
    alone, ranks = copy.copy(data), [copy.copy(data) for _ in range(num_processes)]
    for rank, each in enumerate(ranks):
        each.trainer = trainer_of(rank, num_processes)  # pyright: ignore[reportAttributeAccessIssue]
        each.batch_size = num_processes * data.batch_size
    for each in (alone, *ranks):
        each.augment = None
        each.transform = None  # pyright: ignore[reportAttributeAccessIssue]
    for split, examples in data.present().items():
        everything = counted(epoch_of(alone.loader(split)))
        assert everything.total() == num_examples(examples)
        assert sum((counted(epoch_of(each.loader(split))) for each in ranks), Counter()) == everything
    trained_on = [epoch_of(each.train_dataloader()) for each in ranks]
    assert len({len(each) for each in trained_on}) == 1, "a process with fewer batches makes others wait"
    seen = sum(map(counted, trained_on), Counter())
    everything = counted(epoch_of(alone.loader("train")))
    assert seen <= everything
    assert seen.total() > everything.total() - num_processes * data.batch_size


def trainer_of(rank: int, num_processes: int) -> Any:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(strategy=strategy, global_rank=rank, world_size=num_processes, overfit_batches=0)


def test_its_facts_are_plain_and_the_same_at_each_reading(any_data, offline, request):
    facts, stream = dict(getattr(any_data, "facts", {})), io.BytesIO()
    torch.save(facts, stream)
    stream.seek(0)
    assert alike(torch.load(stream, weights_only=True), facts), "a checkpoint would give others back"
    again = read(request.node.callspec.params["any_data"], offline, seed=1)
    assert alike(dict(getattr(again, "facts", {})), facts)


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


@pytest.mark.parametrize(("place", "mean", "std"), [(0, "mean", "std"), (-1, "target_mean", "target_std")])
def test_a_mean_and_a_std_among_its_facts_are_those_of_train(data, place, mean, std):
    """Of features (N, F) or targets (N,); numbers that the config gives may be rounded."""
    facts, train = getattr(data, "facts", {}), data.splits.train
    values = train[place] if isinstance(train, tuple) else None
    if not {mean, std} <= facts.keys() or values is None or not values.is_floating_point():
        pytest.skip("it has none")
    found = torch.as_tensor(facts[mean], dtype=torch.float64), torch.as_tensor(facts[std], dtype=torch.float64)
    values = values.double()
    if found[0].shape != values.shape[1:]:
        pytest.skip("they are of something else")
    spread = values.std(0)
    assert ((found[0] - values.mean(0)).abs() <= 2e-3 * spread).all()
    assert ((found[1] - spread).abs() <= 5e-3 * spread).all()

"""data=plain: data sets and loaders that know nothing of Kindling."""

import logging

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from bench.plain import Ragged, padded
from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.data.loader import OrderedLoader
from kindling.data.plain import PlainData
from kindling.errors import ConfigError, DataError
from kindling.train import train

SETTINGS = {"batch_size": 4, "num_workers": 0, "seed": 0}


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.arange(10.0)


class RaggedStream(IterableDataset):
    def __iter__(self):
        yield from (Ragged()[index] for index in range(4))


def data_of(**given) -> PlainData:
    data = PlainData(**SETTINGS | given)
    data.setup("fit")
    return data


ROWS = torch.arange(3)
LOADER = DataLoader(TensorDataset(torch.arange(10.0)), batch_size=5)


@pytest.mark.parametrize(
    "loader", [LOADER, [LOADER, LOADER], {"a": LOADER}, (LOADER, {"b": LOADER}), OrderedLoader(ROWS, batch_size=1)]
)
def test_a_loader_is_handed_on_as_it_is(loader):
    data = data_of(train=loader, val=loader, test=loader)
    assert data.train_dataloader() is loader
    assert data.val_dataloader() is loader
    assert data.test_dataloader() is loader
    assert data.fingerprint is None


@pytest.mark.parametrize(
    "examples", [TensorDataset(torch.arange(10.0)), (torch.arange(10.0),), {"x": torch.arange(10.0)}, list(range(10))]
)
def test_data_sets_and_tensors_get_a_loader_whose_order_can_be_resumed(examples):
    loader = data_of(train=examples).train_dataloader()
    assert isinstance(loader, OrderedLoader)
    assert len(list(loader)) == 2


def test_a_stream_is_put_into_batches():
    batches = list(data_of(train=Stream(), val=Stream()).train_dataloader())
    assert [batch.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_missing_splits_are_left_out_and_said_in_one_line_each(caplog):
    caplog.set_level(logging.INFO)
    data = data_of(train=torch.arange(10.0))
    assert data.val_dataloader() == data.test_dataloader() == []
    assert caplog.messages == [
        "data.val: null; nothing is validated",
        "data.test: null; nothing is tested",
        "data: 10 train examples",
    ]


def test_folds_cut_val_from_train(caplog):
    caplog.set_level(logging.INFO)
    data = data_of(train=torch.arange(10.0), fold=0)
    assert len(torch.cat(list(data.val_dataloader()))) == 2
    assert caplog.messages == ["data.test: null; nothing is tested", "data: 8 train, 2 val examples"]


@pytest.mark.parametrize("setting", [{"fold": 0}, {"balanced_sampling": True}])
@pytest.mark.parametrize("loader", [LOADER, Stream()])
def test_choosing_from_a_loader_is_refused_by_name(setting, loader):
    with pytest.raises(ConfigError, match=rf"data\.{next(iter(setting))}: given with a loader for data\.val, whose"):
        PlainData(**SETTINGS, train=torch.arange(9), val=loader, **setting)


def test_a_number_is_no_data():
    with pytest.raises(DataError, match=r"given int for a split; allowed: tensors of one length, or a data set with"):
        data_of(train=3)


def test_a_config_without_train_is_asked_for_it():
    with pytest.raises(ConfigError, match=r"data\.train"):
        train(compose(["data=plain"]))


PLAIN = ("task=plain", "task._target_=bench.plain.Regression", "model=none", "optimizer=none", "scheduler=none")
COLLATED = (*PLAIN, "data=plain", "data.train._target_=bench.plain.Ragged", "data.batch_size=4")


def test_examples_of_any_length_are_put_together_as_the_config_says():
    chosen = ["+data.collate_fn._target_=bench.plain.padded", "+data.collate_fn._partial_=true"]
    data = instantiate(compose([*COLLATED, *chosen, "+data.collate_fn.value=-1"]).data, "data")
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.shape[0] == 4
    assert set(batch[batch[:, 0] > 0].flatten().tolist()) > {-1.0}


def test_folds_and_streams_are_put_together_likewise_and_a_loader_keeps_its_own():
    loader = DataLoader(Ragged(), batch_size=3, collate_fn=len)
    data = data_of(train=Ragged(), val=loader, collate_fn=padded, fold=None)
    assert next(iter(data.train_dataloader())).ndim == 2
    assert list(data.val_dataloader()) == [3, 3, 3, 3]
    assert next(iter(data_of(train=Ragged(), fold=0, collate_fn=padded).val_dataloader())).ndim == 2

    assert next(iter(data_of(train=RaggedStream(), collate_fn=padded).train_dataloader())).shape == (4, 4)


@pytest.mark.parametrize("kind", [Ragged, RaggedStream])
def test_examples_that_do_not_fit_together_are_refused_with_what_puts_them_together(kind):
    message = r"data: given examples that cannot be put together \(stack expects.*\); allowed: .*data\.collate_fn"
    with pytest.raises(DataError, match=message):
        list(data_of(train=kind()).train_dataloader())


def test_a_collate_fn_that_nothing_would_call_is_refused():
    with pytest.raises(
        ConfigError, match=r"data\.collate_fn: given for tensors and loaders alone, which .*; allowed: null"
    ):
        PlainData(**SETTINGS, train=torch.arange(9), val=LOADER, collate_fn=padded)


def test_a_node_in_the_place_of_null_is_asked_for_its_plus():
    with pytest.raises(ConfigError) as error:
        compose([*COLLATED, "data.val._target_=bench.plain.Ragged"])
    said = "data.val._target_: given a key of data.val, which is null; allowed: a + before it; did you mean "
    assert str(error.value) == f"{said}+data.val._target_=bench.plain.Ragged?"


def test_a_function_that_would_be_called_at_once_is_refused_in_one_line():
    with pytest.raises(ConfigError) as error:
        compose([*COLLATED, "+data.collate_fn._target_=bench.plain.padded"])
    assert str(error.value).partition(" (")[0] == (
        "data.collate_fn._partial_: given false, which calls padded at once; allowed: true, as collate_fn is a function"
    )

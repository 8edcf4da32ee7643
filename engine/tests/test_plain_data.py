"""data=plain: data sets and loaders that know nothing of Kindling."""

import logging

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from kindling.cli.entry import compose
from kindling.data.loader import OrderedLoader
from kindling.data.plain import PlainData
from kindling.errors import ConfigError, DataError

SETTINGS = {"batch_size": 4, "num_workers": 0, "seed": 0}


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.arange(10.0)


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
    assert caplog.messages == ["data.val: null; nothing is validated", "data.test: null; nothing is tested"]


def test_folds_cut_val_from_train(caplog):
    caplog.set_level(logging.INFO)
    data = data_of(train=torch.arange(10.0), fold=0)
    assert len(torch.cat(list(data.val_dataloader()))) == 2
    assert caplog.messages == ["data.test: null; nothing is tested"]


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
        compose(["data=plain"])

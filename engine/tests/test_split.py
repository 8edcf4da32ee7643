"""What several processes share of a batch, and what of a step depends on it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kindling.config.check.tree import Fault
from kindling.config.processes import PER_PROCESS, batch_in_words, is_shared_out, processes_of
from kindling.config.rules.data_rules import processes_share_the_batch
from kindling.config.upgrade import FORMAT_OF_SHARED_BATCHES, upgrade
from kindling.data.loader import OrderedLoader
from kindling.data.plain import PlainData
from kindling.errors import ConfigError
from kindling.process import gpus
from kindling.training.split import layers, say_what_depends_on_the_split, weight_of_process
from kindling.training.sums import StepOutput

PLAIN = "kindling.data.plain.PlainData"


def config_of(size: int = 128, target: str = PLAIN, **trainer: Any) -> dict[str, Any]:
    data = {"_target_": target, "batch_size": size}
    return {"data": data, "trainer": {"accelerator": "cpu", "devices": 1, "num_nodes": 1} | trainer}


@pytest.mark.parametrize(
    ("trainer", "number"),
    [
        ({}, 1),
        ({"devices": 4}, 4),
        ({"devices": "3"}, 3),
        ({"devices": [0, 2], "accelerator": "gpu"}, 2),
        ({"devices": "0,1,", "accelerator": "gpu", "num_nodes": 3}, 6),
        ({"devices": "auto"}, 1),
        ({"devices": "auto", "accelerator": "gpu"}, 5),
        ({"devices": -1, "accelerator": "auto", "num_nodes": 2}, 10),
        ({"devices": "auto", "accelerator": "tpu"}, 5),
        ({"devices": None}, None),
        ({"devices": 0}, None),
    ],
)
def test_processes_are_counted_before_torch_is_loaded(monkeypatch, trainer, number):
    monkeypatch.setenv(gpus.VISIBLE, "0,1,2,3,4")
    assert processes_of(config_of(**trainer)) == number


def test_processes_on_gpus_of_another_machine_are_not_guessed(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "")
    assert processes_of(config_of(devices="auto", accelerator="gpu")) is None
    assert batch_in_words(config_of(devices="auto", accelerator="gpu")) == ""


def test_a_run_says_how_its_batch_is_shared():
    assert batch_in_words(config_of()) == ""
    assert batch_in_words(config_of(devices=2)) == "128 = 2 x 64"
    assert batch_in_words(config_of(devices=2, num_nodes=2)) == "128 = 4 x 32"
    assert batch_in_words(config_of(64, devices=2) | {PER_PROCESS: True}) == "128 = 2 x 64"
    foreign = "lightning.pytorch.demos.boring_classes.BoringDataModule"
    assert batch_in_words(config_of(target=foreign, devices=2)) == "", "its loaders take it as they like"


def test_data_of_the_engine_and_what_derives_from_it_shares_a_batch():
    assert is_shared_out(PLAIN)
    assert is_shared_out("kindling.images.fake.FakeImages")
    assert not is_shared_out("lightning.pytorch.LightningDataModule")
    assert not is_shared_out(None)


def told(**config: Any) -> list[str]:
    found: list[Fault] = list(processes_share_the_batch(config))
    return [str(each) for each in found]


def test_a_batch_that_the_processes_cannot_share_is_refused_before_torch_is_loaded():
    assert told(**config_of(127, devices=2)) == [
        "data.batch_size: given 127; allowed: a multiple of 2, as 2 processes share the batch of a step; "
        "did you mean data.batch_size=128?"
    ]
    assert "data.batch_size=4" in told(**config_of(1, devices=4))[0]
    assert told(**config_of(128, devices=2)) == told(**config_of(127)) == []
    assert told(**config_of(127, target="lightning.pytorch.LightningDataModule", devices=2)) == []
    assert told(**config_of(33, devices=2), resume="last") == [], "it may have been of each process"


def data_of(processes: int, size: int = 12, rank: int = 0) -> PlainData:
    data = PlainData(train=torch.arange(31), batch_size=size, num_workers=0, seed=3)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(world_size=processes, global_rank=rank, strategy=strategy, overfit_batches=0)  # pyright: ignore
    return data


def test_each_process_takes_its_share_of_a_batch():
    assert [data_of(number).own_batch_size for number in (1, 2, 3, 4)] == [12, 6, 4, 3]
    with pytest.raises(ConfigError, match="given 12; allowed: a multiple of 5, as 5 processes share the batch"):
        data_of(5).train_dataloader()


def test_a_run_that_began_with_a_batch_for_each_process_keeps_it():
    data = data_of(5)
    data.batch_size_is_per_process = True
    assert data.train_dataloader().batch_size == 12


def batches_of(processes: int) -> list[list[int]]:
    """What each step trains on, by all processes together."""
    ranks = [list(data_of(processes, rank=rank).train_dataloader()) for rank in range(processes)]
    return [sorted(torch.cat(parts).tolist()) for parts in zip(*ranks, strict=True)]


@pytest.mark.parametrize("processes", [2, 3, 4, 6])
def test_any_number_of_processes_trains_on_the_same_batches(processes, monkeypatch):
    alone = batches_of(1)
    assert len(alone) == 2
    assert batches_of(processes) == alone
    monkeypatch.setattr(OrderedLoader, "_share", lambda self, *parts: tuple(p[:: self.world_size] for p in parts))
    assert batches_of(processes) != alone, "each takes the share of the first"


@pytest.mark.parametrize(("was", "marked"), [({}, False), ({"devices": 2}, True), ({"num_nodes": 2}, True)])
def test_an_older_run_of_several_processes_is_known_to_have_a_batch_for_each(was, marked):
    old = config_of(**was)
    assert upgrade(old, FORMAT_OF_SHARED_BATCHES - 1) == old | ({PER_PROCESS: True} if marked else {})
    assert upgrade(old, FORMAT_OF_SHARED_BATCHES) == old


def test_layers_that_look_at_more_than_one_example_or_draw_are_named():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.GroupNorm(1, 2), nn.Dropout(0.1), nn.Dropout(0.2), nn.Dropout(0))
    assert list(layers(net)) == ["batch norm (0)", "dropout (2 and 1 more)"]
    assert list(layers(nn.Sequential(nn.SyncBatchNorm(2), nn.LayerNorm(2), nn.Linear(2, 2)))) == []
    assert list(layers(nn.ModuleDict({"a": nn.MultiheadAttention(2, 1, dropout=0.1)}))) == [
        "dropout of MultiheadAttention (a)"
    ]


def trainer_of(processes: int, loader: Any = ()) -> Any:
    return SimpleNamespace(world_size=processes, train_dataloader=loader, datamodule=None)


def test_what_depends_on_the_number_of_processes_is_said_once(caplog):
    caplog.set_level("INFO")
    net: Any = nn.Sequential(nn.Dropout(0.5))
    net.mix = object()
    say_what_depends_on_the_split(trainer_of(1), net)
    say_what_depends_on_the_split(trainer_of(2), nn.Sequential(nn.Linear(1, 1)))  # pyright: ignore
    assert caplog.text == ""
    say_what_depends_on_the_split(trainer_of(2), net)
    assert "2 processes: a step is not that of a single process" in caplog.text
    assert "as each has its own dropout (0), mix" in caplog.text


def test_a_loader_that_knows_nothing_of_processes_is_named(caplog):
    net: Any = nn.Linear(1, 1)
    say_what_depends_on_the_split(trainer_of(2, DataLoader(TensorDataset(torch.ones(4)))), net)
    assert "each of 2 processes trains on all that TensorDataset gives" in caplog.text


def test_losses_of_uneven_shares_count_by_their_examples():
    nums, losses = [3.0, 1.0], [2.0, 6.0]
    strategy = SimpleNamespace(reduce=lambda mine, reduce_op: torch.tensor(sum(nums)))
    trainer: Any = SimpleNamespace(world_size=2, num_training_batches=9, strategy=strategy)
    one = torch.tensor(1.0)
    weights = [float(weight_of_process(trainer, StepOutput(one, torch.tensor(num)))) for num in nums]
    mean = sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / 2
    assert mean == pytest.approx((3 * 2 + 1 * 6) / 4)
    assert weight_of_process(trainer, StepOutput(one, 3)) == 1.0, "other batches are alike"

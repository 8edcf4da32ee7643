"""Data modules of any data: what `read` may return, folds, facts, sampling, and what is refused."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import Dataset

from kindling.data.datamodule import DataModule
from kindling.data.examples import join, labels_of, take
from kindling.data.loader import OrderedLoader
from kindling.errors import ConfigError, DataError
from kindling.training.found import fill_in

SETTINGS = {"batch_size": 4, "num_workers": 0, "seed": 0}


def rows(first: int, last: int) -> tuple[Tensor, Tensor]:
    """Rows (N, 2) whose first number says which they are, and labels (N,)."""
    numbers = torch.arange(first, last)
    return torch.stack([numbers.float(), torch.ones(len(numbers))], 1), numbers % 3


class Rows(Dataset):
    """The same, one by one."""

    def __init__(self, first: int, last: int):
        self.x, self.targets = rows(first, last)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.targets[index]


class Table(DataModule):
    """30 rows to train on, 15 to validate on, 5 to test on."""

    def __init__(self, make=rows, **settings):
        super().__init__(**SETTINGS | settings)
        self.make = make

    def read(self):
        return {"train": self.make(0, 30), "val": self.make(30, 45), "test": self.make(45, 50)}

    @property
    def facts(self):
        return {"mean": self.splits.train[0].mean(0).tolist()}

    def augment(self, batch, generator):
        x, y = batch
        return x + torch.rand(x.shape, generator=generator), y + 10


class Plain(Table):
    augment = None  # pyright: ignore[reportAssignmentType]


class Given(Plain):
    """What it is given."""

    def __init__(self, splits, **settings):
        super().__init__(**settings)
        self.given = splits

    def read(self):
        return self.given


def numbers_of(loader) -> list[int]:
    return torch.cat([x[:, 0] for x, _ in loader]).int().tolist()


@pytest.mark.parametrize("make", [rows, Rows], ids=["tensors", "data sets"])
def test_each_loader_reads_its_own_split(make):
    data = Plain(make)
    data.setup("fit")
    assert sorted(numbers_of(data.val_dataloader())) == list(range(30, 45))
    assert numbers_of(data.test_dataloader()) == list(range(45, 50))
    trained = numbers_of(data.train_dataloader())
    assert len(trained) == 28
    assert set(trained) < set(range(30))
    assert trained != sorted(trained)


def test_training_batches_alone_are_augmented():
    data = Table()
    assert all(labels.min() >= 10 for _, labels in data.train_dataloader())
    assert all(labels.max() < 3 for loader in (data.val_dataloader(), data.test_dataloader()) for _, labels in loader)


def test_overfitting_shows_the_same_examples_as_they_are():
    data = Table()
    data.trainer = SimpleNamespace(
        overfit_batches=2, strategy=SimpleNamespace(root_device=torch.device("cpu")), global_rank=0, world_size=1
    )  # pyright: ignore[reportAttributeAccessIssue]
    assert numbers_of(data.train_dataloader()) == list(range(28))


def test_facts_are_those_of_the_training_split():
    assert Table().facts == {"mean": [14.5, 1.0]}
    assert DataModule(**SETTINGS).facts == {}


@pytest.mark.parametrize("make", [rows, Rows], ids=["tensors", "data sets"])
def test_folds_are_disjoint_cover_train_and_val_and_share_out_each_class(make):
    held = []
    for fold in range(5):
        data = Plain(make, fold=fold)
        validated = numbers_of(data.val_dataloader())
        assert len(validated) == 9
        assert len(set(torch.cat([labels for _, labels in data.val_dataloader()]).bincount().tolist())) == 1
        assert len(data.splits.train if make is Rows else data.splits.train[0]) == 36
        assert not set(numbers_of(data.train_dataloader())) & set(validated)
        assert numbers_of(data.test_dataloader()) == list(range(45, 50))
        held += validated
    assert sorted(held) == list(range(45))


def test_folds_need_no_labels():
    held = []
    for fold in range(2):
        data = Given({"train": torch.arange(7.0), "val": torch.arange(7.0, 11)}, fold=fold, num_folds=2)
        held += torch.cat(list(data.val_dataloader())).tolist()
    assert sorted(held) == list(range(11))


def test_folds_of_tensors_by_name_keep_rows_together():
    splits = {name: {"x": torch.arange(n), "labels": torch.arange(n) % 3} for name, n in (("train", 30), ("val", 6))}
    for batch in Given(splits, fold=1, batch_size=100).val_dataloader():
        assert torch.equal(batch["x"] % 3, batch["labels"])
        assert len(set(batch["labels"].bincount().tolist())) <= 2


@pytest.mark.parametrize("make", [rows, Rows], ids=["tensors", "data sets"])
@pytest.mark.parametrize("fold", [None, 0])
def test_balanced_sampling_shows_rare_classes_as_often(make, fold):
    def rare(first: int, last: int):
        made = make(first, last)
        labels = made.targets if make is Rows else made[1]
        labels.copy_((torch.arange(first, last) % 10 == 0).long())
        return made

    data = Plain(rare, balanced_sampling=True, fold=fold)
    data.setup("fit")
    loader, shown = data.train_dataloader(), []
    for epoch in range(30):
        loader.order.set_epoch(epoch)
        shown += [labels for _, labels in loader]
    assert torch.cat(shown).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert len(numbers_of(data.val_dataloader())) == (15 if fold is None else 9)


@pytest.mark.parametrize("targets", [torch.rand(8), torch.zeros(8, 5, dtype=torch.int64)])
def test_balanced_sampling_without_labels_is_refused_by_name(targets):
    data = Given({"train": (torch.rand(8, 2), targets)}, balanced_sampling=True)
    with pytest.raises(ConfigError, match=r"data\.balanced_sampling: given true for Given, whose examples have no"):
        data.setup("fit")


def test_an_empty_split_is_refused_by_name():
    with pytest.raises(DataError, match=r"the val split is empty; allowed: at least one example; add some"):
        Given({"train": rows(0, 9), "val": rows(0, 0)}).setup("fit")


def test_tensors_of_different_lengths_are_refused_before_training():
    with pytest.raises(DataError, match=r"different lengths, 9 in \[0\], 8 in \[1\]; allowed: one length"):
        Given({"train": (torch.zeros(9), torch.zeros(8))}).setup("fit")


def test_a_split_of_another_name_is_refused():
    with pytest.raises(DataError, match=r"named \['train', 'valid'\] by Given\.read; allowed: train, val, test"):
        Given({"train": rows(0, 9), "valid": rows(0, 9)}).setup("fit")


@pytest.mark.parametrize(("split", "can_count_none"), [("val", False), ("test", False), ("train", True)])
def test_a_split_smaller_than_the_number_of_processes_is_refused(split, can_count_none):
    data = of_three_processes({"train": rows(0, 9), split: rows(0, 2)}, can_count_none=can_count_none)
    with pytest.raises(DataError, match=rf"the {split} split has 2 examples for 3 processes; allowed: one for each"):
        data.setup("fit")


def test_a_task_may_evaluate_fewer_examples_than_there_are_processes():
    data = of_three_processes({"train": rows(0, 9), "val": rows(0, 2), "test": rows(0, 1)}, can_count_none=True)
    data.setup("fit")
    for loader, num_own in ((data.val_dataloader(), 0), (data.test_dataloader(), 0), (data.train_dataloader(), 1)):
        assert (len(list(loader)), loader.num_own) == (1, num_own)


def of_three_processes(splits, *, can_count_none):
    """The data module of the third of them."""
    data, module = Given(splits, batch_size=9), SimpleNamespace(can_count_none=can_count_none, leaves_out_repeated=True)
    processes = {"world_size": 3, "num_devices": 1, "global_rank": 2}
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(strategy=strategy, lightning_module=module, **processes)  # pyright: ignore[reportAttributeAccessIssue]
    return data


def test_the_fingerprint_changes_with_one_value_and_not_with_the_seed():
    assert Plain().fingerprint == Plain(seed=1).fingerprint
    changed = Plain()
    changed.splits.test[0][0, 0] += 1
    assert changed.fingerprint != Plain().fingerprint


def test_the_fingerprint_of_a_data_set_is_its_own_or_none():
    assert Plain(Rows).fingerprint is None
    marked = []
    for mark in ("a", "b"):
        data = Plain(Rows)
        for split in data.present().values():
            split.fingerprint = mark
        marked.append(data.fingerprint)
    assert None not in marked
    assert marked[0] != marked[1]


def test_labels_of_true_and_false_are_kinds_as_well():
    splits = {"train": (torch.arange(20.0), torch.arange(20) < 4)}
    (batch,) = Given(splits, fold=0, num_folds=4, batch_size=100).val_dataloader()
    assert int(batch[1].sum()) == 1


class Counting(LightningModule):
    """Sees which rows it validates."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.seen = torch.zeros(50)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.net(batch[0])
        self.seen[batch[0][:, 0].long()] += 1

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def trainer_of(**settings) -> Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(accelerator="cpu", num_sanity_val_steps=0, max_epochs=1, **quiet, **settings)


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
def test_splits_that_are_not_there_are_left_out_of_training_and_of_tests():
    model, data = Counting(), Given({"train": rows(0, 9)})
    trainer = trainer_of()
    trainer.fit(model, data)
    assert trainer.global_step == 2
    assert trainer.test(model, data, verbose=False) == []
    assert model.seen.sum() == 0


class CountingTogether(Counting):
    """Checks in each process what all of them have validated."""

    def on_validation_epoch_end(self):
        seen = self.trainer.strategy.reduce(self.seen, reduce_op="sum")
        assert self.trainer.world_size == 2
        assert seen.tolist() == [0.0] * 30 + [1.0] * 15 + [0.0] * 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*fork")
@pytest.mark.parametrize("batch_size", [2, 4, 8])
def test_two_processes_validate_each_row_once(batch_size):
    model = CountingTogether()
    if batch_size == 2:
        model.net = model.net[0]
    trainer_of(strategy="ddp_fork", devices=2).fit(model, Plain(batch_size=batch_size))


def test_labels_are_one_for_each_example_or_none():
    class Named(Rows):
        labels = (0, 1, 2)

    assert labels_of(Named(0, 6)) is None


def test_tensors_in_a_named_tuple_keep_their_names():
    class Pair(NamedTuple):
        inputs: Tensor
        targets: Tensor

    pair = Pair(torch.arange(4), torch.arange(4))
    assert next(iter(OrderedLoader(pair, batch_size=2))).targets.tolist() == [0, 1]
    assert take(join(pair, pair), torch.tensor([5])).inputs.tolist() == [1]


@pytest.mark.parametrize("value", [torch.tensor(2.0), np.float32(2), 2.0])
def test_a_setting_is_found_as_a_number_whatever_kind_the_fact_is(value):
    cfg = OmegaConf.create({"data": {"scale": None}, "model": {"scale": "${data.scale}"}})
    data = SimpleNamespace(prepare_data=lambda: None, facts={"scale": value})
    _, config, keys = fill_in(cfg, {"data": {"scale": None}, "model": {"scale": None}}, data)
    assert config["model"] == {"scale": 2.0}
    assert keys == ["data.scale", "model.scale"]

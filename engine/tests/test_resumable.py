"""Foreign loaders in plain Lightning with a ResumeCheckpoint: a resumed run ends with the bits of one never killed."""

import random
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, WeightedRandomSampler

from kindling.checkpoints import resume_files
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint, passed
from kindling.data.batch_digest import digest, sample
from kindling.data.resumable import Resumable, make_resumable
from kindling.errors import ConfigError
from kindling.lightning_internals.dataloaders import training_loaders
from long_run import some

# Lightning's advice about workers, and torch's about what Lightning calls.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:lightning", "ignore:.*LeafSpec", "ignore:.*fork.*:DeprecationWarning"
)

NUM_EPOCHS = 3
SILENT: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level("INFO", "kindling")


class Noisy(Dataset):
    """Items that each of the three generators changes."""

    def __init__(self, num: int):
        self.numbers = torch.arange(float(num))[:, None]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Tensor:
        return self.numbers[index] / 10 + torch.rand(1) + random.random() + np.random.rand()  # noqa: NPY002


class Stream(IterableDataset):
    """As many random items as it is told; of no length, unless it has one."""

    def __init__(self, num: int):
        self.num = num

    def __iter__(self) -> Any:
        return (torch.rand(1) + index for index in range(self.num))


class Batches:
    """An iterable that is no DataLoader."""

    def __iter__(self) -> Any:
        return (torch.rand(2, 1) + index for index in range(6))


class Drifting(Dataset):
    """Gives other items each time that it is asked, which no seed can mend."""

    asked = 0

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Tensor:
        Drifting.asked += 1
        return torch.tensor([float(Drifting.asked)])


LIMITS = ("limit_train_batches", "max_steps", "reload_dataloaders_every_n_epochs")


class Module(LightningModule):
    """A plain module that takes batches of any shape: the sum of all that is in them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1)
        self.batches: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        found = [each for each in torch.utils._pytree.tree_leaves(batch) if each is not None]
        self.batches.append([self.current_epoch, *(each.sum().item() for each in found)])
        return self.layer(torch.cat(found)).square().mean() + torch.rand(())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class OneCycle(Module):
    """Asks for the total steps, and so for the loader before anything is restored."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.1, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class StoppedError(Exception):
    """Ends a run."""


class Engine(Callback):
    """What the engine adds to a run; ends it at a batch."""

    def __init__(self, stop_at: tuple[int, int] | None = None):
        self.stop_at = stop_at

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        make_resumable(trainer, seed=7)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.stop_at:
            raise StoppedError


def saver(folder: Path, **settings: Any) -> ResumeCheckpoint:
    given = {"every_n_steps": 1, "every_minutes": None, "keep": 3, "max_time": None, "strict": False}
    return ResumeCheckpoint(folder=str(folder), **given | settings)


def fit(folder: Path, module: Module, loaders: Any, stop_at: Any = None, ckpt: Any = None, **settings: Any) -> Trainer:
    limits = {key: settings.pop(key) for key in [*settings] if key in LIMITS}
    callbacks = [saver(folder, **settings), Engine(stop_at)]
    trainer = Trainer(**SILENT | {"max_epochs": NUM_EPOCHS, "callbacks": callbacks} | limits)
    trainer.fit(module, loaders, ckpt_path=ckpt, weights_only=True)
    return trainer


def resumed(folder: Path, make: Any, stop_at: tuple[int, int], kind: type[Module] = Module, **settings: Any) -> Module:
    """A module whose run was killed after a batch, and went on in another process's state."""
    with pytest.raises(StoppedError):
        fit(folder, kind(), make(), stop_at, **settings)
    module = kind()
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(99)
    fit(folder, module, make(), ckpt=resume_files.newest_first(folder)[0], **settings)
    return module


def whole(folder: Path, make: Any, kind: type[Module] = Module, **settings: Any) -> Module:
    module = kind()
    fit(folder, module, make(), **settings)
    return module


def shuffled(**settings: Any) -> DataLoader:
    return DataLoader(Noisy(13), batch_size=2, shuffle=True, **settings)


LOADERS = {
    "shuffled": shuffled,
    "own generator": lambda: shuffled(generator=torch.Generator().manual_seed(3)),
    "weights": lambda: DataLoader(Noisy(12), batch_size=2, sampler=WeightedRandomSampler([1.0] * 12, 12)),
    "stream": lambda: DataLoader(Stream(12), batch_size=2),
    "iterable": lambda: Batches(),
    "dict": lambda: {"a": DataLoader(Noisy(14), batch_size=2, shuffle=True), "b": shuffled(drop_last=True)},
    "cycle": lambda: [shuffled(), DataLoader(Noisy(5), batch_size=2, shuffle=True)],
    "cycle of streams": lambda: [DataLoader(Stream(12), batch_size=2), DataLoader(Stream(5), batch_size=2)],
    "max_size": lambda: CombinedLoader([shuffled(), DataLoader(Noisy(4), batch_size=2, shuffle=True)], "max_size"),
    "min_size": lambda: CombinedLoader([shuffled(), DataLoader(Noisy(8), batch_size=2, shuffle=True)], "min_size"),
}
PLACES = [(0, 2), (1, 0), (1, 3), (1, 4), (1, 5), (2, 1)]


@pytest.mark.parametrize("name", some(LOADERS, "stream"))
def test_a_loader_of_any_kind_goes_on_in_the_middle_of_an_epoch_to_the_same_bits(name, tmp_path, caplog):
    make = LOADERS[name]
    expected = whole(tmp_path / "whole", make)
    for place in PLACES:
        if name == "min_size" and place[1] > 3:
            continue
        found = resumed(tmp_path / str(place), make, place)
        rest = [each for each in expected.batches if each in found.batches]
        assert found.batches == rest == expected.batches[-len(rest) :]
        assert torch.equal(found.layer.weight, expected.layer.weight), place
    assert "does not give the same batches" not in caplog.text


@pytest.mark.parametrize("reload", [0, 1])
@pytest.mark.parametrize("name", ["shuffled", "stream", "cycle of streams"])
def test_a_schedule_that_asks_for_total_steps_changes_nothing(name, reload, tmp_path):
    limits = {"limit_train_batches": 6, "max_steps": 18, "reload_dataloaders_every_n_epochs": reload}
    expected = whole(tmp_path / "whole", LOADERS[name], OneCycle, **limits)
    found = resumed(tmp_path, LOADERS[name], (1, 3), OneCycle, **limits)
    assert torch.equal(found.layer.weight, expected.layer.weight)


@pytest.mark.slow
@pytest.mark.parametrize("persistent", some([False, True], True))
def test_workers_and_what_they_draw_follow(persistent, tmp_path):
    def make():
        return shuffled(num_workers=2, persistent_workers=persistent)

    expected = whole(tmp_path / "whole", make)
    assert len({tuple(each) for each in expected.batches}) == len(expected.batches)
    assert torch.equal(resumed(tmp_path, make, (1, 2)).layer.weight, expected.layer.weight)


def test_a_loader_that_cannot_give_its_batches_again_is_told_of_once_or_refused(tmp_path, caplog):
    def make():
        return DataLoader(Drifting(), batch_size=2)

    resumed(tmp_path, make, (1, 3))
    assert caplog.text.count("the loader of Drifting does not give the same batches again") == 1
    assert "the first 3 batches of epoch 1 are drawn again" in caplog.text
    ckpt = resume_files.newest_first(tmp_path)[-1]
    with pytest.raises(ConfigError, match="resume: given resume_strict=true, but the loader of Drifting does not give"):
        fit(tmp_path, Module(), make(), ckpt=ckpt, strict=True)


def test_a_loader_that_drifts_from_epoch_to_epoch_is_told_of_at_the_start_of_one(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(Drifting, "asked", 0)
    with pytest.raises(StoppedError):
        fit(tmp_path, Module(), DataLoader(Drifting(), batch_size=6), (0, 1))
    with pytest.raises(StoppedError):
        fit(tmp_path, Module(), DataLoader(Drifting(), batch_size=6), (1, 0))
    ckpt = resume_files.newest_first(tmp_path)[0]
    monkeypatch.setattr(Drifting, "asked", 0)
    fit(tmp_path, Module(), DataLoader(Drifting(), batch_size=6), ckpt=ckpt)
    assert caplog.text.count("does not give the same batches again") == 1


class WithOwnState(DataLoader):
    """As torchdata's: its state, when a step begins, is a batch ahead of the step."""

    def __init__(self):
        super().__init__(Noisy(12), batch_size=2, shuffle=True)
        self.fetched = 0

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            self.fetched += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"fetched": self.fetched}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise AssertionError("a state that is a batch ahead is not taken")


def test_the_state_of_a_loader_of_another_contract_is_not_relied_on(tmp_path):
    expected = whole(tmp_path / "whole", WithOwnState)
    assert torch.equal(resumed(tmp_path, WithOwnState, (1, 3)).layer.weight, expected.layer.weight)


def test_a_resumable_shows_its_loader_and_has_a_length_only_if_that_has_one():
    loader = shuffled()
    resumable = Resumable(loader, 1)
    assert (resumable.batch_size, resumable.dataset, len(resumable)) == (2, loader.dataset, 7)
    resumable.worker_init_fn = print
    assert loader.worker_init_fn is print
    with pytest.raises(TypeError):
        len(Resumable(DataLoader(Stream(3)), 1))
    with pytest.raises(AttributeError):
        _ = resumable.missing


def test_batches_are_a_function_of_seed_and_epoch():
    def batches(seed: int, epoch: int) -> Tensor:
        return torch.cat(list(Resumable(shuffled(), seed, epoch=lambda: epoch)))

    assert torch.equal(batches(1, 2), batches(1, 2))
    assert not torch.equal(batches(1, 2), batches(2, 1))
    assert not torch.equal(batches(1, 2), batches(1, 3))


def test_a_loader_that_begins_anew_within_an_epoch_gives_another_order():
    loader = Resumable(DataLoader(torch.arange(20), shuffle=True), 1)
    assert list(loader) != list(loader)


def test_a_sampler_of_ones_own_is_told_the_epoch_before_a_batch_is_fetched():
    def order(epoch: int) -> list[Tensor]:
        sampler = DistributedSampler(range(20), num_replicas=2, rank=0)
        return list(Resumable(DataLoader(range(20), sampler=sampler), 1, epoch=lambda: epoch))

    assert order(3) != order(4)
    assert order(3) == order(3)


class OfTheContract(DataLoader):
    """Goes on by itself, as the engine's own loaders do."""

    batches_done = 0

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": 0, "batches_done": 0}


def test_each_loader_has_its_own_seed_and_one_of_the_contract_is_left_alone(tmp_path):
    own = OfTheContract(torch.rand(20, 1))
    twice = [DataLoader(torch.arange(20.0)[:, None], shuffle=True) for _ in range(2)]
    module = Module()
    trainer = fit(tmp_path, module, [own, *twice], limit_train_batches=5, max_steps=5)
    assert [type(each) for each in training_loaders(trainer)] == [OfTheContract, Resumable, Resumable]
    assert [each[2] for each in module.batches] != [each[3] for each in module.batches]


def test_a_seed_that_a_loader_was_given_still_counts():
    def batches(own: int) -> Tensor:
        loader = DataLoader(torch.arange(20), shuffle=True, generator=torch.Generator().manual_seed(own))
        return torch.cat(list(Resumable(loader, 1)))

    assert torch.equal(batches(5), batches(5))
    assert not torch.equal(batches(5), batches(6))


def test_a_digest_sees_numbers_shapes_and_words_wherever_they_lie():
    batch = {"x": [torch.zeros(3, 500), np.arange(4)], "name": ("a", 1, None), "empty": torch.zeros(0)}
    first = digest(sample(batch))
    assert first == digest(sample({**batch}))
    others = [
        {**batch, "x": [torch.ones(3, 500), np.arange(4)]},
        {**batch, "x": [torch.zeros(500, 3), np.arange(4)]},
        {**batch, "x": [torch.zeros(3, 500), np.arange(4) * 2]},
        {**batch, "name": ("a", 2, None)},
        {**batch, "x": [torch.zeros(3, 500, dtype=torch.bfloat16), np.arange(4)]},
    ]
    assert len({first, *(digest(sample(other)) for other in others)}) == 6


def test_a_digest_is_of_the_batch_as_it_came():
    batch = torch.zeros(4)
    taken = sample(batch)
    batch += 1
    assert digest(taken) == digest(sample(torch.zeros(4)))


# What ResumeCheckpoint restores of any module


@pytest.mark.parametrize(("before", "now", "due"), [(-1, 0, False), (-1, 49, False), (-1, 50, True), (49, 51, True)])
def test_a_checkpoint_is_due_once_a_multiple_has_been_passed(before, now, due):
    assert passed(50, before, now) is due
    assert not passed(50, now, now)


def test_a_loader_that_nothing_made_resumable_is_saved_at_each_passed_multiple_where_an_epoch_begins(tmp_path):
    callbacks = [saver(tmp_path, every_n_steps=10, keep=9)]
    trainer = Trainer(**SILENT | {"max_epochs": 4, "callbacks": callbacks})
    trainer.fit(Module(), DataLoader(Noisy(9)))
    assert [int(file.stem[5:]) for file in resume_files.newest_first(tmp_path)] == [36, 27, 18]
    trainer = Trainer(**SILENT | {"max_epochs": 5, "callbacks": [saver(tmp_path)]})
    trainer.fit(Module(), DataLoader(Noisy(9)), ckpt_path=resume_files.newest_first(tmp_path)[1], weights_only=True)
    assert trainer.global_step == 45


def test_a_loader_that_is_resumed_remembers_the_batches_before():
    whole, resumed = Resumable(range(5), 0), Resumable(range(5), 0)
    batches = iter(whole)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    resumed.load_state_dict(whole.state_dict())
    assert next(iter(resumed)) == next(batches) == 3
    assert resumed.state_dict() == whole.state_dict()


class Manual(Module):
    """Two optimizers; one steps with each batch, the other with each third."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.other = nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, second = cast(list[Any], self.optimizers())
        loss = (self.layer(batch) + self.other(batch)).square().mean()
        self.manual_backward(loss)
        first.step()
        first.zero_grad()
        if (self.current_epoch * 7 + batch_idx) % 3 == 2:
            second.step()
            second.zero_grad()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(each.parameters(), lr=0.001) for each in (self.layer, self.other)]


@pytest.mark.parametrize("place", [(0, 3), (1, 4), (1, 6)])
def test_gradients_that_a_manual_optimization_accumulates_survive(place, tmp_path):
    expected = whole(tmp_path / "whole", shuffled, Manual)
    assert torch.equal(resumed(tmp_path, shuffled, place, Manual).other.weight, expected.other.weight)


def test_checkpoints_are_taken_though_two_optimizers_step_over_the_multiple(tmp_path):
    class Both(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer in cast(list[Any], self.optimizers()):
                self.manual_backward((self.layer(batch) + self.other(batch)).square().mean())
                optimizer.step()
                optimizer.zero_grad()

    whole(tmp_path, shuffled, Both, every_n_steps=5, keep=20)
    steps = [int(file.stem[5:]) for file in resume_files.newest_first(tmp_path)]
    assert steps == [42, 40, 36, 30, 26, 20, 16, 10, 6]


class Freezes(Module):
    """Freezes and unfreezes as its epochs begin, which no resumed epoch does again."""

    def __init__(self):
        super().__init__()
        self.body, self.drop = nn.Linear(1, 1), nn.Dropout(0.5)

    def on_train_epoch_start(self) -> None:
        self.body.requires_grad_(self.current_epoch != 1)
        self.drop.train(self.current_epoch != 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(self.drop(self.body(batch)), batch_idx)


def test_what_is_frozen_or_in_eval_mode_stays_so_in_a_resumed_epoch(tmp_path):
    expected = whole(tmp_path / "whole", shuffled, Freezes)
    found = resumed(tmp_path, shuffled, (1, 3), Freezes)
    assert torch.equal(found.body.weight, expected.body.weight)
    assert torch.equal(found.layer.weight, expected.layer.weight)


class Counting(Module):
    """Counts in plain attributes of several kinds."""

    def __init__(self):
        super().__init__()
        self.rate, self.hidden, self.losses, self.never = 1.0, None, [], 3
        self.layer.seen = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.rate *= 0.9
        self.layer.seen += 1
        self.hidden = (batch,)
        self.losses.append(batch.mean())
        return self.layer(batch).square().mean()


class SavesItself(Counting):
    def on_save_checkpoint(self, checkpoint: Any) -> None:
        checkpoint["rate"] = self.rate


@pytest.mark.parametrize("kind", [Counting, SavesItself, Freezes])
def test_plain_attributes_that_changed_are_named_in_one_line_unless_the_module_saves_itself(kind, tmp_path, caplog):
    resumed(tmp_path, shuffled, (1, 3), kind)
    lines = [line for line in caplog.messages if "in plain attributes" in line]
    names = "batches" if kind is Freezes else "hidden, layer.seen, losses, rate"
    text = f"warning: resume: {kind.__name__} keeps {names} in plain attributes, which no checkpoint holds; "
    assert lines == ([] if kind is SavesItself else [text + "use register_buffer or on_save_checkpoint"])


def test_an_attribute_that_only_changed_before_a_resume_is_named_by_the_next_one_too(tmp_path, caplog):
    class Once(Module):
        found = 0

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            if self.current_epoch == 0:
                self.found = 5
            return self.layer(batch).square().mean()

    resumed(tmp_path, shuffled, (1, 3), Once)
    caplog.clear()
    fit(tmp_path, Once(), shuffled(), ckpt=resume_files.newest_first(tmp_path)[1])
    assert "Once keeps found in plain attributes" in caplog.text


HOOKS = (
    *("on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end", "on_train_epoch_end"),
    *("on_before_backward", "on_after_backward", "on_before_zero_grad", "on_before_optimizer_step"),
    *("on_validation_start", "on_validation_epoch_start", "on_validation_batch_start", "on_validation_batch_end"),
    *("on_validation_epoch_end", "on_validation_end", "training_step", "validation_step"),
)
WITHOUT_LOG = ("on_validation_end",)


class LogsEverywhere(Module):
    """Logs a random number from each hook, and one from some batches alone."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.layer(batch)


def logging_hook(name: str) -> Any:
    def hook(self: Any, *arguments: Any) -> Any:
        found = getattr(Module, name, lambda *_: None)(self, *arguments)
        if name not in WITHOUT_LOG:
            self.log(f"{name}/mean", torch.rand(()))
            self.log(f"{name}/sum", torch.rand(()), on_step=False, on_epoch=True, reduce_fx=torch.sum)
        if name == "training_step" and arguments[1] % 3 == 0:
            self.log("seldom", torch.rand(()), on_step=False, on_epoch=True, reduce_fx="max")
        return found

    return hook


for name in HOOKS:
    setattr(LogsEverywhere, name, logging_hook(name))


class Rows(Callback):
    """Reseeds as the engine does, and keeps what each epoch logs."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(100 * trainer.current_epoch + batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.rows.append({name: value.item() for name, value in trainer.callback_metrics.items()})

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        torch.manual_seed(trainer.current_epoch)
        self.on_train_end(trainer, pl_module)


@pytest.mark.parametrize("places", some([[(0, 3)], [(1, 1)], [(1, 4)], [(1, 2), (1, 4)], [(0, 6)]], [(1, 2), (1, 4)]))
def test_what_any_hook_logs_is_the_same_after_a_resume(places, tmp_path):
    def run(place: Any, ckpt: Any) -> list[Any]:
        rows = Rows()
        callbacks = [saver(tmp_path / str(places)), rows, Engine(place)]
        trainer = Trainer(**SILENT | {"max_epochs": 3, "callbacks": callbacks})
        with suppress(StoppedError):
            trainer.fit(LogsEverywhere(), shuffled(), DataLoader(Noisy(3)), ckpt_path=ckpt, weights_only=True)
        return rows.rows

    expected = run(None, None)
    for file in resume_files.newest_first(tmp_path / str(places)):
        file.unlink()
    found = run(places[0], None)
    for place in [*places[1:], None]:
        found = run(place, resume_files.newest_first(tmp_path / str(places))[0])
    assert found == expected[-len(found) :]
    assert len(found) == 3 - places[0][0]

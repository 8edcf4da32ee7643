"""Which layers move, and when."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from kindling.callbacks.finetuning import Finetuning
from kindling.config.composition import instantiate
from kindling.errors import ConfigError
from kindling.testing.runs import same_weights
from kindling.training.optimization import layer_numbers

LAYERS = 4  # of the CNN
PLAIN = ["callbacks=finetune", "optimizer=sgd", "optimizer.lr=0.05", "scheduler=constant", "data.num_images=32"]


def moved(epochs: list[dict[str, torch.Tensor]], numbers: dict[str, int]) -> list[set[int]]:
    """The layers that move in each epoch after the first."""
    return [{numbers[n] for n in numbers if not torch.equal(before[n], now[n])} for before, now in pairwise(epochs)]


@pytest.fixture
def numbers(config) -> dict[str, int]:
    return {f"net.{name}": number for name, number in layer_numbers(instantiate(config().model, "model")).items()}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param(["head_epochs=3"], [{3}, {3}, {0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3}], marks=pytest.mark.slow),
        pytest.param(["head_epochs=null"], [{3}] * 5, marks=pytest.mark.slow),
        (["head_epochs=2", "epochs_per_layer=1"], [{3}, {2, 3}, {1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3}]),
        pytest.param(
            ["head_epochs=1", "epochs_per_layer=2"],
            [{2, 3}, {2, 3}, {1, 2, 3}, {1, 2, 3}, {0, 1, 2, 3}],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_layers_thaw_from_the_last_back(train_run, weights_after, numbers, settings, expected):
    epochs = weights_after("on_train_epoch_end")
    train_run(*PLAIN, "trainer.max_epochs=6", *(f"callbacks.finetuning.{each}" for each in settings))
    assert moved(epochs, numbers) == expected


def test_a_frozen_layer_neither_decays_nor_counts_its_batches(train_run):
    settings = ["optimizer.weight_decay=0.5", "callbacks.finetuning.head_epochs=null"]
    still = train_run(*PLAIN, "optimizer.lr=0", *settings).weights()
    run = train_run(*PLAIN, *settings).weights()
    changed = {name for name in run if not torch.equal(run[name], still[name])}
    assert changed == {"net.head.1.weight", "net.head.1.bias"}
    assert run["net.stages.0.2.num_batches_tracked"] == 0


def test_a_thawed_batch_norm_counts_again(train_run):
    run = train_run(*PLAIN, "callbacks.finetuning.head_epochs=1", "trainer.max_epochs=3", "data.batch_size=16")
    assert run.weights()["net.stages.0.2.num_batches_tracked"] == 4


@pytest.mark.slow
def test_a_run_killed_while_frozen_goes_on_with_the_same_bits(train_run, monkeypatch):
    settings = [*PLAIN, "optimizer=adamw", "callbacks.finetuning.head_epochs=1", "data.batch_size=8"]
    settings += ["callbacks.resume_checkpoint.every_n_steps=1", "trainer.max_epochs=3"]
    expected = train_run(*settings).weights()
    for step in (2, 6):
        with monkeypatch.context() as patched:

            def die(self, trainer, *_, step=step):
                if trainer.global_step == step:
                    raise RuntimeError("killed")

            patched.setattr(Finetuning, "on_train_batch_end", die, raising=False)
            with pytest.raises(RuntimeError, match="killed"):
                train_run(*settings)
        assert same_weights(train_run(*settings, "resume=last").weights(), expected)


def test_a_run_that_starts_within_an_epoch_trains_the_layers_of_that_epoch():
    net: Any = nn.Sequential(*(nn.Linear(1, 1) for _ in range(3)))
    net.automatic_optimization = True
    Finetuning(1, 1).on_train_start(SimpleNamespace(current_epoch=1, optimizers=[]), net)  # pyright: ignore[reportArgumentType]
    assert [each.requires_grad for each in net.parameters()] == [False] * 2 + [True] * 4


def test_several_processes_would_wait_for_each_other():
    unused, waiting = ({"find_unused_parameters": each} for each in (True, False))
    for settings in (waiting, {}):
        trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(_ddp_kwargs=settings))
        with pytest.raises(ConfigError, match=r"given 2 processes; allowed: one, or trainer.strategy=ddp_find_unused"):
            Finetuning(1, 0).setup(trainer, nn.Identity(), "fit")
    Finetuning(1, 0).setup(
        SimpleNamespace(world_size=2, strategy=SimpleNamespace(_ddp_kwargs=unused)), nn.Identity(), "fit"
    )


def test_weights_of_a_run_come_with_a_new_head_for_other_classes(train_run, caplog):
    origin = train_run("trainer.max_epochs=1")
    caplog.set_level("INFO")
    given = [f"weights={origin.folder}", "data.num_classes=7", "optimizer.lr=0"]
    run = train_run(*PLAIN, *given)
    assert "weights: the last layer is new" in caplog.text
    saved, before = run.weights(), origin.weights("best")
    assert saved["net.head.1.weight"].shape == (7, 64)
    assert all(torch.equal(saved[name], before[name]) for name in before if name.endswith("0.0.weight"))


def test_a_test_alone_takes_no_new_head(train_run):
    origin = train_run("trainer.max_epochs=1")
    with pytest.raises(ConfigError, match="a checkpoint of another model"):
        train_run("train=false", f"weights={origin.folder}", "data.num_classes=7")


def test_a_net_of_one_layer_has_nothing_to_thaw(train_run):
    with pytest.raises(ConfigError, match=r"callbacks\.finetuning: given MLP, all of one layer by the names"):
        train_run(*PLAIN, "model=mlp", "model.hidden=[]")

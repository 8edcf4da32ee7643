import pickle
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.optim.swa_utils import get_ema_avg_fn

from bench.tasks.classification import Classification
from kindling.callbacks.averages import EMA
from kindling.config.composition import instantiate
from kindling.errors import ConfigError
from kindling.testing.runs import same_weights
from test_wrong_tasks import fit, line

SMALL = ["callbacks=ema", "callbacks.ema.decay=0.9", "model=mlp", "model.dropout=0", "scheduler=constant"]
LATE = "callbacks.ema.update_starting_at_step=999"


def test_the_average_is_that_of_a_loop_by_hand(train_run, weights_after):
    weights = weights_after("optimizer_step")
    run = train_run(*SMALL, "trainer.max_epochs=1")
    average = weights[0]  # the first step starts it
    for now in weights[1:]:
        average = {name: 0.9 * average[name] + 0.1 * now[name] for name in now}
    saved = run.weights("last")
    assert all(torch.allclose(saved[name], average[name], atol=1e-6) for name in average)
    assert not any(torch.allclose(saved[name], weights[-1][name], atol=1e-6) for name in average)


def test_what_is_tested_is_the_average_that_is_saved_as_the_best(train_run):
    run = train_run(*SMALL, "optimizer.lr=0.05")
    data = instantiate(run.cfg.data, "data")
    net = Classification(instantiate(run.cfg.model, "model"), nn.CrossEntropyLoss(), "none")
    net.load_state_dict(run.weights("best"))
    net.eval()
    with torch.inference_mode():
        losses = [nn.functional.cross_entropy(net(x), y, reduction="sum") for x, y in data.test_dataloader()]
    assert run.metrics["test/loss"] == pytest.approx(torch.stack(losses).sum().item() / 64)


def test_the_mean_over_epochs_is_that_of_a_loop_by_hand(train_run, weights_after):
    weights = weights_after("on_train_epoch_end")
    plain = ["model=mlp", "model.dropout=0", "scheduler=constant", "optimizer.lr=0.02", "trainer.max_epochs=5"]
    run = train_run("callbacks=swa", "callbacks.swa.start_epoch=2", *plain)
    saved = run.weights("last")
    for name in weights[0]:
        mean = torch.stack([each[name] for each in weights[2:]]).mean(0)
        torch.testing.assert_close(saved[name], mean, atol=1e-6, rtol=0)
        assert not torch.equal(mean, weights[-1][name])


@pytest.mark.parametrize("start", [["callbacks=swa", "callbacks.swa.start_epoch=9"], [*SMALL, LATE]])
def test_before_it_begins_an_average_changes_nothing(train_run, start):
    plain = [each for each in SMALL if "callbacks" not in each]
    averaged, expected = train_run(*plain, *start), train_run(*plain)
    assert averaged.metrics == expected.metrics
    for name in ("best", "last"):
        assert same_weights(averaged.weights(name), expected.weights(name))


def test_a_validation_is_of_the_mean_that_its_epoch_is_part_of(train_run, weights_after):
    seen = weights_after("on_validation_epoch_start")
    run = train_run("callbacks=swa", "callbacks.swa.start_epoch=0", "model=mlp", "trainer.num_sanity_val_steps=0")
    assert all(torch.equal(run.weights("last")[name], each) for name, each in seen[-1].items())


def test_an_average_of_a_checkpoint_goes_on_only_in_training():
    testing: Any = SimpleNamespace(state=SimpleNamespace(fn="test"))
    # Lightning warns of it outside of training.
    module: Any = nn.Identity()
    EMA(0.9, 1, 0).on_load_checkpoint(testing, module, {"averaging_state": {}})


def test_a_fork_of_an_average_without_it_is_refused(train_run):
    run = train_run(*SMALL, "trainer.max_epochs=1")
    plain = [each for each in SMALL if "callbacks" not in each]
    with pytest.raises(ConfigError, match=r"fork: given .*, whose weights are an average; allowed: a fork with that"):
        train_run(*plain, f"fork={run.folder}", "trainer.max_epochs=2")
    assert train_run(*SMALL, f"fork={run.folder}", "trainer.max_epochs=2").metrics


def test_the_moving_average_is_torchs_and_can_be_pickled():
    generator = torch.Generator().manual_seed(0)
    average, current = (torch.randn(5, generator=generator) for _ in range(2))
    ours = pickle.loads(pickle.dumps(EMA(0.9, 1, None)))._kwargs["avg_fn"]
    assert torch.equal(ours(average, current, 3), get_ema_avg_fn(0.9)(average, current, 3))


@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")
@pytest.mark.parametrize(
    ("settings", "epochs", "words"),
    [
        (
            {"decay": 0.999},
            4,
            "0.999 for 12 updates, of which 99% of the average is still .*; allowed: at most 0.811, or",
        ),
        (
            {"decay": 0.9, "update_every_n_steps": 5},
            4,
            "0.9 for 2 updates, of which 90% of the average .* at most 0.1,",
        ),
        (
            {"decay": 0.5, "update_starting_at_step": 99},
            4,
            "0.5 for 0 updates, .*; allowed: fewer steps between updates,",
        ),
        ({"decay": 0.5}, 4, None),
        ({"decay": 0.999}, 800, None),
    ],
)
def test_an_average_that_stays_where_it_began_warns_with_its_share(settings, epochs, words, caplog):
    average = EMA(**{"update_every_n_steps": 1, "update_starting_at_step": None, **settings})

    class Ends(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            trainer.should_stop = True

    fit(line(), callbacks=[average, Ends()], max_epochs=epochs)
    said = [each for each in caplog.messages if "callbacks.ema" in each]
    assert len(said) == (words is not None)
    assert words is None or re.search(f"warning: callbacks.ema.decay: given {words}", said[0])

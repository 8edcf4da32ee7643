"""What a run says of its end: why it was early, and which epoch was best."""

import json
from pathlib import Path

import pytest
from lightning.pytorch import Callback, Trainer

from kindling.run_folders.curves import read_curves
from kindling.testing.runs import Run, rows_of

# Another process trains, and leaves no checkpoint to go on from.
FORKS = ["trainer.strategy=ddp_fork", "callbacks.resume_checkpoint=null"]


def record_of(run: Run) -> dict:
    return json.loads((run.folder / "run.json").read_text())


def test_an_early_end_is_said_with_what_was_watched_and_the_best_epoch(train_run, caplog):
    caplog.set_level("INFO")
    early = ["callbacks.early_stopping.patience=2", "callbacks.early_stopping.min_delta=9"]
    run = train_run("trainer.max_epochs=6", *early)
    rows = [row for row in rows_of(run) if row["val/loss"]]
    best = min(rows, key=lambda row: float(row["val/loss"]))
    record = record_of(run)
    assert len(rows) == 3
    assert record["best"] == {
        "monitor": "val/loss",
        "score": pytest.approx(float(best["val/loss"])),
        "epoch": int(best["epoch"]),
    }
    assert record["stopped_early"].startswith(
        "after 3 of 6 epochs: Monitored metric val/loss did not improve in the last 2 records. Best score: "
    )
    assert f"training stopped early, {record['stopped_early']}" in caplog.text
    assert f"best: val/loss {float(best['val/loss']):.4g} in epoch {best['epoch']}" in caplog.text
    spawned = record_of(train_run("trainer.max_epochs=6", *early, *FORKS))
    for fact in ("best", "stopped_early", "ended", "metrics"):
        assert spawned[fact] == record[fact], "a process that only starts another one knows it too"


def test_a_run_that_trains_to_its_end_says_its_best_epoch_alone_and_logs_the_rate_of_each_step(train_run, caplog):
    caplog.set_level("INFO")
    run = train_run("trainer.max_epochs=1")
    record = record_of(run)
    assert record["stopped_early"] is None
    assert record["ended"] == "after 1 epoch: trainer.max_epochs"
    assert (record["device"][:3], record["precision"]) == ("cpu", "32-true")
    assert record_of(run)["best"]["epoch"] == 0
    assert "stopped early" not in caplog.text
    curves = read_curves(run.folder)
    rates = {step for name, points in curves.items() if name.startswith("lr-") for step, _ in points}
    assert rates == {step for step, _ in curves["train/loss_step"]}, "the default schedule goes by step"


def test_an_early_end_that_a_callback_of_ones_own_asks_for_is_said(train_run, monkeypatch):
    def stop(trainer: Trainer, module: object) -> None:
        trainer.should_stop = True

    asks = Callback()
    asks.on_train_epoch_end = stop
    original = Trainer.__init__

    def init(self, *, callbacks, **settings):
        original(self, callbacks=[*callbacks, asks], **settings)

    monkeypatch.setattr(Trainer, "__init__", init)
    run = train_run("trainer.max_epochs=3")
    assert record_of(run)["stopped_early"] == "after 1 of 3 epochs: trainer.should_stop was set"


def test_a_resumed_run_does_not_repeat_why_it_had_stopped_before(train_run):
    early = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=9"]
    run = train_run("trainer.max_epochs=4", *early)
    assert "after 2 of 4" in record_of(run)["stopped_early"]
    patient = ["callbacks.early_stopping.patience=9", "callbacks.early_stopping.min_delta=9"]
    more = train_run("trainer.max_epochs=5", *patient, f"resume={run.folder}")
    assert Path(more.folder) == run.folder
    assert record_of(run)["stopped_early"] is None


def test_a_run_that_never_validated_says_that_its_last_weights_are_tested(train_run, caplog):
    train_run("trainer.max_steps=1", "data.num_images=128", "data.batch_size=32")
    assert "warning: test: val/loss was never known, as nothing was validated in time; the last weights" in caplog.text


def test_a_trial_of_one_batch_says_that_it_keeps_no_checkpoint(train_run, caplog):
    train_run("trainer.fast_dev_run=true", "data.num_images=128", "data.batch_size=32")
    assert "test: trainer.fast_dev_run keeps no checkpoint; the last weights are tested, not the best" in caplog.text
    assert "never known" not in caplog.text


def test_a_training_gives_the_best_value_of_what_was_monitored_and_not_the_last(train_run):
    run = train_run("trainer.max_epochs=2", "+optimizer.maximize=true", "test=false")
    losses = [float(row["val/loss"]) for row in rows_of(run) if row["val/loss"]]
    assert min(losses) < losses[-1]
    assert run.metrics["val/loss"] == pytest.approx(min(losses))
    assert record_of(run)["metrics"]["val/loss"] == pytest.approx(losses[-1])

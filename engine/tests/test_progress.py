"""Rows of epochs and the bar below them, rendered at a fixed width."""

import logging
import math
from types import SimpleNamespace

import pytest
import torch

from kindling.callbacks import progress
from kindling.callbacks.progress import EpochBar, EpochLines, bar
from kindling.callbacks.summary import Summary
from kindling.process import terminal
from kindling.training.machine import length_of


def rows(caplog, monkeypatch, *epochs: dict[str, float], columns: int = 80) -> list[str]:
    """What is logged of epochs, the last of which ends training."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "width", lambda: columns)
    monkeypatch.setattr(progress, "in_words", lambda trainer: "a machine")
    monkeypatch.setattr(progress.time, "perf_counter", lambda: 0.0)
    trainer = SimpleNamespace(max_epochs=20, checkpoint_callbacks=[], callback_metrics={}, current_epoch=0)
    lines = EpochLines()
    lines.on_train_start(trainer)
    for number, values in enumerate(epochs):
        trainer.current_epoch = number
        lines.on_train_epoch_start(trainer)
        trainer.callback_metrics |= {name: torch.tensor(value) for name, value in values.items()}
        if any(name.startswith("val") for name in values):
            lines.on_validation_end(trainer)
    trainer.current_epoch = len(epochs)
    lines.on_train_end(trainer)
    return caplog.messages[1:]


FIRST = {"train/loss": 1.36729, "lr-AdamW": 0.1, "train/loss_step": 1.0, "val/loss": 0.5}


def test_an_epoch_is_a_row_below_the_names_of_its_metrics(caplog, monkeypatch):
    assert rows(caplog, monkeypatch, FIRST, {"train/loss": 0.00001, "val/loss": 123456.0}) == [
        "          train/loss  val/loss",
        "epoch  0      1.3673    0.5000     0.0 s",
        "epoch  1    1.00e-05  1.23e+05     0.0 s",
    ]


def test_an_epoch_without_a_validation_has_no_numbers_of_one(caplog, monkeypatch):
    assert rows(caplog, monkeypatch, FIRST, {"train/loss": 1.0})[-1] == "epoch  1      1.0000               0.0 s"


def test_a_metric_that_comes_later_is_named_by_a_header_of_its_own(caplog, monkeypatch):
    shown = rows(caplog, monkeypatch, {"train/loss": 1.0}, {"train/loss": 1.0, "val/loss": 2.0, "rate": 3.0})
    assert [line.split() for line in shown[2:]] == [
        ["train/loss", "val/loss", "rate"],
        ["epoch", "1", "1.0000", "2.0000", "3.0000", "0.0", "s"],
    ]


def test_more_metrics_than_a_table_has_room_for_stand_beside_their_names(caplog, monkeypatch):
    many = {f"train/metric_{number}": float(number) for number in range(6)}
    (line,) = rows(caplog, monkeypatch, many)
    assert line.startswith("epoch  0  train/metric_0 0.0000  train/metric_1 1.0000  ")


def test_the_epochs_that_beat_those_before_are_marked(train_run, caplog, monkeypatch):
    """With a bar, which is drawn after each batch here."""
    drawn = []
    monkeypatch.setattr(terminal, "is_watched", lambda: True)
    monkeypatch.setattr(terminal, "columns", lambda: 80)
    monkeypatch.setattr(terminal, "draw_foot", drawn.append)
    monkeypatch.setattr(progress, "REDRAWN_S", 0.0)
    with caplog.at_level(logging.INFO):
        run = train_run("trainer.max_epochs=2", "trainer.check_val_every_n_epoch=2")
    assert caplog.messages[0].endswith(f", seed 0 → {run.folder}"), "the first line of all"
    first, second = [each for each in caplog.messages if each.startswith("epoch ")]
    assert first.startswith("epoch 0  ")
    assert second.startswith("epoch 1  ")
    assert (first.endswith("  best"), second.endswith("  best")) == (False, True)
    assert max(map(len, drawn)) < 80
    starts = [line.partition("  ")[0] for line in drawn]
    assert list(dict.fromkeys(starts)) == ["sanity check", "epoch 0", "epoch 1", "test"]
    last = [line for line in drawn if line.startswith("epoch 1  ") and "loss" in line][-1]
    assert f"loss {run.metrics['train/loss']:.3g}" in last


@pytest.mark.parametrize("columns", [30, 80, 120])
def test_a_bar_fits_its_terminal(columns):
    metrics = "loss 0.345, accuracy 0.915"
    line = bar("epoch 13", 12, 27, 1.5, first=0, metrics=metrics, columns=columns)
    assert len(line) <= columns - 3
    if columns == 80:
        assert line == "epoch 13  ━━━━───── 12/27  00:01 left   8.00 it/s, loss 0.345, accuracy 0.915"


def test_how_long_training_is_says_from_which_number_epochs_count():
    assert length_of(25, 27) == "25 epochs of 27 batches, counted from 0"
    assert length_of(1, math.inf) == "1 epoch, counted from 0"
    assert length_of(-1, 1) == "epochs of 1 batch, counted from 0", "without a limit"


def test_a_bar_of_a_resumed_epoch_counts_its_own_batches_for_its_speed():
    assert "00:01 left   2.00 it/s" in bar("epoch 0", 6, 8, 1.0, first=4, metrics="", columns=80)
    assert " 6/? " in bar("epoch 0", 6, math.inf, 1.0, first=4, metrics="", columns=80)


def test_only_a_terminal_has_a_bar(monkeypatch):
    assert type(progress.progress(1)) is EpochLines
    monkeypatch.setattr(terminal, "is_watched", lambda: True)
    assert type(progress.progress(1)) is EpochBar


def test_the_summary_of_a_model_is_logged_and_so_in_train_log_and_in_no_benchmark(caplog, capsys):
    caplog.set_level(logging.INFO)
    columns = [(name, ["net"]) for name in (" ", "Name", "Type", "Params")]
    Summary.summarize(columns, 1200, 200)
    (text,) = caplog.messages
    assert [line.split() for line in text.splitlines()][2:] == [
        ["net", "net", "net"],
        ["200", "trainable", "of", "1.2", "K", "parameters"],
    ]
    assert capsys.readouterr() == ("", "")

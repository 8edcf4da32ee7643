import re

import pytest
import torch
from torch import nn

from bench.models.cnn import CNN
from kindling.debug import bytes_held
from kindling.debug.bytes_held import Estimate, kept_for_backward, num_bytes
from kindling.debug.memory import Memory, counted_peaks, estimated

SMALL = ["debug=memory", "model=mlp", "model.hidden=[8]", "model.dropout=0", "data.image_size=8", "data.batch_size=8"]
WEIGHTS = 4 * (64 * 8 + 8 + 8 * 10 + 10)  # bytes


@pytest.fixture
def parts_of(train_run, monkeypatch):
    """Runs debug=memory; returns the bytes that it counted."""

    def run(*overrides: str) -> dict[str, int]:
        seen: list[Memory] = []
        original = Memory.on_train_end
        monkeypatch.setattr(Memory, "on_train_end", lambda self, *rest: [seen.append(self), original(self, *rest)])
        train_run(*SMALL, *overrides)
        return seen[0].parts

    return run


@pytest.mark.parametrize(
    ("overrides", "state"),
    [
        (["optimizer=adamw"], 2 * WEIGHTS + 4 * 4),  # two moments, and a step count of each parameter
        (["optimizer=sgd", "optimizer.momentum=0.9"], WEIGHTS),
        (["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"], 0),
    ],
)
def test_parameters_gradients_and_state_are_those_by_hand(parts_of, overrides, state):
    parts = parts_of(*overrides)
    assert parts["parameters"] == parts["gradients"] == WEIGHTS
    assert parts["optimizer state"] == state
    assert parts["batch"] == 8 * (64 * 4 + 8)


def test_what_is_kept_for_backward_is_what_a_hand_would_count():
    net, images = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.ones(5, 4)
    with kept_for_backward(net.parameters()) as kept:
        net(images).sum()
    assert kept.num_bytes == 4 * (5 * 4 + 5 * 6)  # the input, and the ReLU's output, which two layers keep
    with kept_for_backward([*net.parameters(), images]) as kept:
        net(images).sum()
    assert kept.num_bytes == 4 * 5 * 6


def test_twice_the_batch_keeps_twice_as_much():
    net, kept = CNN(1, 3, [4, 8], 0.1), {}
    for size in (16, 32):
        with kept_for_backward([*net.parameters(), *net.buffers()]) as counted:
            net(torch.randn(size, 1, 12, 12)).sum()
        kept[size] = counted.num_bytes
    assert kept[32] / kept[16] == pytest.approx(2, rel=0.02)


def test_a_storage_counts_once():
    whole = torch.zeros(10)
    assert num_bytes([whole, whole[:5], whole.view(2, 5), None]) == 40


def test_the_estimate_is_a_line_through_what_was_measured():
    parts = {"parameters": 100, "buffers": 10, "batch": 40, "activations": 400, "gradients": 100}
    parts["optimizer state"] = 200
    peaks = counted_peaks(parts)
    estimate = estimated(parts, max(peaks.values()), batch_size=4)
    assert estimate == Estimate(410, 110)
    assert estimate.of(4) == max(peaks.values()) == 850
    assert peaks["loader"] == 450
    assert estimate.largest_batch(estimate.of(7)) == 7
    assert estimate.largest_batch(estimate.of(7) - 1) == 6
    assert estimate.largest_batch(5) == 0


def test_a_run_says_which_batch_would_fit(train_run, caplog, monkeypatch, tmp_path):
    caplog.set_level("INFO")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    64 kB\n")
    monkeypatch.setattr(bytes_held, "MEMINFO", meminfo)
    train_run(*SMALL)
    assert "for 0.0625 MiB that are free" in caplog.text
    fixed, per_image = map(float, re.findall(r"needs ([\d.]+) \+ ([\d.]+) \* B MiB", caplog.text)[0])
    (largest,) = re.findall(r"data.batch_size=([\d,]+) would", caplog.text)
    assert int(largest.replace(",", "")) == pytest.approx(64 / 1024 / per_image, rel=0.1), "beside what is held already"
    assert fixed == pytest.approx((4 * WEIGHTS + 16) / 2**20, abs=1e-4)
    assert "peaks are counted, not measured" in caplog.text


def test_where_the_system_tells_nothing_no_batch_is_named(train_run, caplog, monkeypatch, tmp_path):
    caplog.set_level("INFO")
    monkeypatch.setattr(bytes_held, "MEMINFO", tmp_path / "none")
    train_run(*SMALL)
    assert "* B MiB" in caplog.text
    assert "data.batch_size=" not in caplog.text

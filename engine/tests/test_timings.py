"""The seconds of timings.csv are those of the training steps, on a GPU too."""

import csv
from types import SimpleNamespace

import pytest
import torch

from kindling.callbacks import timings


@pytest.mark.parametrize(("device", "expected"), [("cuda", 3.0), ("cpu", 1.0)])
def test_steps_that_a_gpu_is_still_busy_with_count_for_the_epoch(tmp_path, monkeypatch, device, expected):
    """Each step takes the processor half a second; the GPU takes two more, of which a wait for it tells."""
    clock = SimpleNamespace(now=0.0)

    def wait(device: object) -> None:
        clock.now += 2

    monkeypatch.setattr(timings.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 7 * 2**20 if device else 0)
    module = SimpleNamespace(device=torch.device(device))
    trainer = SimpleNamespace(
        current_epoch=0,
        world_size=1,
        loggers=[],
        is_global_zero=True,
        train_dataloader=SimpleNamespace(batch_size=8),
    )
    watch = timings.Timings(str(tmp_path))
    watch.on_train_epoch_start(trainer, module)
    for _ in range(2):
        clock.now += 0.5
        watch.on_train_batch_end()
    watch.on_validation_start(trainer, module)
    clock.now += 10
    watch.on_validation_end(trainer, module)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    watch.on_train_epoch_end(trainer, module)
    with (tmp_path / "timings.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["peak_memory_mib"] == "7") == (device == "cuda")
    assert float(row["peak_memory_mib"]) > 0
    assert float(row["train_s"]) == expected
    assert float(row["examples_per_s"]) == pytest.approx(16 / expected, abs=0.5)

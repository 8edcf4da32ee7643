import json
import re
import time
from pathlib import Path

import pytest
import torch

from bench.models.mlp import MLP
from kindling.debug.phases import PHASES, PhaseClock, phase_of
from kindling.debug.profiler import StepProfiler
from kindling.images.criterion import CrossEntropy
from kindling.images.loader import EpochLoader
from kindling.loggers.csv import MetricsCSV
from long_run import some

QUICK = [
    *("debug=profile", "model=mlp", "trainer.profiler.wait=1", "trainer.profiler.warmup=1"),
    *("trainer.profiler.active=2", "trainer.max_steps=6", "data.batch_size=8", "data.image_size=8"),
]
REGIONS = ("forward", "[Strategy]SingleDeviceStrategy.training_step", "[Strategy]SingleDeviceStrategy.backward")


@pytest.fixture
def profiled(train_run):
    """Profiles a short run; returns its folder and what profile.txt holds."""

    def run(*overrides: str) -> tuple[Path, str]:
        folder = train_run(*QUICK, *overrides).folder
        return folder, folder.joinpath("profile.txt").read_text()

    return run


def shares(text: str) -> dict[str, float]:
    rows = re.findall(r"^([a-z ]+?) +[\d.]+ +([\d.]+) %$", text, re.MULTILINE)
    return {name: float(share) for name, share in rows}


def slow(function):
    def sleep_and_call(*arguments, **named):
        time.sleep(0.1)
        return function(*arguments, **named)

    return sleep_and_call


def slow_batches(function):
    def iterate(self):
        for batch in function(self):
            time.sleep(0.1)
            yield batch

    return iterate


def test_the_shares_of_a_step_add_up(profiled, caplog):
    caplog.set_level("INFO")
    text = profiled()[1]
    found = shares(text)
    assert text[: text.index("aten::")] in caplog.text
    assert tuple(found) == PHASES
    assert sum(found.values()) == pytest.approx(100, abs=0.5)
    assert min(found[phase] for phase in ("loader", "forward", "backward", "optimizer", "callbacks")) > 0


@pytest.mark.parametrize(
    ("phase", "owner", "name", "slower"),
    [
        pytest.param("loader", EpochLoader, "__iter__", slow_batches, marks=pytest.mark.slow),
        ("forward", MLP, "forward", slow),
        pytest.param("loss and metrics", CrossEntropy, "forward", slow, marks=pytest.mark.slow),
        pytest.param("optimizer", torch.optim.AdamW, "step", slow, marks=pytest.mark.slow),
        pytest.param("backward", torch.Tensor, "backward", slow, marks=pytest.mark.slow),
        pytest.param("logging", MetricsCSV, "log_metrics", slow, marks=pytest.mark.slow),
    ],
)
def test_what_is_slow_has_the_largest_share(profiled, monkeypatch, phase, owner, name, slower):
    monkeypatch.setattr(owner, name, slower(getattr(owner, name)))
    found = shares(profiled()[1])
    assert max(found, key=found.__getitem__) == phase
    assert found[phase] > 60


def test_the_device_of_the_run_counts_and_not_the_gpu_that_is_there(profiled, monkeypatch):
    make = StepProfiler.__init__

    def with_a_gpu(self, *arguments, **named):
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            make(self, *arguments, **named)

    monkeypatch.setattr(StepProfiler, "__init__", with_a_gpu)
    assert "on the CPU" in profiled("trainer=cpu")[1]


def test_the_trace_holds_the_regions_of_the_steps_alone(profiled):
    (file,) = profiled()[0].glob("profile/*.pt.trace.json")
    names = [event.get("name") for event in json.loads(file.read_text())["traceEvents"]]
    for region in (*REGIONS, "[_TrainingEpochLoop].train_dataloader_next"):
        assert names.count(region) == 2, region
    assert "aten::addmm" in names
    assert not [name for name in names if name and "validation_step" in name]


def test_the_most_costly_operations_are_sorted_and_real(profiled):
    table = profiled()[1].partition("-----")[0]
    rows = re.findall(r"^(\S+) +([\d.]+) +([\d.]+) % +([\d.]+)$", table, re.MULTILINE)
    assert len(rows) == 10
    own = [float(row[1]) for row in rows]
    assert own == sorted(own, reverse=True)
    assert sum(row[0].startswith("aten::") for row in rows) >= 5
    assert not [row for row in rows if "forward" in row[0] or "Strategy" in row[0]]


def test_the_calls_of_an_operation_are_those_of_a_step(profiled):
    text = profiled("data.augment=null", "model.hidden=[4,4]")[1]
    (linears,) = re.findall(r"aten::addmm .* % +([\d.]+)\n", text)
    assert float(linears) == 3


def test_a_profiled_run_has_the_bits_of_one_that_is_not(train_run):
    traced = train_run(*QUICK)
    plain = train_run(*QUICK, "trainer.profiler=null")
    assert traced.metrics == plain.metrics


def test_a_run_that_ends_too_soon_says_so(train_run, caplog):
    caplog.set_level("INFO")
    train_run(*QUICK, "trainer.max_steps=1")
    assert "allow more trainer.max_steps" in caplog.text


@pytest.mark.parametrize("name", some(["simple", "advanced"], "simple"))
def test_lightnings_profilers_write_into_the_run_folder(train_run, name):
    folder = train_run(f"trainer.profiler={name}", "debug=fast").folder
    assert "training_step" in folder.joinpath("fit-profile.txt").read_text()
    assert "test_step" in folder.joinpath("test-profile.txt").read_text()


def test_a_region_within_another_is_not_counted_twice(monkeypatch):
    clock, now = PhaseClock(), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def after(seconds, act, *arguments):
        now[0] += seconds
        act(*arguments)

    after(5, clock.start_step)
    after(1, clock.enter, "[LightningModule]Classifier.optimizer_step")
    after(2, clock.enter, "[Strategy]SingleDeviceStrategy.backward")
    after(3, clock.enter, "a region of no phase")
    after(1, clock.leave)
    after(0, clock.leave)
    after(8, clock.leave)
    after(16, clock.end_step)
    seconds = {phase: each for phase, each in clock.seconds.items() if each}
    assert seconds == {"optimizer": 10, "backward": 4, "everything else": 17}


def test_lightnings_actions_belong_to_phases():
    assert phase_of("[Callback]EMA{'a': 1}.on_train_batch_end") == "callbacks"
    assert phase_of("[LightningModule]Classifier.on_before_optimizer_step") == "callbacks"
    assert phase_of("run_training_batch") is None


def test_a_run_that_ends_before_the_trace_says_so(train_run, caplog):
    caplog.set_level("INFO")
    run = train_run("debug=profile")
    assert "the run ended before the steps that are traced; allow more trainer.max_steps" in caplog.text
    assert not (run.folder / "profile").exists()

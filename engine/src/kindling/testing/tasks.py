"""What every task of configs/task keeps, with a recipe of its own, or else with data and a model that it takes.

A loss that examples of a batch share, such as a contrastive one, is no sum over them: its project leaves that contract
out, by `del` in the file that imports these.
"""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kindling.cli.entry import compose
from kindling.config.logged import declared_by
from kindling.errors import Interrupted
from kindling.testing import batches
from kindling.testing.nets import TASKS, Case, for_task, lines_with, trained
from kindling.testing.runs import Run, same_weights
from kindling.train import train
from kindling.training.bookkeeping import Bookkeeping
from kindling.training.sums import LOSS, Sums
from kindling.training.task import Task

# Two epochs of three steps.
SHORT = [
    "trainer.max_epochs=2",
    *(f"trainer.limit_{stage}_batches={num}" for stage, num in zip(("train", "val", "test"), (3, 2, 2), strict=True)),
]
SHORT += ["trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1"]


@pytest.fixture(scope="module", params=TASKS)
def built_task(request: pytest.FixtureRequest, offline: Path) -> Case:
    """Each task of configs/task in turn, not to be trained."""
    return for_task(request.param, offline)


@pytest.fixture(scope="module")
def step_task(built_task: Case) -> Case:
    """Each that is written as `step`."""
    if not isinstance(built_task.task, Task):
        pytest.skip("it is no Task")
    return built_task


@pytest.fixture
def task(step_task: Case) -> Case:
    """The same, to train as one likes."""
    return step_task.copy()


@pytest.fixture(scope="module")
def trained_task(step_task: Case) -> Case:
    """The same, a little trained, not to be trained on."""
    return ten_steps_on(step_task.copy())


def ten_steps_on(case: Case) -> Case:
    """At first an accuracy may be 0, however it is summed."""
    for _ in trained(case, 10, lr=0.01):
        pass
    return case


@pytest.fixture(scope="module")
def run(built_task: Case, offline: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run that nothing interrupts."""
    cfg = short(built_task.chosen, offline, tmp_path_factory.mktemp("run"))
    metrics = train(cfg)
    return Run(cfg, Path(cfg.paths.run), metrics)


def short(chosen: Any, folder: Path, logs: Path, *overrides: str) -> Any:
    return compose([*lines_with(chosen, folder), *SHORT, f"paths.logs={logs}", *overrides])


def test_the_loss_of_a_batch_is_finite_and_falls_within_twenty_steps(task):
    output = task.step("train")
    assert output.loss.shape == ()
    assert output.loss.isfinite()
    assert output.num >= 1
    if not any(falls(task.copy(), output.loss, lr) for lr in (0.001, 0.01, 0.1)):
        pytest.fail(f"the loss was {output.loss:.4g} and does not fall")


def falls(learner: Case, first: Tensor, lr: float) -> bool:
    """Whether it is lower after 5, 10, 15 or 20 steps, and finite until then."""
    for done, loss in enumerate(trained(learner, 20, lr), start=1):
        if not math.isfinite(loss):
            return False
        if done % 5 == 0 and learner.loss() < first:
            return True
    return False


def test_a_task_logs_what_its_source_declares_and_which_way_is_better(task):
    declared = {LOSS: "min", **task.task.METRICS}
    assert set(declared.values()) <= {"min", "max"}
    assert declared_by(str(task.cfg.task._target_)) == declared, "METRICS is to be a literal"
    for stage in ("train", "val", "test"):
        assert set(metrics_of(task.task, stage, task.held_out)) == set(declared)


def metrics_of(task: Task, stage: Any, *parts: Any) -> dict[str, Tensor]:
    """Of an epoch of such batches, in evaluation's mode."""
    task.eval()
    sums = Sums()
    with torch.no_grad():
        for each in parts:
            sums.add(task.step(each, stage))
    state = sums.state() or {}
    return task.epoch_metrics({name: torch.as_tensor(value, dtype=torch.float64) for name, value in state.items()})


@pytest.mark.parametrize("kind", ["batch", "held_out"])
def test_metrics_do_not_depend_on_how_the_examples_are_batched_or_how_often_all_are_seen(trained_task, kind):
    batch: Any = getattr(trained_task, kind)
    num = batches.num_in(batch)
    parts = [
        batches.part(batch, places) for places in (slice(0, num - 3), slice(num - 3, num - 2), slice(num - 2, num))
    ]
    found = [metrics_of(trained_task.task, "val", *seen) for seen in ([batch], parts, [batch, *parts])]
    for name, value in found[0].items():
        for other in found[1:]:
            assert torch.allclose(value, other[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("stage", ["val", "test"])
def test_evaluation_repeats_its_bits_and_trains_nothing(task, stage):
    task.task.eval()
    batch, before = batches.copied(task.held_out), copy.deepcopy(task.task.state_dict())
    found = []
    with torch.no_grad():
        for seed in (0, 1):
            torch.manual_seed(seed)
            found.append(task.task.step(batch, stage))
    assert batches.equal([found[0].loss, found[0].outputs], [found[1].loss, found[1].outputs])
    assert batches.equal(batch, task.held_out)
    assert same_weights(task.task.state_dict(), before)


def test_the_example_is_like_the_inputs_of_a_batch(task):
    example = task.task.example()
    if example is None:
        pytest.skip("it has none")
    given = example if isinstance(example, tuple) else (example,)
    kinds = [[(each.dtype, each.shape[1:]) for each in batches.leaves(inputs)] for inputs in (given, task.inputs)]
    assert kinds[0] == kinds[1]
    assert batches.num_in(given) == 2


def test_a_row_is_read_as_the_data_has_it_and_an_output_is_written_by_the_names_that_are_promised(task):
    processor = getattr(task.task, "processor", lambda: None)()
    if processor is None:
        pytest.skip("it has no processor")
    if processor.kind != "rows":
        pytest.skip("tests of its own say what it reads and writes")
    with torch.no_grad():
        outputs = task.task.eval()(*task.inputs)
    for example, output in zip(task.inputs[0].numpy(), outputs.numpy(), strict=True):
        row = dict(zip((column.name for column in processor.inputs), example.tolist(), strict=True))
        assert (processor.read(row) == example).all()
        written = processor.write(output)
        assert list(written) == [column.name for column in processor.outputs]
        assert json.loads(json.dumps(written)) == written


def test_a_short_run_measures_everything_in_each_stage(run, built_task):
    for name in declared_by(str(built_task.cfg.task._target_)) or ():
        for stage in ("train", "val", "test"):
            value = run.metrics.get(f"{stage}/{name}")
            assert value is not None, f"{stage}/{name} is not logged"
            assert math.isfinite(value)


def test_a_run_that_is_interrupted_and_resumed_ends_with_the_same_bits(run, built_task, offline, tmp_path, monkeypatch):
    cfg = short(built_task.chosen, offline, tmp_path)
    start = Bookkeeping.on_train_batch_start

    def stopping(self: Any, trainer: Any, *arguments: Any) -> None:
        if trainer.global_step == 4:
            raise Interrupted("SIGTERM")
        start(self, trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Bookkeeping, "on_train_batch_start", stopping)
        with pytest.raises(Interrupted):
            train(cfg)
    metrics = train(short(built_task.chosen, offline, tmp_path, f"resume={cfg.paths.run}"))
    assert metrics == run.metrics
    assert same_weights(Run(cfg, Path(cfg.paths.run), metrics).weights(), run.weights())

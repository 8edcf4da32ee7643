"""What steps add up over an epoch."""

import math
from typing import ClassVar

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torchmetrics import MeanSquaredError, MetricCollection

from kindling.errors import ConfigError
from kindling.training.counting import counted
from kindling.training.sums import StepOutput, Sums
from kindling.training.task import Task


def added(*outputs: StepOutput) -> Sums:
    sums = Sums()
    for output in outputs:
        sums.add(output)
    return sums


def test_sums_weigh_the_loss_of_a_batch_by_its_examples():
    first = StepOutput(torch.tensor(2.0), 3, {"hits": torch.tensor(2)})
    second = StepOutput(torch.tensor(0.5), torch.tensor(2), {"hits": torch.tensor(0)})
    assert added(first, second).state() == {"loss": 7.0, "hits": 2.0, "num": 5.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.tensor(1.0), "given Tensor by step"),
        (None, "given NoneType by step"),
        ((torch.tensor(1.0), 1), "given tuple by step"),
        (StepOutput(torch.ones(3), 3), r"given a tensor \(3,\) as the loss"),
        (StepOutput(0.5, 3), "given float as the loss"),  # pyright: ignore[reportArgumentType]
        (StepOutput(torch.tensor(1.0), torch.tensor([3])), r"given a tensor \(1,\) as num"),
    ],
)
def test_what_is_no_step_output_is_refused_by_name(given, message):
    with pytest.raises(ConfigError, match=f"task: {message}.* allowed: "):
        added(given)


def test_sums_of_any_shape_and_name_come_back_from_a_state():
    outputs = [
        StepOutput(torch.tensor(1.0), 1, {"confusion": torch.eye(2, dtype=torch.int64)}),
        StepOutput(torch.tensor(1.0), 1, {"confusion": torch.ones(2, 2), "later": 3}),
    ]
    whole, resumed = added(*outputs), Sums()
    resumed.restore(added(outputs[0]).state(), torch.device("cpu"))
    resumed.add(outputs[1])
    for state in (whole.state(), resumed.state()):
        assert state is not None
        assert state.pop("confusion").tolist() == [[2, 1], [1, 2]]
        assert state == {"loss": 2, "num": 2, "later": 3}


def test_sums_do_not_hide_a_loss_that_is_nan():
    loss = added(StepOutput(torch.tensor(math.nan), 3), StepOutput(torch.tensor(1.0), 3)).loss
    assert loss is not None
    assert loss.isnan()


def test_bf16_true_counts_exactly():
    loss = torch.tensor(1.0, dtype=torch.bfloat16)
    assert added(*[StepOutput(loss, 1, {"hits": torch.tensor(1)})] * 1001).state() == dict.fromkeys(
        ("loss", "hits", "num"), 1001
    )


def test_no_step_gives_no_sums():
    assert Sums().state() is None
    assert Sums().reduced(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)) == {}


@pytest.mark.parametrize("name", ["loss", "num"])
def test_a_name_that_every_task_has_is_refused(name):
    with pytest.raises(ConfigError, match=f"given sums named {name}; allowed: other names"):
        added(StepOutput(torch.tensor(1.0), 1, {name: torch.tensor(1)}))


class Fitted(Task):
    METRICS: ClassVar = {"mae": "min"}

    def step(self, batch, stage):
        return StepOutput(self(batch).mean(), len(batch), outputs={"y": batch})


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"loss": MeanSquaredError()}, r"metrics.loss: given a name that Fitted logs itself"),
        ({"mae": MeanSquaredError()}, r"metrics.mae: given a name that Fitted logs itself"),
        ({"all": MetricCollection([MeanSquaredError()])}, r"metrics.all: given MetricCollection"),
        ({"mse": MeanSquaredError()}, r"metrics: given dict as outputs by Fitted.step"),
    ],
)
def test_metrics_that_a_task_cannot_keep_are_refused_by_name(metrics, message):
    with pytest.raises(ConfigError, match=message):
        counted(Fitted(nn.Linear(1, 1), metrics=metrics), torch.ones(2, 1), "val", 0)


class Measured(Task):
    def step(self, batch, stage):
        outputs = self(batch)
        return StepOutput(outputs.mean(), len(batch), {"hits": 1}, outputs, batch)


def test_a_batch_after_the_own_ones_of_a_process_counts_nowhere():
    task = Measured(nn.Linear(1, 1), metrics={"mse": MeanSquaredError()})
    sums, metric = task.kindling_sums["val"], task.kindling_metrics_of["val"]["mse"]
    sums.num_own = 2
    before = []
    for batch_idx in range(4):
        counted(task, torch.ones(3, 1), "val", batch_idx)
        before.append((sums.state(), metric.update_count))
    assert [state["num"] for state, _ in before] == [3, 6, 6, 6]
    assert before[1] == before[3]


class OwnStep(Measured):
    def validation_step(self, batch, batch_idx):
        return super().validation_step(batch, batch_idx)


def test_a_task_whose_evaluation_is_its_own_is_shown_no_example_twice():
    metrics = {"mse": MeanSquaredError()}
    tasks = [Measured(nn.Linear(1, 1)), Measured(nn.Linear(1, 1), metrics=metrics), OwnStep(nn.Linear(1, 1))]
    assert [task.leaves_out_repeated for task in tasks] == [True, True, False]
    assert [task.can_count_none for task in tasks] == [True, False, False]

"""Targets that do not fit the outputs, and inputs that do not fit the net, are answered with both shapes and kinds."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import R2Score

from kindling.errors import ConfigError
from kindling.training.failures import naming_misfits
from kindling.training.keep_outputs import KeepOutputs
from kindling.training.sums import StepOutput
from test_wrong_tasks import ROWS, TARGETS, Line, Plain, fit, line, loader, refused

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")


# Outputs and targets


def test_targets_that_a_difference_would_broadcast_are_refused_with_both_shapes():
    class Wide(Line):
        def step(self, batch: Any, stage: Any) -> StepOutput:
            rows, targets = batch
            outputs = self(rows)
            return StepOutput((outputs - targets).square().mean(), len(rows), outputs=outputs, targets=targets)

    assert refused(line(Wide)) == (
        "task: given outputs (8, 1) and targets (8,), whose difference would be (8, 8) in a metric; allowed: one shape "
        "in the StepOutput and in the loss; squeeze(1) or unsqueeze(1) one of them"
    )
    fit(line(Wide), *[loader(ROWS, TARGETS[:, None])] * 2)


def test_outputs_that_a_metric_cannot_take_are_named_with_their_shapes():
    kind = type("Kind", (Line,), {"step": lambda self, batch, stage: StepOutput(self(batch[0]).mean(), 8, {}, *batch)})
    assert refused(line(kind, metrics={"r2": R2Score()})).startswith(
        "metrics.r2: given outputs (8, 4) float32 and targets (8,) float32, which R2Score cannot take ("
    )


class Classes(Plain):
    """Three classes."""

    def __init__(self) -> None:
        super().__init__(3)

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])


LABELS = torch.arange(24) % 3
FITS = r"; allowed: targets \(8,\) int64 from 0 to 2; squeeze"


@pytest.mark.parametrize(
    ("make", "rows", "targets", "words"),
    [
        (
            Classes,
            ROWS,
            LABELS[:, None],
            r"outputs \(8, 3\) float32 and targets \(8, 1\) int64 in Classes.loss, .*" + FITS,
        ),
        (
            Classes,
            ROWS,
            LABELS.float(),
            r"targets \(8,\) float32 in Classes.loss, which cross_entropy cannot .*" + FITS,
        ),
        (Classes, ROWS, LABELS + 1, r"targets \(8,\) int64 in .* \(Target 3 is out of bounds.\)" + FITS),
        (Classes, ROWS, LABELS - 1, r"targets \(8,\) int64 in .* \(Target -1 is out of bounds.\)" + FITS),
        (
            Plain,
            ROWS,
            ROWS[:, :3],
            r"outputs \(8,\) float32 and targets \(8, 3\) float32 in Plain.loss, which mse_loss ",
        ),
        (Plain, ROWS.double(), TARGETS, r"^data: given inputs \(8, 4\) float64, and Linear has weights of float32; "),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_targets_that_torch_cannot_take_are_named_with_what_would_fit(make, rows, targets, words):
    module, batches = make(), loader(rows, targets)
    with pytest.raises(ConfigError, match=words) as caught, naming_misfits():
        fit(module, batches, batches)
    assert "\n" not in str(caught.value)


def test_an_error_of_another_kind_stays_what_it_is():
    class Fails(Plain):
        def loss(self, batch: Any) -> Tensor:
            raise ValueError("of its own")

    module = Fails()
    with pytest.raises(ValueError, match="of its own"), naming_misfits():
        fit(module)


def test_a_step_that_a_task_has_set_itself_outlives_a_report():
    task = line()
    step = task.step
    task.step = lambda batch, stage: step(batch, stage)
    own, kept = task.step, KeepOutputs(lambda outputs, targets: (outputs, targets))
    fit(task, callbacks=[kept])
    assert kept.joined()[0].shape == (16 + 24,), "of the sanity check too"
    assert task.step is own

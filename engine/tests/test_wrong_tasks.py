"""A task that gives what the engine cannot use is answered in one line, before anything is trained where it can be."""

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric, R2Score

from kindling.errors import ConfigError
from kindling.training.sums import StageSums
from kindling.training.task import StepOutput, Task, bookkeeping_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")
ROWS = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
TARGETS = ROWS.sum(1)


class Line(Task):
    METRICS: ClassVar = {"mae": "min"}

    def step(self, batch: Any, stage: Any) -> StepOutput:
        rows, targets = batch
        outputs = self(rows).squeeze(1)
        errors = outputs - targets
        return StepOutput(errors.square().mean(), len(rows), {"mae": errors.abs().sum()}, outputs, targets)


class Plain(LightningModule):
    """Written without knowing the engine."""

    def __init__(self, width: int = 1):
        super().__init__()
        self.net = nn.Linear(4, width)

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.mse_loss(self.net(batch[0]).squeeze(1), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


def line(kind: type[Task] = Line, width: int = 1, **settings: Any) -> Any:
    torch.manual_seed(0)
    return kind(nn.Linear(4, width), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.01), **settings)


def loader(*tensors: Tensor, batch_size: int = 8) -> DataLoader:
    return DataLoader(TensorDataset(*tensors), batch_size)


def fit(
    module: LightningModule, train: Any = None, val: Any = None, *, callbacks: Sequence[Callback] = (), **settings: Any
) -> Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    callbacks = [bookkeeping_of(module)(0), *callbacks]
    trainer = Trainer(accelerator="cpu", callbacks=callbacks, **{**quiet, "max_epochs": 1, **settings})
    trainer.log_every_n_steps = 0  # pyright: ignore[reportAttributeAccessIssue]
    trainer.fit(module, train or loader(ROWS, TARGETS), val or loader(ROWS, TARGETS))
    return trainer


def refused(*arguments: Any, **settings: Any) -> str:
    """The line by which a training is refused."""
    with pytest.raises(ConfigError) as caught:
        fit(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names that the engine has taken


def test_a_task_may_keep_what_it_likes_under_the_names_of_sums_and_metrics():
    class Own(Line):
        def __init__(self, net: nn.Module, **engine: Any):
            super().__init__(net, **engine)
            self.sums, self._metrics = {"mine": 1}, []
            self.metrics = nn.ModuleDict({"mine": nn.Linear(1, 1)})

        def _step(self, batch: Any) -> str:
            return "mine"

        def metrics_of(self) -> str:
            return "mine"

    task = line(Own, metrics={"r2": R2Score()})
    found = fit(task).callback_metrics
    assert {"train/loss", "train/mae", "train/r2", "val/loss", "val/mae", "val/r2"} <= found.keys()
    assert task.sums == {"mine": 1}
    assert isinstance(task.kindling_sums, StageSums)
    assert len(list(task.kindling_metrics)) == 3


@pytest.mark.parametrize("name", ["facts", "config", "kindling_sums", "kindling_metrics"])
def test_a_task_that_overwrites_what_the_engine_gives_it_is_refused_by_name(name):
    class Takes(Line):
        def __init__(self, net: nn.Module, **engine: Any):
            super().__init__(net, **engine)
            setattr(self, name, {})

    with pytest.raises(ConfigError, match=rf"^task: given {name} by Takes, a name .* engine .*; allowed: another name"):
        line(Takes)
    with pytest.raises(ConfigError, match=f"given {name} by Has, "):
        line(type("Has", (Line,), {name: property(lambda self: {})}))


@pytest.mark.parametrize("name", ["step", "epoch_metrics", "example", "check_outputs", "processor"])
def test_a_task_that_sets_a_value_where_a_method_belongs_is_refused_by_name(name):
    task = line()
    for value in (0, torch.zeros(2, 4), nn.Linear(1, 1)):
        with pytest.raises(ConfigError, match=f"given {name} by Line, .*; allowed: another name"):
            setattr(task, name, value)
    setattr(task, name, getattr(task, name))


def test_the_facts_of_a_task_may_be_given_from_outside():
    task = line()
    assert task.facts == {}
    task.facts = {"names": ["a"]}
    assert task.facts == {"names": ["a"]}


# METRICS


@pytest.mark.parametrize(
    ("declared", "given"),
    [
        ({"mae": "lower"}, "'mae': 'lower'"),
        ({"mae": "min", 1: "max"}, "1: 'max'"),
        ({"val/mae": "min"}, "'val/mae': 'min'"),
        ({"": "min"}, "'': 'min'"),
        (["mae"], r"\['mae'\]"),
        (("mae", "min"), r"\('mae', 'min'\)"),
        (None, "None"),
    ],
)
def test_a_task_whose_metrics_are_wrongly_declared_is_refused_with_its_file(declared, given):
    kind = type("Wrong", (Line,), {"METRICS": declared})
    with pytest.raises(
        ConfigError, match=rf"^task: given METRICS of Wrong in \S+test_wrong_tasks.py, {given}; allowed:"
    ):
        line(kind)


# Examples


class Padded(Line):
    """Counts the rows whose target is not NaN; `as_tensor` as a tensor."""

    as_tensor = False

    def step(self, batch: Any, stage: Any) -> StepOutput:
        rows, targets = batch
        kept = ~targets.isnan()
        outputs, targets = self(rows[kept]).squeeze(1), targets[kept]
        num = kept.sum() if self.as_tensor else int(kept.sum())
        return StepOutput((outputs - targets).square().mean(), num, {"mae": (outputs - targets).abs().sum()})


@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_batch_without_examples_changes_neither_metrics_nor_weights(as_tensor):
    kind = type("Kind", (Padded,), {"as_tensor": as_tensor})
    empty = torch.full((8,), torch.nan)
    rows, targets = torch.cat([ROWS[:8], ROWS]), torch.cat([empty, TARGETS])
    whole, task = line(kind), line(kind)
    expected = fit(whole).callback_metrics
    found = fit(task, loader(rows, targets), loader(rows, targets)).callback_metrics
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert torch.equal(whole.net.weight, task.net.weight)


def test_a_masked_mean_over_no_examples_leaves_the_weights_finite():
    class Masked(Line):
        def step(self, batch: Any, stage: Any) -> StepOutput:
            rows, targets = batch
            kept = ~targets.isnan()
            errors = (self(rows).squeeze(1) - targets.nan_to_num()) * kept
            return StepOutput(errors.square().sum() / kept.sum(), int(kept.sum()))

    task = line(Masked)
    fit(task, loader(torch.cat([ROWS[:8], ROWS]), torch.cat([torch.full((8,), torch.nan), TARGETS])))
    assert task.net.weight.isfinite().all()


def test_a_stage_without_examples_is_refused_by_its_name():
    nothing = loader(ROWS, torch.full((24,), torch.nan))
    words = "task: given 0 examples in all of {} by Padded.step, as num of its StepOutputs; allowed: 1 or more; look "
    assert refused(line(Padded), val=nothing).startswith(words.format("val"))
    assert refused(line(Padded), train=nothing).startswith(words.format("train"))


def test_a_sanity_check_of_batches_without_examples_passes():
    targets = TARGETS.clone()
    targets[:16] = torch.nan
    assert "val/loss" in fit(line(Padded), val=loader(ROWS, targets)).callback_metrics


# Metrics of torchmetrics


class Few(Metric):
    """Gives nothing of less than five."""

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.seen += len(outputs)

    def compute(self) -> Tensor:
        if self.seen < 5:
            warnings.warn("fewer than\nfive", stacklevel=1)
        return torch.tensor(self.seen)

    def reset(self) -> None:
        super().reset()
        self.seen = 0


def test_a_metric_that_gives_nothing_of_few_examples_is_named_before_training():
    task = line(metrics={"r2": R2Score()})
    before = task.net.weight.clone()
    assert refused(task, val=loader(ROWS[:1], TARGETS[:1])) == (
        "metrics.r2: given 1 examples in val, of which R2Score gives nothing (Needs at least two samples to calculate "
        "r2 score.); allowed: more examples, another metric, or metrics=none"
    )
    assert torch.equal(task.net.weight, before)


def test_a_sanity_check_of_too_few_examples_for_a_metric_passes():
    val = loader(ROWS[:3], TARGETS[:3], batch_size=1)
    assert "val/r2" in fit(line(metrics={"r2": R2Score()}), val=val, num_sanity_val_steps=1).callback_metrics


def test_what_a_metric_warns_of_is_said_once_with_the_number_of_examples(caplog):
    fit(line(metrics={"few": Few()}), val=loader(ROWS[:4], TARGETS[:4]), max_epochs=3)
    said = [each for each in caplog.messages if "metrics.few" in each]
    assert said == ["warning: metrics.few: of 4 examples in val: fewer than five"]

from pathlib import Path

import pytest
import torchmetrics.classification
import torchmetrics.regression

from bench_root import CONFIGS
from kindling.config import sources
from kindling.config.logged import better, declared_by, direction_of, logged, loss_of, written_by
from kindling.config.rules.metric_rules import metrics_are_declared
from kindling.config.targets import PREFIXES
from kindling.errors import ConfigError

TASK = "bench.tasks.classification.Classification"
MODULE = """
from typing import ClassVar
from bench.tasks.classification import Classification

class Ranking(Classification):
    METRICS: ClassVar = {"error": "min"}

class Merged(Ranking):
    METRICS = Classification.METRICS | {"perplexity": "min"}

    def on_train_epoch_end(self):
        self.log("train/seconds", 1.0)
"""
PLAIN = """
import lightning as L

class Module(L.LightningModule):
    def validation_step(self, batch, batch_idx):
        self(batch)
        {line}
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The name of a module of this text, each in a folder of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> str:
        name = f"written_{abs(hash(text))}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def test_metrics_of_a_task_are_its_own_those_of_its_bases_and_the_loss(written):
    module = written(MODULE)
    assert declared_by(TASK) == {"loss": "min", "accuracy": "max"}
    assert declared_by(f"{module}.Ranking") == {"loss": "min", "accuracy": "max", "error": "min"}
    assert declared_by(f"{module}.Merged") == {"loss": "min", "accuracy": "max", "error": "min", "perplexity": "min"}
    names, may_log_more = logged({"task": {"_target_": f"{module}.Merged"}})
    assert {"val/perplexity", "train/error", "train/seconds", "train/loss_step"} < names.keys()
    assert not may_log_more


@pytest.mark.parametrize(
    ("declared", "given"),
    [
        ('{"mae": "lower", "rmse": "min"}', "'mae': 'lower'"),
        ('{names.MAE: "min", **Task.METRICS}', "names.MAE: 'min'"),
        ('Task.METRICS | {"mae": MIN}', "'mae': MIN"),
        ("names.METRICS_OF_ALL", "names.METRICS_OF_ALL"),
        ('["mae"]', "['mae']"),
        ('{"mae"}', "{'mae'}"),
        ('dict(mae="min")', "dict(mae='min')"),
        ('{"test/mae": "min"}', "'test/mae': 'min'"),
    ],
)
def test_metrics_that_are_wrongly_declared_are_named_with_their_file_and_class(written, declared, given):
    text = f"from kindling.training.task import Task\nclass Own(Task):\n    METRICS = {declared}\nclass Mine(Own): ..."
    module = written(text)
    (fault,) = metrics_are_declared({"task": {"_target_": f"{module}.Mine"}})
    assert str(fault).startswith(f"task: given METRICS of Own in {sources.package(module)}, {given}; allowed: a dict, ")
    other = written(text.replace("(Task)", "(torch.nn.Module)"))
    assert not list(metrics_are_declared({"task": {"_target_": f"{other}.Mine"}})), "METRICS of others are their own"


def test_metrics_that_are_rightly_declared_are_not_refused(written):
    module = written(MODULE)
    assert not list(metrics_are_declared({"task": {"_target_": f"{module}.Merged"}}))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('self.log("val_loss", 0)', ["val_loss"]),
        ('self.log(name="val_loss", value=0)', ["val_loss"]),
        ('self.log("loss", 0, on_step=True, on_epoch=True)', ["loss", "loss_step", "loss_epoch"]),
        ('self.log_dict({"a": 0, "b": self.c.d(1)})', ["a", "b"]),
        ("isinstance(self, int)", []),
        ('self.logger.log("x")', []),
    ],
)
def test_names_that_a_plain_module_logs_are_read_from_its_source(written, line, names):
    found = written_by(f"{written(PLAIN.format(line=line))}.Module")
    assert list(found.names) == names
    assert not found.may_log_more


@pytest.mark.parametrize(
    "line",
    [
        'self.log(f"{1}_loss", 0)',
        "self.log(batch, 0)",
        "self.log_dict(batch)",
        'self.log_dict({**batch, "a": 0})',
        "log = self.log",
        "report(self)",
        "self.reporter.take(self, 1)",
    ],
)
def test_a_module_that_gives_a_name_by_an_expression_may_log_any(written, line):
    assert written_by(f"{written(PLAIN.format(line=line))}.Module").may_log_more


@pytest.mark.parametrize(
    "change",
    [
        "setattr(Module, 'on_train_start', print)",
        "Module.training_step = print",
        "for name in ('on_fit_start',):\n    setattr(Module, name, print)",
    ],
)
def test_a_module_whose_methods_come_from_elsewhere_may_log_any(written, change):
    text = PLAIN.format(line="self.log('a', 0)")
    assert not written_by(f"{written(text)}.Module").may_log_more
    assert written_by(f"{written(f'{text}{chr(10)}{change}{chr(10)}')}.Module").may_log_more


@pytest.mark.parametrize(
    "other", ["class Other(Module):\n    training_step = print", "@print\nclass Other(Module): pass"]
)
def test_a_class_with_a_step_from_elsewhere_or_a_decorator_may_log_any(written, other):
    text = PLAIN.format(line="self.log('a', 0)")
    assert written_by(f"{written(f'{text}{chr(10)}{other}{chr(10)}')}.Other").may_log_more


def test_a_module_without_a_step_of_lightnings_own_is_known(written):
    text = PLAIN.format(line="self.log('a', 0)").replace(
        "class Module", "from lightning.pytorch import LightningModule\n\n\nclass Module"
    )
    text += "\n\nclass Trained(Module):\n    validation_step = LightningModule.validation_step\n"
    assert not written_by(f"{written(text)}.Trained").may_log_more


def test_a_callback_logs_through_its_module(written):
    text = "class Norms:\n    def on_fit_start(self, trainer, pl_module):\n        pl_module.log('norm', 0)\n"
    callbacks = {"norms": {"_target_": f"{written(text)}.Norms"}}
    assert "norm" in logged({"task": {"_target_": TASK}, "callbacks": callbacks}).names


@pytest.mark.parametrize(
    ("target", "loss"),
    [
        ("bench.plain.Regression", "val_loss"),
        ("bench.plain.GAN", None),
        ("bench.plain.Stages", None),
        (TASK, "val/loss"),
    ],
)
def test_the_loss_of_validation_is_found_if_the_source_names_it(target, loss):
    assert loss_of(target) == loss


def shipped_metrics() -> list[str]:
    texts = [file.read_text() for file in sorted((CONFIGS / "metrics").glob("*.yaml"))]
    return [line.split()[1] for text in texts for line in text.splitlines() if "_target_" in line]


@pytest.mark.parametrize("target", shipped_metrics())
def test_the_direction_read_from_source_is_that_of_the_class(target):
    package = torchmetrics.classification if ".classification." in target else torchmetrics.regression
    higher = getattr(package, target.rpartition(".")[2]).higher_is_better
    assert direction_of(target) == {True: "max", False: "min", None: ""}[higher]


def test_a_direction_that_no_source_tells_is_asked_for():
    pearson = {"pearson": {"_target_": "torchmetrics.regression.PearsonCorrCoef"}}
    config = {"task": {"_target_": TASK}, "metrics": pearson}
    assert better(config, "val/accuracy") == "max"
    assert better(config, "val/loss/dataloader_idx_1") == "min"
    assert better(config, None) == "min"
    assert better(config, "val/nothing") == "min"
    with pytest.raises(ConfigError) as refused:
        better(config, "val/pearson")
    assert str(refused.value) == (
        "monitor_mode: given nothing for val/pearson, of which no source says which way it is better; "
        "allowed: monitor_mode=min or monitor_mode=max"
    )


def test_metrics_that_a_config_may_name_read_nothing_from_outside():
    folder = Path(torchmetrics.__file__).parent
    words = (
        "download",
        "from_pretrained",
        "urlretrieve",
        "requests.",
        "torch.load",
        "torch.hub",
        "pickle",
        "eval(",
        "open(",
    )
    prefixes = [prefix.split(".")[1:-1] for prefix in PREFIXES if prefix.startswith("torchmetrics.")]
    assert len(prefixes) == 8
    for parts in prefixes:
        place = folder.joinpath(*parts)
        for kind in (place, folder.joinpath("functional", *parts)):
            files = [*kind.glob("*.py"), *([file] if (file := kind.with_suffix(".py")).is_file() else [])]
            assert files or kind != place
            found = [(file.name, word) for file in files for word in words if word in file.read_text()]
            assert found == []


STAGES = """
import lightning as L

class Module(L.LightningModule):
    def _step(self, batch, stage, kind="loss"):
        self.log(f"{stage}/loss", 1.0)

    def training_step(self, batch, batch_idx):
        return self._step(batch, "train")

    def validation_step(self, batch, batch_idx):
        self._step(batch, CALL)
"""


@pytest.mark.parametrize(
    ("call", "loss"), [('"val"', "val/loss"), ('stage="val"', "val/loss"), ("self.stage", None), ("str(1)", None)]
)
def test_a_name_with_the_stage_that_a_shared_step_is_given_is_known(written, call, loss):
    module = f"{written(STAGES.replace('CALL', call))}.Module"
    assert loss_of(module) == loss
    names, may_log_more = written_by(module)
    assert may_log_more == (loss is None)
    assert set(names) == ({"train/loss", "val/loss"} if loss else set())

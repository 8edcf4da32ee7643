import ast
import inspect
import re

import pytest
from omegaconf import OmegaConf
from torchmetrics import Metric
from torchmetrics.classification import MulticlassStatScores

import fake_trackers
from bench_root import CONFIGS
from kindling.config.check import annotations
from kindling.config.signatures import TargetMissing, signature
from kindling.config.targets import locate


def shipped_targets() -> list[str]:
    found = set()
    for file in CONFIGS.rglob("*.yaml"):
        nodes = [OmegaConf.to_container(OmegaConf.load(file))]
        while nodes:
            node = nodes.pop()
            if isinstance(node, dict):
                found |= {node["_target_"]} - {"???"} if "_target_" in node else set()
                nodes += node.values()
    return sorted(found)


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _with_those_of_the_base(built):
    """The parameters of a class of ours, with those of the base classes that its **kwargs go on to."""
    own = dict(inspect.signature(built).parameters)
    several = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in own.values())
    if built.__module__.startswith("torchmetrics."):
        popped = inspect.getsource(Metric.__init__) + inspect.getsource(MulticlassStatScores.__init__)
        names = re.findall(r'kwargs\.pop\("(\w+)"', popped)
        names = [name for name in names if name != "zero_division" or issubclass(built, MulticlassStatScores)]
        return own | {name: inspect.Parameter(name, KEYWORD, default=None) for name in names}
    if several and built.__module__.startswith(("bench.", "kindling.")) and inspect.isclass(built):
        base = next(each for each in built.__mro__[1:] if "__init__" in vars(each))
        return _with_those_of_the_base(base) | own
    return own


FURTHER = [
    "torch.optim.RMSprop",
    "torch.optim.lr_scheduler.CosineAnnealingLR",
    "lightning.pytorch.callbacks.EMAWeightAveraging",
    "lightning.pytorch.loggers.WandbLogger",
    "torch.nn.TransformerEncoderLayer",
]


@pytest.mark.parametrize("target", [*shipped_targets(), *FURTHER])
def test_a_signature_read_from_source_is_that_of_the_imported_class(target, monkeypatch):
    if target.startswith("kindling.loggers."):
        fake_trackers.install(monkeypatch)
    found = signature(target)
    assert found
    built = locate(target, target)
    parameters = _with_those_of_the_base(built)
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = {name: each for name, each in parameters.items() if each.kind not in several}
    assert set(found.annotations) == set(named)
    assert found.required == {name for name, each in named.items() if each.default is each.empty}


def test_all_shipped_targets_are_read():
    assert len(shipped_targets()) >= 25


@pytest.mark.parametrize(
    ("target", "name"),
    [("torch.optim.AdmaW", "AdamW"), ("bench.models.cnn.CMM", "CNN"), ("bench.models.cnnn.CNN", "cnn")],
)
def test_a_target_that_is_missing_names_what_is_there(target, name):
    with pytest.raises(TargetMissing) as missing:
        signature(target)
    assert name in missing.value.names


@pytest.mark.parametrize("target", ["os.system", "nowhere.Class", "torch", "", "1.x", ".models.cnn.CNN"])
def test_what_is_no_python_package_is_missing(target):
    with pytest.raises(TargetMissing):
        signature(target)


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        ("int", [0, -1], [1.0, True, "1", None, [1]]),
        ("float", [0, 1.5], [True, "1"]),
        ("bool", [True], [1, "true"]),
        ("str", ["a"], [1, None]),
        ("Optional[int]", [1, None], ["1"]),
        ("int | Literal['auto']", [1, "auto"], ["atuo", 1.5]),
        ("'Optional[float]'", [None, 1], ["x"]),
        ("typing.Union[list[int], str]", [[1, 2], "a", []], [1, ["a"]]),
        ("tuple[float, float]", [[0.9, 1]], [[0.9], [0.9, "x"], 0.9]),
        ("tuple[int, ...]", [[1, 2, 3]], [["x"]]),
        ("float | Tensor", [0.1, {"_target_": "torch.zeros"}], ["fast"]),
        ("Literal[True, 'warn']", [True, "warn"], [1, "warm"]),
        ("dict[str, int]", [{"a": 1}], [1, "a"]),
        ("_UNKNOWN_ALIAS", ["anything", 3, None], []),
    ],
)
def test_a_value_is_held_against_an_annotation(annotation, right, wrong):
    parsed = annotations.parse(annotation)
    assert [value for value in right if not annotations.accepts(parsed, value)] == []
    assert [value for value in wrong if annotations.accepts(parsed, value)] == []


def test_an_annotation_is_told_in_words():
    words = annotations.describe(ast.parse("Optional[Union[int, list[float], Tensor]]", mode="eval").body)
    assert words == "a whole number or null or a list, each item a number"


MODULE = """
import lightning as L
from torch import nn
from bench.tasks import classification as tasks

class Mixin:
    def describe(self): ...

class ThroughAModule(tasks.Classification): ...
class AfterAMixin(Mixin, tasks.Classification): ...
class Plain(L.LightningModule): ...
class Plainer(Mixin, nn.Module): ...
class Made:
    def __new__(cls, task, **more): ...
class Popping:
    def __init__(self, first, **more):
        self.second = more.pop("second", None)
        if more:
            raise ValueError
class Fixing(Popping):
    def __init__(self, **more):
        third = more.pop("third", 0)
        super(Popping, self).__init__(first=1, **more)
"""


@pytest.mark.parametrize(
    ("name", "taken", "takes_more"),
    [
        (
            "ThroughAModule",
            "net criterion views mix plain_loss optimizer scheduler layer_lr_decay metrics config",
            False,
        ),
        ("AfterAMixin", "net criterion views mix plain_loss optimizer scheduler layer_lr_decay metrics config", False),
        ("Plain", "", True),
        ("Plainer", "", True),
        ("Made", "task", True),
        ("Popping", "first second", False),
        ("Fixing", "second third", False),
    ],
)
def test_arguments_are_those_of_the_base_that_gets_them(tmp_path, monkeypatch, name, taken, takes_more):
    (tmp_path / "written.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = signature(f"written.{name}")
    assert found
    assert set(found.annotations) == set(taken.split())
    assert found.takes_more == takes_more

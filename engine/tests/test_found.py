"""Settings that are null until the data is read: what is found there fits, or is refused by name."""

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import LightningDataModule
from omegaconf import OmegaConf

from kindling.cli.entry import compose
from kindling.config.composition import to_plain
from kindling.errors import ConfigError
from kindling.train import build_parts
from kindling.training.found import fill_in
from kindling.training.from_python import FromPython

NET = {"_target_": "bench.models.linear.Bigram", "vocab_size": "${data.size}"}


class Data(LightningDataModule):
    """One that knows nothing of facts."""


class Described(Data):
    def __init__(self, **facts: Any):
        super().__init__()
        self.facts = facts


def found(data: Any, model: Any = NET, **settings: Any) -> dict[str, Any]:
    cfg = OmegaConf.create({"data": {"size": None} | settings, "model": model})
    return fill_in(cfg, to_plain(cfg), data)[1]["model"]


def test_what_the_data_holds_is_given_to_the_model():
    assert found(Described(size=5))["vocab_size"] == 5


@pytest.mark.parametrize(
    ("data", "has"),
    [
        (Described(classes=["a"], vocabulary="ab"), "given null, and the facts of Described hold classes, vocabulary"),
        (Described(size=None), "given null, and the facts of Described hold size, which is None"),
        (Described(), "given null, and Described has no facts"),
        (Data(), "given null, and Data has no facts"),
        (SimpleNamespace(prepare_data=lambda: None), "given null, and SimpleNamespace has no facts"),
    ],
)
def test_a_setting_that_the_data_does_not_hold_is_refused_by_name(data, has):
    with pytest.raises(ConfigError) as error:
        found(data)
    assert str(error.value) == f"data.size: {has}; allowed: a whole number, or a fact of that name"


def test_each_is_refused_once_however_many_read_it():
    with pytest.raises(ConfigError) as error:
        found(Described(), {"a": NET, "b": [NET, NET | {"vocab_size": "${data.other}"}]}, other=None)
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == ["data.size", "data.other"]


def test_a_fact_that_the_model_does_not_take_is_refused_by_name():
    message = r"model\.vocab_size: given 'five', which Described found as data\.size; allowed: a whole number"
    with pytest.raises(ConfigError, match=message):
        found(Described(size="five"))
    with pytest.raises(ConfigError, match=r"model\.vocab_size: given 0, which Described found as data\.size; allowed"):
        found(Described(size=0))


def test_a_null_that_the_model_takes_stays_as_it_is():
    node = {"_target_": "torch.nn.BatchNorm1d", "num_features": 2, "momentum": "${data.size}"}
    assert found(Described(), node)["momentum"] is None


def test_a_class_that_says_nothing_of_what_it_takes_has_the_setting_named_when_it_fails():
    cfg = compose(["experiment=next", "trainer=cpu", "+data.fold=null"])
    cfg.model = {"_target_": "bench.hostile.Unannotated", "size": "${data.fold}"}
    with pytest.raises(
        ConfigError, match=r"model: .*NoneType.*; data\.fold is null, and the facts of Letters hold voc"
    ):
        build_parts(cfg, to_plain(cfg), FromPython(), None, [])

"""Torchvision's models."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import models

from kindling.errors import CheckpointError, ConfigError

pytest.importorskip("my_project.models.torchvision")
from my_project.models.torchvision import TorchvisionModel

SMALL = "shufflenet_v2_x0_5"


def model(name: str = SMALL, **settings: Any) -> TorchvisionModel:
    torch.manual_seed(0)
    return TorchvisionModel(**{"in_channels": 3, "num_classes": 7, "name": name, "weights": None} | settings)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """Weights of a net with the thousand classes of ImageNet."""
    torch.manual_seed(1)
    return models.get_model(SMALL, num_classes=1000).state_dict()


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "googlenet", "squeezenet1_1"])
def test_all_families_give_one_logit_a_class_in_training_too(name):
    net = model(name, **({"init_weights": False} if name == "googlenet" else {}))
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "told"), [("resnet81", r"\d+ names; did you mean resnet18\?"), ("zzz", "alexnet, .*resnet18")]
)
def test_a_name_that_it_does_not_have_is_answered_with_the_nearest_or_all(name, told):
    with pytest.raises(ConfigError, match=rf"^model\.name: given '{name}'; allowed: {told}"):
        model(name)


def test_a_grey_image_is_one_whose_channels_are_the_same():
    net, grey = model(in_channels=1).eval(), torch.randn(2, 1, 32, 32)
    assert torch.equal(net(grey), model().eval()(grey.expand(-1, 3, -1, -1)))


def test_images_of_two_channels_are_refused():
    with pytest.raises(ConfigError, match=r"data\.channels: given 2; allowed: 1 or 3 for model=torchvision"):
        model(in_channels=2)


def test_further_arguments_are_those_of_the_model():
    assert model("squeezenet1_1", dropout=0.25).get_submodule("net.classifier.0").p == 0.25


def test_weights_from_a_file_fill_all_but_the_head(tmp_path, trained):
    torch.save(trained, tmp_path / "weights.pt")
    net = model(weights=str(tmp_path / "weights.pt")).net.state_dict()
    heads = {"fc.weight", "fc.bias"}
    assert all(torch.equal(net[key], trained[key]) for key in trained.keys() - heads)
    assert net["fc.weight"].shape == (7, 1024)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: models.get_model("shufflenet_v2_x1_0").state_dict(), "weights of another model"),
        (lambda weights: {key: weights[key] for key in weights if key != "conv1.0.weight"}, "misfit: conv1.0.weight"),
        (lambda weights: weights | {"surplus": torch.zeros(1)}, "misfit: surplus"),
    ],
    ids=["another model", "a layer missing", "a layer too many"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, trained, change, message):
    torch.save(change(trained), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=rf"model\.weights: given .*{message}"):
        model(weights=str(tmp_path / "weights.pt"))


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    file = tmp_path / "weights.pt"
    file.write_text("hello")
    with pytest.raises(CheckpointError, match=rf"model\.weights: given {file}, which is no state_dict"):
        model(weights=str(file))


def test_weights_that_torchvision_does_not_have_are_answered_with_those_that_it_has():
    with pytest.raises(ConfigError, match=r"model\.weights: given 'NONE'; allowed: a file, DEFAULT, IMAGENET1K_V1"):
        model(weights="NONE")


def test_weights_by_name_are_torchvisions(monkeypatch, trained):
    fetched = []
    named = type(models.get_model_weights(SMALL).DEFAULT)
    monkeypatch.setattr(named, "get_state_dict", lambda self, **_: fetched.append(self.name) or trained)
    net = model(weights="DEFAULT").net.state_dict()
    assert fetched == ["IMAGENET1K_V1"]
    assert torch.equal(net["conv1.0.weight"], trained["conv1.0.weight"])


def test_a_failed_download_names_the_way_out(monkeypatch):
    def refuse(self: object, **_: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(type(models.get_model_weights(SMALL).DEFAULT), "get_state_dict", refuse)
    with pytest.raises(
        CheckpointError, match=r"given DEFAULT, whose download failed \(no network\); give a file or null"
    ):
        model(weights="DEFAULT")

"""Models of timm, an extra."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from kindling.errors import CheckpointError, ConfigError
from kindling.training.optimization import layer_numbers, parameter_groups

timm: Any = pytest.importorskip("timm")
optim: Any = pytest.importorskip("timm.optim")
ours: Any = pytest.importorskip("my_project.models.timm")
TimmModel, lines_for = ours.TimmModel, ours.lines_for


def model(name: str = "resnet10t", **settings: Any) -> Any:
    torch.manual_seed(0)
    given = {"in_channels": 3, "num_classes": 7, "image_size": 32, "name": name, "weights": None, "drop_path": 0.0}
    return TimmModel(**given | settings)


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050"])
def test_families_take_any_size_and_channels(name):
    for channels in (1, 3):
        assert model(name, in_channels=channels).eval()(torch.randn(2, channels, 32, 32)).shape == (2, 7)


def test_a_name_that_timm_does_not_have_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"^model\.name: given 'resnet81'; allowed: \d+ names; did you mean resnet"):
        model("resnet81")


def test_drop_path_grows_from_the_first_layer_to_the_last():
    rates = [
        each.drop_prob for each in model("vit_tiny_patch16_224", drop_path=0.5).modules() if hasattr(each, "drop_prob")
    ]
    assert rates == sorted(rates)
    assert max(rates) == pytest.approx(0.5)


def test_an_argument_that_a_model_does_not_take_is_refused():
    with pytest.raises(ConfigError, match=r"^model: given drop_path_rate=0\.5 for vgg11, which it does not take"):
        model("vgg11", drop_path=0.5)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_weights_from_a_file_fill_all_but_the_head_and_fit_channels_and_positions(tmp_path, monkeypatch, ending):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked an address"))
    torch.manual_seed(1)
    weights = timm.create_model("vit_tiny_patch16_224", img_size=64).state_dict()
    file = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save(weights, file)
    else:
        from kindling.checkpoints.safetensors import write_safetensors

        write_safetensors(weights, file)
    found = model("vit_tiny_patch16_224", in_channels=1, weights=str(file)).net.state_dict()
    assert torch.equal(found["blocks.3.mlp.fc1.weight"], weights["blocks.3.mlp.fc1.weight"])
    assert found["head.weight"].shape == (7, 192)
    assert found["pos_embed"].shape[1] == 5, "of 2 x 2 patches and a class"
    assert torch.allclose(found["patch_embed.proj.weight"], weights["patch_embed.proj.weight"].sum(1, keepdim=True))


def test_weights_that_are_no_file_or_of_another_model_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"^model\.weights: given nowhere"):
        model(weights="nowhere.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"^model\.weights: given .*other\.pth, not those of resnet10t"):
        model(weights=str(tmp_path / "other.pth"))


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "convnext_atto"])
def test_layers_are_those_of_timms_own_groups(name):
    net, decay = model(name), 0.5
    expected = {
        parameter: group["lr_scale"]
        for group in optim.param_groups_layer_decay(net.net, layer_decay=decay)
        for parameter in group["params"]
    }
    groups = parameter_groups(net, decay)
    assert sum(len(group["params"]) for group in groups) == len(expected)
    for group in groups:
        for parameter in group["params"]:
            assert group["lr_factor"] == pytest.approx(expected[parameter])
    assert list(layer_numbers(net)) == [name for name, _ in net.named_parameters()]


def test_the_settings_of_the_data_are_those_of_the_weights(capsys):
    assert lines_for("resnet18") == [
        *("data.mean=[0.485,0.456,0.406]", "data.std=[0.229,0.224,0.225]", "data.image_size=224", "data.crop=224"),
        *("data.resize=235", "data.interpolation=bicubic"),
    ]


@pytest.mark.slow
def test_the_settings_are_printed_for_a_command_line():
    done = subprocess.run([sys.executable, "-m", ours.__name__, "resnet18"], capture_output=True, text=True, check=True)
    assert done.stdout == " ".join(lines_for("resnet18")) + "\n"
    wrong = subprocess.run([sys.executable, "-m", ours.__name__, "x"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1].startswith("error: model.name: given 'x'")

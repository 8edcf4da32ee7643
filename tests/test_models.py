import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from kindling.config.composition import instantiate
from kindling.config.entry import compose
from kindling.errors import CheckpointError, ConfigError
from kindling.train import check_shapes
from my_project.models.airbench import pass_on

MODELS = ["mlp", "cnn", "resnet", "vit", "airbench", "torchvision"]


def model_of(name: str, *overrides: str) -> nn.Module:
    torch.manual_seed(0)
    shape = ["data=fake", "data.channels=3", "data.image_size=32", "data.num_classes=7"]
    return instantiate(compose([*shape, f"model={name}", *overrides]).model, "model")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_maps_images_to_one_logit_a_class(name):
    assert model_of(name)(torch.randn(4, 3, 32, 32)).shape == (4, 7)


@pytest.mark.parametrize("name", MODELS)
def test_every_trainable_parameter_gets_a_gradient(name):
    net = model_of(name)
    F.cross_entropy(net(torch.randn(8, 3, 32, 32)), torch.arange(8) % 7).backward()
    trainable = [(key, p) for key, p in net.named_parameters() if p.requires_grad]
    without = [key for key, p in trainable if p.grad is None or not p.grad.abs().sum() > 0]
    if name == "resnet":  # each block's last norm starts at zero, which stops the gradients before it
        without = [key for key in without if not key.startswith("blocks.") or "norm2" in key or "shortcut" in key]
    assert without == []


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "vit", "airbench"])
def test_the_first_loss_is_near_that_of_guessing(name):
    loss = F.cross_entropy(model_of(name)(torch.randn(64, 3, 32, 32)), torch.arange(64) % 7)
    assert loss.item() == pytest.approx(math.log(7), abs=1.3)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_of_an_image_does_not_depend_on_its_batch(name):
    net = model_of(name).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(net(images)[:1], net(images[:1]), atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "vit"])
def test_dropout_acts_in_training_alone(name):
    net = model_of(name, "model.dropout=0.5")
    images = torch.randn(4, 3, 32, 32)
    net.eval()
    assert torch.equal(net(images), net(images))
    net.train()
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    assert not torch.equal(net(images), net(images))


@pytest.mark.parametrize(("depth", "layers"), [(8, 8), (20, 20), (32, 32)])
def test_resnet_has_the_depth_it_is_given(depth, layers):
    net = model_of("resnet", f"model.depth={depth}")
    on_path = [m for key, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in key]
    assert len(on_path) == layers


def test_each_residual_block_starts_as_its_shortcut():
    block = model_of("resnet").get_submodule("blocks.1")
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(x), x)


def test_cnn_halves_the_image_in_each_stage():
    stages = model_of("cnn").get_submodule("stages")
    assert stages(torch.randn(2, 3, 32, 32)).shape == (2, 64, 4, 4)


def test_convolutions_start_kaiming_normal():
    weight = model_of("cnn", "model.channels=[64,64]").get_parameter("stages.1.4.weight")
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.05)


def test_vit_knows_the_order_of_its_patches_by_its_positions_alone():
    net = model_of("vit").eval()
    images = torch.randn(1, 3, 32, 32)
    moved = images.roll(4, dims=3)
    nn.init.zeros_(net.get_parameter("positions"))
    assert torch.allclose(net(images), net(moved), atol=1e-6)
    nn.init.normal_(net.get_parameter("positions"))
    assert not torch.allclose(net(images), net(moved), atol=1e-6)


def test_airbench_takes_images_down_to_one_pixel_after_its_stages_and_refuses_smaller_ones():
    cfg = compose(["data=fake", "data.channels=3", "model=airbench", "model.widths=[8,8,8]"])
    net = instantiate(cfg.model, "model")
    check_shapes(net, torch.zeros(2, 3, 9, 9), cfg)
    with pytest.raises(ConfigError, match=r"Airbench for images of \(C, H, W\) = \(3, 8, 8\), which it cannot"):
        check_shapes(net, torch.zeros(2, 3, 8, 8), cfg)


def test_airbench_keeps_its_whitening_and_the_scales_of_its_norms():
    frozen = {key: p for key, p in model_of("airbench").named_parameters() if not p.requires_grad}
    del frozen["whitening.weight"]
    assert len(frozen) == 2 * 3
    assert all(torch.equal(scale, torch.ones_like(scale)) for scale in frozen.values())


@pytest.mark.parametrize(("in_channels", "out_channels"), [(3, 5), (5, 5), (5, 3)])
def test_dirac_filters_pass_their_channels_on(in_channels, out_channels):
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    pass_on(conv)
    images = torch.randn(2, in_channels, 6, 6)
    passed = min(in_channels, out_channels)
    assert torch.allclose(conv(images)[:, :passed], images[:, :passed], atol=1e-6)
    assert (conv.weight[passed:] != 0).all(), "the others are random"


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("vit", "model.patch_size=5", "model.patch_size: given 5; allowed: a divisor of data.image_size, 32"),
        ("vit", "model.num_heads=5", "model.num_heads: given 5; allowed: a divisor of model.dim, 64"),
        ("resnet", "model.depth=19", r"model.depth: given 19; allowed: 6n \+ 2"),
        ("cnn", "model.channels=[]", "model.channels: given"),
        ("airbench", "model.widths=[]", "model.widths: given"),
        ("torchvision", "model.name=resnet19", "model.name: given 'resnet19'; allowed: .*resnet18"),
        (
            "torchvision",
            "model.weights=NONE",
            "model.weights: given 'NONE'; allowed: a file, DEFAULT, IMAGENET1K_V1",
        ),
    ],
)
def test_a_wrong_argument_is_answered_with_what_is_allowed(name, override, message):
    with pytest.raises(ConfigError, match=message):
        model_of(name, override)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "googlenet", "squeezenet1_1"])
def test_torchvisions_other_families_work_too(name):
    net = model_of("torchvision", f"model.name={name}", *(["+model.init_weights=false"] if name == "googlenet" else []))
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 7)


def test_torchvision_models_take_grey_images():
    net = model_of("torchvision", "data.channels=1").eval()
    grey = torch.randn(2, 1, 32, 32)
    assert torch.equal(net(grey), net(grey.expand(-1, 3, -1, -1)))


def test_weights_from_a_file_fill_all_but_the_head(tmp_path):
    trained = models.resnet18(num_classes=1000)
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    net = model_of("torchvision", f"model.weights={tmp_path}/weights.pt")
    assert torch.equal(net.get_parameter("net.layer4.1.conv2.weight"), trained.layer4[1].conv2.weight)
    assert net.get_parameter("net.fc.weight").shape == (7, 512)


@pytest.mark.parametrize("kind", ["another model", "no checkpoint", "layer missing"])
def test_weights_that_do_not_fit_are_refused(tmp_path, kind):
    file = tmp_path / "weights.pt"
    if kind == "no checkpoint":
        file.write_text("hello")
    else:
        weights = (models.resnet34() if kind == "another model" else models.resnet18()).state_dict()
        if kind == "layer missing":
            del weights["layer1.0.conv1.weight"]
        torch.save(weights, file)
    with pytest.raises(CheckpointError, match=r"model\.weights: given"):
        model_of("torchvision", f"model.weights={file}")

import pytest

from kindling.config.composition import instantiate
from kindling.config.targets import check_targets, locate
from kindling.errors import ConfigError


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "subprocess.run",
        "kindling.images.classifier.Classifier.load_from_checkpoint",
        "lightning.pytorch.loggers.wandb.os.system",
        "torch.optim.adam.torch.load",
        "bench.data.patterns.Any",
        "kindling.images.image_folder.os.system",
        "torchvision.models.resnet.partial",
        "torch.optim",
        "torch.optim.",
        "",
        None,
        3,
    ],
)
def test_a_target_outside_the_allowed_ones_is_refused(target):
    with pytest.raises(ConfigError, match=r"callbacks\[0\]\.inner\._target_: given .*allowed"):
        check_targets({"callbacks": [{"inner": {"_target_": target}}]})


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamW",
        "torch.nn.CrossEntropyLoss",
        "lightning.pytorch.Trainer",
        "bench.models.cnn.CNN",
    ],
)
def test_classes_of_the_allowed_packages_are_found(target):
    assert locate(target, "model").__name__ == target.rpartition(".")[2]


def test_a_refused_target_is_not_run(tmp_path):
    config = {"_target_": "os.mkdir", "path": str(tmp_path / "made")}
    with pytest.raises(ConfigError, match="model"):
        instantiate({"_target_": "bench.models.mlp.MLP", "hidden": config}, "model")
    assert not (tmp_path / "made").exists()


def test_a_misspelt_class_is_named():
    with pytest.raises(ConfigError, match=r"model: given 'bench\.models\.cnn\.CMM'.*CMM"):
        locate("bench.models.cnn.CMM", "model")


def test_an_unknown_argument_names_the_node():
    with pytest.raises(ConfigError, match=r"optimizer: .*momentun"):
        instantiate({"_target_": "torch.nn.CrossEntropyLoss", "momentun": 1}, "optimizer")

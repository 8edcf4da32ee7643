import pytest

from kindling.config.composition import instantiate
from kindling.config.targets import check_targets, locate, prefix_fault
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


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("kindling.images.augmen.Augment", "kindling.images.augment.Augment"),
        ("kindling.training.moun.Muon", "kindling.training.muon.Muon"),
        ("kindling.data.fake.FakeImages", "kindling.images.fake.FakeImages"),
        ("kindling.models.cnn.CNNN", "bench.models.cnn.CNN"),
        ("os.system", ""),
    ],
)
def test_a_name_of_before_or_with_a_slip_is_answered_with_that_of_today(given, meant):
    fault = prefix_fault(given, "model")
    assert fault is not None
    assert fault.meant == meant


def test_a_name_that_no_file_can_have_is_refused_by_its_length():
    assert "given a name of 1011 characters; allowed: at most 200" in str(prefix_fault(f"kindling.{'a' * 1000}.X", "x"))

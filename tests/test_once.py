"""What Hydra gives through kindling.config.once, against Hydra by itself."""

import pytest
from omegaconf import OmegaConf

from kindling.config import composition, once
from kindling.config.composition import Composer

LINES = ["experiment=cnn", "optimizer.lr=0.5", "hydra.job.name=x"]


def composed(folder=composition.CONFIGS) -> str:
    with Composer("train", folder) as composer:
        return OmegaConf.to_yaml(composer.compose(LINES))


@pytest.fixture
def plain_hydra(monkeypatch):
    """Hydra without our part in it; read anew."""
    monkeypatch.setattr(once.ConfigRepository, "load_config", once._load_config)


def test_a_config_is_that_of_plain_hydra(request):
    ours = composed(composition.CONFIGS.parent / "configs")
    request.getfixturevalue("plain_hydra")
    assert composed(composition.CONFIGS.parent / "configs") == ours


def test_a_file_that_was_changed_is_read_again(tmp_path):
    (tmp_path / "train.yaml").write_text("value: 1\n")
    with Composer("train", tmp_path) as composer:
        assert composer.compose([]).value == 1
        (tmp_path / "train.yaml").write_text("value: 12\n")
        assert composer.compose([]).value == 12


def test_what_is_changed_in_a_config_is_not_in_the_next(tmp_path):
    (tmp_path / "train.yaml").write_text("node: {value: 1}\n")
    with Composer("train", tmp_path) as composer:
        composer.compose([]).node.value = 2
        assert composer.compose([]).node.value == 1


def test_each_job_of_a_sweep_is_composed_once_and_another_sweep_anew(monkeypatch):
    composed = []
    monkeypatch.setattr(once, "_load_sweep_config", lambda self, config, lines: composed.append(lines) or object())
    monkeypatch.setattr(once, "_jobs", {})
    sweep, jobs = object(), [["seed=0"], ["seed=1"]]
    checked = [once._compose_once(None, sweep, lines) for lines in jobs]
    run = [once._compose_once(None, sweep, lines) for lines in jobs]
    assert composed == jobs
    assert all(one is other for one, other in zip(checked, run, strict=True))
    assert once._jobs == {}
    once._compose_once(None, sweep, ["seed=0"])
    once._compose_once(None, object(), ["seed=0"])
    assert len(composed) == 4

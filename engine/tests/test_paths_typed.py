"""Paths of a command line are relative to where it was typed, whatever folder Hydra goes to."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from kindling.cli import entry


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A process that Hydra has taken to another folder."""
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    hydra = SimpleNamespace(runtime=SimpleNamespace(cwd=str(tmp_path), output_dir=str(tmp_path / "run")))
    monkeypatch.setattr(entry.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(entry.HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(entry, "to_absolute_path", lambda path: str(tmp_path / path))
    return tmp_path


def test_each_path_is_relative_to_where_the_command_was_typed(elsewhere):
    given = {
        "weights": "a.ckpt",
        "resume": "auto",
        "experiment_name": "x",
        "paths": {"logs": "out", "cache": "${paths.logs}/cache", "run": None},
        "data": {"root": "photos", "name": "root", "cache_dir": "/c", "batch_size": 4, "mean": None},
        "callbacks": {"best": {"dirpath": "best", "filename": "best"}, "none": None},
        "model": None,
    }
    cfg = OmegaConf.create(given)
    entry._complete(cfg)
    here = str(elsewhere)
    assert OmegaConf.to_container(cfg, resolve=True) == {
        "weights": f"{here}/a.ckpt",
        "resume": "auto",
        "experiment_name": "x",
        "paths": {"logs": f"{here}/out", "cache": f"{here}/out/cache", "run": f"{here}/run"},
        "data": {"root": f"{here}/photos", "name": "root", "cache_dir": "/c", "batch_size": 4, "mean": None},
        "callbacks": {"best": {"dirpath": f"{here}/best", "filename": "best"}, "none": None},
        "model": None,
    }

"""A saved config, given to train.py as its own, is a run of its own under paths.logs."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from kindling.cli.arguments import check_command_line
from kindling.config.composition import Composer
from kindling.errors import ConfigError
from kindling.run_folders.resumption import flatten
from kindling.testing.runs import Run


def composed(arguments: list[str]) -> dict:
    """The config that Hydra would compose of the arguments of a checked command line."""
    checked = check_command_line("train", arguments)
    assert checked
    folder = next(each for each in checked if each.startswith("/"))
    overrides = [each for each in checked if "=" in each and not each.startswith("--")]
    with Composer("config", Path(folder)) as composer:
        return OmegaConf.to_container(composer.compose(overrides), resolve=False)  # pyright: ignore


def test_a_saved_config_is_a_run_of_its_own(trained: Run):
    cfg = composed(["--config-path", str(trained.folder), "--config-name", "config", "seed=7"])
    assert cfg["hydra"]["run"]["dir"] == "${run_folder:${paths.logs},${experiment_name},${resume}}"
    saved = flatten(yaml.safe_load((trained.folder / "config.yaml").read_text()))
    cfg.pop("hydra")
    now = flatten(cfg)
    differing = {key for key, value in saved.items() if now[key] != value}
    of_folder = {key for key, value in saved.items() if str(trained.folder) in str(value)}
    targets = {key for key, value in saved.items() if key.endswith("_target_") and value.startswith(".")}
    assert differing == {"seed"} | of_folder | targets
    assert all(now[key].startswith("bench.") for key in targets)
    assert all("${paths.run}" in now[key] for key in of_folder - {"paths.run"})
    assert now["paths.run"] is None


def test_a_saved_config_under_another_name_is_refused(trained: Run, tmp_path):
    (tmp_path / "mine.yaml").write_text((trained.folder / "config.yaml").read_text())
    with pytest.raises(ConfigError, match=r"^--config-name: given mine, a saved config; allowed: config, in the "):
        check_command_line("train", ["--config-path", str(tmp_path), "--config-name", "mine"])


def test_a_saved_config_with_an_interpolation_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("paths: {run: x}\ntask: {_target_: .tasks.X}\nseed: ${oc.env:HOME}\n")
    with pytest.raises(ConfigError, match="values without"):
        check_command_line("train", ["--config-path", str(tmp_path), "--config-name", "config"])


def test_a_primary_config_with_groups_is_left_as_it_is(tmp_path):
    (tmp_path / "train.yaml").write_text("defaults: []\npaths: {}\ntask: null\n")
    with pytest.raises(ConfigError) as caught:
        check_command_line("train", ["--config-path", str(tmp_path), "seed=1"])
    assert "saved" not in str(caught.value)

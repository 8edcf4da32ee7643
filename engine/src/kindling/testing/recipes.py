"""What every recipe of configs/experiment keeps: it composes, runs, and its header names its command."""

import os
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from kindling.cli.entry import compose
from kindling.config import project
from kindling.config.check.files import ConfigFiles
from kindling.config.composition import instantiate
from kindling.errors import DataError, one_line
from kindling.testing.runs import ONE_BATCH
from kindling.testing.sets import places_of
from kindling.train import train

RECIPES: list[str] = ConfigFiles(project.current().configs).options("experiment")
# Half precision is emulated on many processors, and slow.
SMALL = ["data.batch_size=8", "trainer=cpu", "trainer.precision=32-true", "logger=none", *ONE_BATCH]


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> str:
    """Each recipe of configs/experiment in turn."""
    return request.param


def test_a_recipe_runs_one_batch_of_everything(recipe, offline, tmp_path):
    lines = [f"experiment={recipe}", *SMALL, f"paths.logs={tmp_path}", f"paths.data={offline}/data"]
    asked = compose(lines).data
    cfg = compose([*lines, *places_of(lambda key: OmegaConf.is_missing(asked, key), offline)])
    try:
        instantiate(cfg.data, "data").read()
    except (DataError, OSError) as error:
        pytest.skip(f"its files are missing: {error}")
    metrics = train(cfg)
    assert cfg.monitor in metrics
    assert (Path(cfg.paths.run) / "run.json").is_file()


def test_a_recipe_names_its_command(recipe):
    text = (project.current().configs / "experiment" / f"{recipe}.yaml").read_text(encoding="utf-8")
    assert re.search(rf"^# command: +python train\.py experiment={recipe}\b", text, re.MULTILINE), "in its header"


def test_a_changed_default_shows_in_the_golden_config(recipe, request):
    """To accept a change: make golden, and read the diff. A recipe without a golden file is skipped."""
    file = request.path.parent / "golden" / f"{recipe}.yaml"
    if not file.is_file() and not os.environ.get("UPDATE_GOLDEN"):
        pytest.skip(f"there is no {file.name}")
    cfg = compose([f"experiment={recipe}", "paths.logs=logs", "paths.data=data"])
    cfg.paths.run = "logs/run"
    try:
        resolved = OmegaConf.to_yaml(cfg, resolve=True, sort_keys=True)
    except InterpolationToMissingValueError as error:
        pytest.skip(f"it asks for a setting that has no default: {one_line(error)}")
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(resolved)
    assert resolved == file.read_text()

"""Fixtures and contracts for a project's own tests: `pytest_plugins = ["kindling.testing"]` in tests/conftest.py.

The contracts are test functions, imported by the file that they are to be a part of:

    from kindling.testing.models import *  # every model of configs/model
    from kindling.testing.data import *  # every data set of configs/data
    from kindling.testing.recipes import *  # every recipe of configs/experiment
"""

import os

# One thread in each test process, since pytest-xdist already uses all cores; before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kindling.cli.entry import compose
from kindling.config import project
from kindling.process.start_and_end import import_torchmetrics, kept_from_collection
from kindling.testing import quick
from kindling.testing.runs import FAST, Run

quick.install()
_importing = ExitStack()
_importing.enter_context(kept_from_collection())


def pytest_collectstart() -> None:
    # Not at the start of the plugin: pytest-xdist's own process collects nothing.
    import_torchmetrics()


def pytest_collection_finish() -> None:
    _importing.close()


def pytest_runtest_teardown() -> None:
    # A command that ran in this process leaves its run folder to the runs of the tests behind it.
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="session")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from kindling.testing import sets

    folder = tmp_path_factory.mktemp("files")
    sets.write_tree(folder / "tree")
    sets.write_table(folder / "tree")
    return folder


@pytest.fixture(scope="module")
def offline(_files: Path) -> Iterator[Path]:
    """The only folder in which a data set finds files; stand-ins for those of torchvision and for a tree of images."""
    from kindling.testing import sets

    # For one file alone: another may test torchvision's own classes.
    with pytest.MonkeyPatch.context() as patch:
        sets.replace_torchvisions(patch)
        yield _files


@pytest.fixture(scope="session")
def _small() -> list[str]:
    if not (project.current().configs / "data" / "fake.yaml").is_file():
        pytest.skip("data=fake is not there, which the small runs of tests take")
    return FAST


@pytest.fixture
def config(tmp_path: Path, _small: list[str]) -> Callable[..., DictConfig]:
    """Composes a config of a small run that logs below tmp_path."""
    return lambda *overrides: compose([*_small, f"paths.logs={tmp_path}/logs", *overrides])


@pytest.fixture
def train_run(config: Callable[..., DictConfig]) -> Callable[..., Run]:
    """Trains a small run in this process."""
    from kindling.train import train

    def run(*overrides: str) -> Run:
        cfg = config(*overrides)
        metrics = train(cfg)
        return Run(cfg, Path(cfg.paths.run), metrics)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, _small: list[str]) -> Run:
    """One finished run, to look at and to copy."""
    from kindling.train import train

    cfg = compose([*_small, "logger=default", f"paths.logs={tmp_path_factory.mktemp('trained')}"])
    metrics = train(cfg)
    return Run(cfg, Path(cfg.paths.run), metrics)


@pytest.fixture
def finished(trained: Run, tmp_path: Path) -> Run:
    """A copy of a finished run, to do with as one likes."""
    return trained.copied_to(tmp_path / "logs")


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes a class-per-folder tree of random PNGs, grey or colour, and returns its root."""
    from kindling.testing import sets

    return lambda **settings: sets.make_tree(tmp_path / "tree", **settings)

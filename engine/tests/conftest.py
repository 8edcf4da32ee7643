"""The fixtures of kindling.testing, over bench/, and some more that several files take.

Nothing heavy is imported at its top: the process of pytest-xdist that runs no test would wait for it.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bench_root
from heed_signals import heed_signals
from kindling.cli.entry import compose
from kindling.config import project
from kindling.errors import Interrupted

if TYPE_CHECKING:
    import torch

pytest_plugins = ["kindling.testing"]
heed_signals()
project.use(bench_root.PROJECT)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A process has one project: the tests of another would run over bench/."""
    others = [item.nodeid for item in items if Path(__file__).parent not in item.path.parents]
    if others and not config.option.collectonly:
        raise pytest.UsageError(f"given {others[0]} beside engine/tests; run one folder after the other: make test")


@pytest.fixture(scope="module")
def browser():
    """For one file: a driver that runs on forbids others to run loops of their own."""
    from pages import chromium

    with chromium() as opened:
        yield opened


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a test import what lies in engine/scripts/."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))


@pytest.fixture
def stop_at(config, monkeypatch):
    """Trains a run until a step, at which it is interrupted, and returns its config."""
    from kindling.train import train
    from kindling.training.task import Task

    def stop(step: int, *overrides: str):
        cfg = config(*overrides)
        original = Task.training_step

        def stopping(self, batch, batch_idx):
            if self.global_step == step:
                raise Interrupted("SIGTERM")
            return original(self, batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(Task, "training_step", stopping)
            with pytest.raises(Interrupted):
                train(cfg)
        return cfg

    return stop


@pytest.fixture
def weights_after(monkeypatch):
    """Collects the weights each time that a hook of the classifier has done its work."""
    from kindling.training.task import Task

    def collect(hook: str) -> "list[dict[str, torch.Tensor]]":
        weights, original = [], getattr(Task, hook)

        def keep(self, *arguments, **named):
            original(self, *arguments, **named)
            weights.append({name: each.detach().clone() for name, each in self.named_parameters()})

        monkeypatch.setattr(Task, hook, keep)
        return weights

    return collect


@pytest.fixture(scope="session")
def trained_task(tmp_path_factory):
    """Trains a recipe of bench/ that is not of images, once for all tests; not to be changed."""

    # Pytest rewrites that package before it is imported.
    from kindling.testing.runs import Run
    from kindling.train import train

    @cache
    def trained(task: str) -> Run:
        settings = [f"experiment={task}", "trainer=cpu", "trainer.max_epochs=2", "optimizer.lr=0.1"]
        logs = tmp_path_factory.mktemp(task)
        cfg = compose([*settings, "logger=csv", "trainer.log_every_n_steps=1", f"paths.logs={logs}"])
        metrics = train(cfg)
        return Run(cfg, Path(cfg.paths.run), metrics)

    return trained

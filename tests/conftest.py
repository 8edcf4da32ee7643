"""The fixtures config, train_run, trained, finished, make_tree and offline; one thread, and no GPU."""

from pathlib import Path

from kindling.config import project

project.use(Path(__file__).parents[1])
pytest_plugins = ["kindling.testing"]

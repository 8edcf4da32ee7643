"""Modules that know nothing of the engine, copied from Lightning: they train, stop, are resumed and evaluated."""

import inspect
import textwrap
from importlib.metadata import distribution
from pathlib import Path

import lightning.pytorch.demos
import pytest
from lightning.pytorch.core.optimizer import LightningOptimizer

from bench_root import BENCH

FOREIGN = BENCH / "src" / "bench" / "foreign"
DEMOS = Path(lightning.pytorch.demos.__file__).parent
README = distribution("lightning").read_text("METADATA") or ""
EXAMPLES = textwrap.dedent((inspect.getdoc(LightningOptimizer.step) or "").partition("Example::\n")[2])


@pytest.mark.parametrize("name", ["boring_classes", "lstm", "transformer", "mnist_datamodule"])
def test_a_demo_of_lightning_is_copied_unchanged(name):
    assert (FOREIGN / f"{name}.py").read_text() == (DEMOS / f"{name}.py").read_text()


@pytest.mark.parametrize(
    ("name", "source"), [("autoencoder", README)] + [(n, EXAMPLES) for n in ("gan", "gan_with_closures")]
)
def test_an_example_of_lightnings_documentation_is_copied_unchanged(name, source):
    copied = (FOREIGN / f"{name}.py").read_text()
    assert copied.strip()
    assert copied in source + "\n"


def test_every_copied_file_is_named_with_its_source():
    files = {file.name for file in FOREIGN.glob("*.py")} - {"__init__.py"}
    readme = (FOREIGN / "README.md").read_text()
    rows = [row.split("|")[1] for row in readme.splitlines() if row.startswith("| `")]
    assert files == {name for row in rows for name in row.split("`") if name.endswith(".py")}
    assert len(files) == 7

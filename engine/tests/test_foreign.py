"""Modules that know nothing of the engine, copied from Lightning: they train, stop, are resumed and evaluated."""

import hashlib
import inspect
import textwrap
from importlib.metadata import distribution, version
from pathlib import Path

import lightning.pytorch.demos
import pytest
from lightning.pytorch.core.optimizer import LightningOptimizer

from bench_root import BENCH

FOREIGN = BENCH / "src" / "bench" / "foreign"
DEMOS = Path(lightning.pytorch.demos.__file__).parent
README = distribution("lightning").read_text("METADATA") or ""
EXAMPLES = textwrap.dedent((inspect.getdoc(LightningOptimizer.step) or "").partition("Example::\n")[2])


# Of the files as they were copied from this version; another may have changed its own.
COPIED_FROM = "2.6.6"
SHA256 = {
    "autoencoder": "200362b82a12f5bbd8df11567f4b73829a616829f9fafba6adafe7f2f8e43911",
    "boring_classes": "b42c9c00f633e7bcb924d2b59b9cb6b93427e282c48af39ff7c6203e5284c755",
    "gan": "321fa846f964df72ac3c14b0a32e1d11f397a1caf846aa9ab9b54ac4bf0c5b9c",
    "gan_with_closures": "de154fdc5f5545a09de6de0de9621c7ea53ea5434b31951618984b46f26efe11",
    "lstm": "0a235627820c2c1c2f416f51ebb28cbe105bfdb1f1aee17d2b981ce116b9b6ab",
    "mnist_datamodule": "b8187889b4c95bffc494d94e494450289829b132b2ee1b9723305efed168a278",
    "transformer": "6655cf1b00acc96209b878598c2b5e63d1246bc32342e1991d42c5fc57aa4e4d",
}
of_the_version = pytest.mark.skipif(version("lightning") != COPIED_FROM, reason=f"compares with {COPIED_FROM}")


def test_every_copied_file_is_as_it_was_copied():
    found = {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in FOREIGN.glob("*.py")}
    assert {name: digest for name, digest in found.items() if name != "__init__"} == SHA256
    assert len(SHA256) == 7


@of_the_version
@pytest.mark.parametrize("name", ["boring_classes", "lstm", "transformer", "mnist_datamodule"])
def test_a_demo_of_lightning_is_copied_unchanged(name):
    assert (FOREIGN / f"{name}.py").read_text() == (DEMOS / f"{name}.py").read_text()


@of_the_version
@pytest.mark.parametrize(
    ("name", "source"), [("autoencoder", README)] + [(n, EXAMPLES) for n in ("gan", "gan_with_closures")]
)
def test_an_example_of_lightnings_documentation_is_copied_unchanged(name, source):
    copied = (FOREIGN / f"{name}.py").read_text()
    assert copied.strip()
    assert copied in source + "\n"


def test_every_copied_file_is_named_with_its_source():
    readme = (FOREIGN / "README.md").read_text()
    rows = [row.split("|")[1] for row in readme.splitlines() if row.startswith("| `")]
    assert {f"{name}.py" for name in SHA256} == {
        name for row in rows for name in row.split("`") if name.endswith(".py")
    }

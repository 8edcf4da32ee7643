"""Packages that not everyone needs: one table, which is that of pyproject.toml."""

import os
import re
import tomllib

import pytest

from bench_root import REPOSITORY
from kindling.config.extras import EXTRAS, optional, optional_all
from kindling.config.rules import logger_rules
from kindling.errors import ConfigError

PROJECT = tomllib.loads((REPOSITORY / "engine" / "pyproject.toml").read_text())["project"]
MODULES = {"mlflow_skinny": "mlflow"}  # of the others, the distribution's name


def module_of(requirement: str) -> str:
    name = re.split(r"[^\w.-]", requirement)[0].replace("-", "_")
    return MODULES.get(name, name)


def test_the_table_of_extras_is_that_of_pyproject():
    extras = {name: each for name, each in PROJECT["optional-dependencies"].items() if name != "dev"}
    # An extra may ask for a newer version of what is always there.
    there = {*map(module_of, PROJECT["dependencies"])}
    # A part that a project has left out takes its extra along.
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["kindling"]
    assert {name: {*map(module_of, each)} - there for name, each in extras.items()} == {
        name: {*modules} for name, modules in EXTRAS.items() if name in extras or not settings.get("without")
    }


def test_a_logger_names_an_extra_and_modules_of_it():
    assert len(logger_rules.MODULES) == 4
    for extra, modules in logger_rules.MODULES.values():
        assert {*modules} <= {*EXTRAS[extra]}


@pytest.mark.parametrize(
    ("module", "extra"), [("onnxruntime.absent", "export"), ("pyarrow.absent", "parquet"), ("wandb.absent", "wandb")]
)
def test_a_module_that_is_missing_names_its_extra(module, extra):
    with pytest.raises(ConfigError, match=rf"{module} is not installed; run: pip install -e '\./engine\[{extra}\]' -c"):
        optional(module)


def test_what_a_command_needs_is_named_by_the_extra_of_the_command(monkeypatch):
    monkeypatch.setitem(EXTRAS, "serve", ("onnxruntime.absent", "fastapi"))
    with pytest.raises(ConfigError, match=r"run: pip install -e '\./engine\[serve\]'"):
        optional_all("serve")


def test_onnx_runtime_reports_nothing_to_its_maker_unless_the_environment_says_so(monkeypatch):
    # The variable is put back afterwards, as it was.
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "")
    for given, found in ((None, "1"), ("0", "0")):
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
        if given:
            monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
        optional("onnxruntime")
        assert os.environ["ORT_DISABLE_TELEMETRY"] == found

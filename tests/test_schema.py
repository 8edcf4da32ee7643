"""Each YAML file of configs/ is one that an editor can check, and has nothing to mark in."""

import re
from collections.abc import Callable

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from kindling.config import project
from kindling.config.check.schema import schema_of, schemas

CONFIGS = project.current().configs
FILES = sorted(CONFIGS.rglob("*.yaml"))


@pytest.fixture(scope="module")
def faults() -> Callable[[str, object], list[str]]:
    """What an editor would mark in a file of a kind, each with its place."""
    found = schemas()
    registry = Registry().with_resources((f"{name}.json", Resource.opaque(text)) for name, text in found.items())
    validators = {name: Draft202012Validator(text, registry=registry) for name, text in found.items()}
    return lambda name, content: [f"{e.json_path}: {e.message}" for e in validators[name].iter_errors(content)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_yaml_file_names_its_schema_where_an_editor_and_hydra_look_for_it(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]  # Hydra reads @package from the top alone
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found, f"its first line, below # @package, is no `# yaml-language-server: $schema=...`: {first}"
    assert (file.parent / found[1]).resolve() == CONFIGS.parent / ".schema" / f"{schema_of(file)}.json"


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_an_editor_marks_nothing_in_a_yaml_file(faults, file):
    assert faults(schema_of(file), yaml.safe_load(file.read_text(encoding="utf-8"))) == []


def test_an_editor_marks_a_key_that_is_not_there(faults):
    assert "optimzer" in str(faults("config", {"optimzer": {"lr": 1}}))

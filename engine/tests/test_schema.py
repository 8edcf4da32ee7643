import json

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from bench_root import CONFIGS
from kindling.config.check.schema import schema_of, schemas


@pytest.fixture(scope="module")
def faults():
    """What an editor would mark in a file of a kind, each with its place."""
    texts = {f"{name}.json": json.loads(json.dumps(schema)) for name, schema in schemas().items()}
    registry = Registry().with_resources((name, Resource.opaque(text)) for name, text in texts.items())

    def find(name: str, content: object) -> list[str]:
        validator = Draft202012Validator(texts[f"{name}.json"], registry=registry)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(content)]

    return find


FILES = sorted(CONFIGS.rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_no_shipped_file_is_marked(faults, file):
    assert faults(schema_of(file), yaml.safe_load(file.read_text())) == []


@pytest.mark.needs("serving", "exporting", "predicting")
@pytest.mark.parametrize(
    ("name", "content", "marked"),
    [
        ("config", {"optimzer": {"lr": 1}}, "optimzer"),
        ("config", {"trainer": {"max_epoch": 3}}, "max_epoch"),
        ("config", {"trainer": {"max_epochs": "many"}}, "many"),
        ("config", {"defaults": [{"override /model": "cnnn"}]}, "cnnn"),
        ("config", {"data": {"transform": {}, "agument": {}}}, "agument"),
        ("config", {"seed": -1}, "-1"),
        ("data", {"_target_": "bench.data.patterns.Patterns", "batch_size": 0}, "0"),
        ("model", {"_target_": "bench.models.cnn.CNN", "channels": 16}, "16"),
        ("optimizer", {"_target_": "torch.optim.AdamW", "lrr": 1}, "lrr"),
        ("callbacks", {"early_stopping": {"patience": -1}}, "-1"),
        ("scheduler", {"interval": "weekly"}, "weekly"),
        ("evaluate", {"split": "some"}, "some"),
        ("predict", {"batch_size": 0}, "0"),
        ("export", {"format": "tflite"}, "tflite"),
        ("serve", {"port": 65536}, "65536"),
    ],
)
def test_an_editor_marks_a_mistake(faults, name, content, marked):
    found = faults(name, content)
    assert found
    assert marked in str(found)


def test_a_reference_stands_for_any_value(faults):
    assert faults("model", {"_target_": "bench.models.cnn.CNN", "dropout": "${model.dropout}"}) == []
    assert faults("data", {"_target_": "kindling.images.image_folder.ImageFolder", "root": "???"}) == []


def test_a_target_of_ones_own_may_have_any_argument(faults):
    assert faults("model", {"_target_": "kindling.models.mine.Mine", "heads": 3}) == []

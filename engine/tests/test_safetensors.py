"""Weights as safetensors: written, given away with a card, and loaded again."""

import json
import re
import struct

import pytest
import torch
from torch import nn

import kindling
from kindling.checkpoints.safetensors import read_safetensors, write_safetensors
from kindling.cli.entry import compose
from kindling.errors import CheckpointError, ConfigError, ExportError
from kindling.export import export
from kindling.inference.exporting.card import plain_lines
from kindling.inference.runtimes import open_model
from kindling.inference.weights_folder import without_places

WEIGHTS = {
    "half": torch.arange(3, dtype=torch.float16),
    "brain": torch.arange(3, dtype=torch.bfloat16),
    "turned": torch.arange(6.0).reshape(2, 3).t(),
    "count": torch.tensor(7),
    "mask": torch.tensor([True, False, True]),
    "none": torch.empty(0, 4),
    "double": torch.tensor([0.1], dtype=torch.float64),
}


def export_weights(run, *overrides: str):
    export(compose([f"run={run.folder}", "format=safetensors", "benchmark=false", *overrides], name="export"))
    return run.folder / "export" / "safetensors"


@pytest.fixture(scope="module")
def folder(trained):
    return export_weights(trained)


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        each.dtype == second[name].dtype and torch.equal(each, second[name]) for name, each in first.items()
    )


def test_safetensors_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "a.safetensors"
    write_safetensors(WEIGHTS, file)
    assert same(read_safetensors(file), WEIGHTS)
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0, "as the format asks for"
    assert header.pop("__metadata__") == {"format": "pt"}, "which transformers asks for"
    offsets = [each["data_offsets"] for each in header.values()]
    assert [0, *(end for _, end in offsets)] == [*(start for start, _ in offsets), len(content) - 8 - length]
    for each in header.values():
        size = {"F64": 8, "I64": 8, "F32": 4, "F16": 2, "BF16": 2, "BOOL": 1}[each["dtype"]]
        assert each["data_offsets"][0] % size == 0, "where its kind may lie in memory"


def test_the_formats_own_library_reads_and_writes_the_same(tmp_path):
    library = pytest.importorskip("safetensors.torch")
    write_safetensors(WEIGHTS, tmp_path / "ours.safetensors")
    assert same(library.load_file(tmp_path / "ours.safetensors"), WEIGHTS)
    library.save_file({name: each.contiguous() for name, each in WEIGHTS.items()}, tmp_path / "theirs.safetensors")
    assert same(read_safetensors(tmp_path / "theirs.safetensors"), WEIGHTS)


def test_weights_that_the_format_lacks_are_refused_by_name(tmp_path):
    with pytest.raises(ExportError, match=r"cannot hold angle \(torch.complex64.*try format=pt2"):
        write_safetensors({"angle": torch.zeros(1, dtype=torch.complex64)}, tmp_path / "a.safetensors")


def test_exported_weights_predict_as_the_run_does_to_the_bit(folder, trained):
    loaded, run = kindling.load(folder, device="cpu"), kindling.load(trained.folder, device="cpu")
    pixels = torch.randint(0, 256, (5, 16, 16, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = run.probabilities(pixels.numpy())
    assert torch.equal(loaded.probabilities(pixels.numpy()), expected)
    assert loaded.classes == run.classes
    _, served = open_model(folder)
    assert abs(served(pixels.numpy()) - expected.numpy()).max() < 1e-6


def test_five_lines_of_torch_on_the_card_load_the_weights(folder, trained, monkeypatch):
    monkeypatch.chdir(folder)
    card = (folder / "README.md").read_text()
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1]
    assert len(code.splitlines()) == 5
    assert "lightning" not in code
    assert "import kindling" not in code
    lines: dict = {}
    exec(code, lines)
    expected = kindling.load(trained.folder, device="cpu").net
    assert same(lines["net"].state_dict(), expected.state_dict())
    assert not lines["net"].training


def test_the_card_says_what_the_model_is_and_holds_no_path_of_this_machine(folder, trained):
    card = (folder / "README.md").read_text()
    score, first = trained.metrics["test/accuracy"], kindling.load(trained.folder, device="cpu").classes[0]
    scored, classes = f"| test/accuracy | {score:.4g} |", f"10 classes: `{first}`"
    for said in (scored, " train, 64 val", classes, "- seed: 0", "## Limits"):
        assert said in card, said
    assert card.startswith("---\nlibrary_name: pytorch\n")
    assert {file.name for file in folder.iterdir()} == {
        *("model.safetensors", "model.json", "config.json", "README.md", "decoding.py"),
    }
    for file in folder.iterdir():
        assert str(trained.folder.parent).encode() not in file.read_bytes(), file


def test_places_of_this_machine_become_their_last_part():
    assert without_places({"a": ["/x/y", "~/z"], "b": ("x/y", 1)}) == {"a": ["y", "z"], "b": ["x/y", 1]}


def test_lines_are_given_for_nets_that_a_class_alone_builds():
    model = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1, "weights": "/x/y"}
    assert "net = Linear(in_features=2, out_features=1, weights=None); " in plain_lines({"model": model})[-1]
    assert plain_lines({"model": model | {"act": {"_target_": "torch.nn.ReLU"}}}) == []
    assert plain_lines({"model": None}) == []


def test_damaged_or_foreign_folders_of_weights_are_refused(folder, tmp_path):
    import shutil

    def changed(name: str, old: bytes, new: bytes):
        shutil.rmtree(tmp_path / "folder", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "folder")
        file = tmp_path / "folder" / name
        file.write_bytes(file.read_bytes().replace(old, new))
        return tmp_path / "folder"

    with pytest.raises(CheckpointError, match="is missing or damaged"):
        kindling.load(changed("config.json", b'"format"', b'format"'))
    with pytest.raises(CheckpointError, match="of format 99"):
        kindling.load(changed("config.json", b'"format":', b'"format": 99, "was":'))
    net = re.findall(rb'"model": {\s*("_target_": "[^"]*")', (folder / "config.json").read_bytes())[0]
    with pytest.raises((CheckpointError, ConfigError), match=r"os\.system"):
        kindling.load(changed("config.json", net, b'"_target_": "os.system"'))
    with pytest.raises(CheckpointError, match="no whole safetensors file"):
        kindling.load(changed("model.safetensors", b"data_offsets", b"data_offsetz"))
    with pytest.raises(CheckpointError, match="by its checksum"):
        open_model(changed("model.safetensors", b"data_offsets", b"data_offsetz"))


def test_preprocessing_is_refused_for_weights_alone(trained):
    with pytest.raises(ConfigError, match="holds weights alone"):
        export_weights(trained, "preprocessing=true")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "cnn", "vit"])
def test_every_model_loads_from_its_weights(train_run, monkeypatch, model):
    run = train_run("trainer.max_epochs=1", f"model={model}")
    folder = export_weights(run)
    expected, loaded = kindling.load(run.folder, device="cpu").net, kindling.load(folder, device="cpu").net
    assert same(expected.state_dict(), loaded.state_dict())
    monkeypatch.chdir(folder)
    lines: dict = {}
    exec(re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1], lines)
    assert isinstance(lines["net"], nn.Module)
    assert same(lines["net"].state_dict(), expected.state_dict())

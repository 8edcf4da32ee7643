import os
import pickle
from pathlib import Path

import pytest
import torch

from kindling.checkpoints import checkpoint
from kindling.config import project
from kindling.config.renames import FORMAT
from kindling.config.targets import absolute, relative
from kindling.errors import CheckpointError


def write(path: Path, **changes) -> Path:
    saved = {"state_dict": {"weight": torch.arange(1000.0)}}
    checkpoint.describe(saved, {"model": {"_target_": "bench.models.cnn.CNN"}}, {"classes": ["a", "b"]})
    saved["description"] |= changes
    checkpoint.WholeCheckpointIO().save_checkpoint(saved, path)
    return path


def test_what_is_saved_is_loaded(tmp_path):
    saved = checkpoint.load(write(tmp_path / "a.ckpt"))
    assert torch.equal(saved["state_dict"]["weight"], torch.arange(1000.0))
    assert saved["description"]["facts"]["classes"] == ["a", "b"]
    assert saved["description"]["config"]["model"]["_target_"] == "bench.models.cnn.CNN"


def test_targets_of_the_project_are_stored_from_its_package_on():
    package = project.current().package
    config = {"a": [{"_target_": f"{package}.models.x.X"}], "b": {"_target_": "kindling.training.optimization.cosine"}}
    assert relative(config) == {
        "a": [{"_target_": ".models.x.X"}],
        "b": {"_target_": "kindling.training.optimization.cosine"},
    }
    assert absolute(relative(config)) == config


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
def test_a_flipped_bit_is_found(tmp_path, position):
    file = write(tmp_path / "a.ckpt")
    content = bytearray(file.read_bytes())
    content[int(len(content) * position)] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged|no whole checkpoint"):
        checkpoint.load(file)


@pytest.mark.parametrize("content", [b"", b"hello", "half"])
def test_a_file_that_is_no_whole_checkpoint_is_named(tmp_path, content):
    file = write(tmp_path / "a.ckpt")
    file.write_bytes(file.read_bytes()[:2000] if content == "half" else content)
    with pytest.raises(CheckpointError, match=r"a\.ckpt, which is no whole checkpoint"):
        checkpoint.load(file)


def test_a_malicious_pickle_is_not_executed(tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"state_dict": Evil(), "description": {}}, tmp_path / "evil.ckpt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.ckpt", "evil.pkl"):
        with pytest.raises(CheckpointError):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_of_another_program_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"lacks a description; allowed: checkpoints of train\.py"):
        checkpoint.load(tmp_path / "other.ckpt")


@pytest.mark.parametrize("given", [99, 0, 2.0, True, "2", None])
def test_another_format_is_refused_by_its_number(tmp_path, given):
    with pytest.raises(CheckpointError, match=f"of format {given!r}; allowed: format {FORMAT} and older"):
        checkpoint.load(write(tmp_path / "a.ckpt", format=given))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = write(tmp_path / "a.ckpt")
    before = file.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match=r"a\.ckpt: cannot be written \(No space left on device\)"):
        write(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_checkpoint_of_several_files_is_refused_by_name(tmp_path):
    (tmp_path / ".metadata").write_bytes(b"a pickle")
    with pytest.raises(CheckpointError, match="a checkpoint of several files, which torch reads by pickle"):
        checkpoint.find(str(tmp_path))

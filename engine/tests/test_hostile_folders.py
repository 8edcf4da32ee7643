"""No model folder runs code, reads or writes another file, or hangs, and each ends in one line."""

import json
import multiprocessing
import resource
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hostile_folders import FOLDERS, MARKER, SECRET, expression, pt2, torchscript
from kindling.checkpoints import checkpoint
from kindling.config.rules.run_rules import trust_is_of_a_folder
from kindling.errors import CheckpointError, KindlingError, one_line
from kindling.inference import predictor  # noqa: F401  later it would keep what a test puts in the place of rebuild
from kindling.inference.runtimes import open_model
from kindling.inference.serving.model import warm
from kindling.inference.serving.source import Source
from kindling.training import rebuild
from model_folders import SIZE, write_model

# What is asked of each commit: one of each kind.
QUICK = (
    "a pickle as sample input",
    "Python as a size",
    "a program of torch",
    "half of an ONNX",
    "weights beside the model",
    "a model of 3 TB",
    "columns that are numbers",
    "images that no memory holds",
    "a description that links to the kernel's log",
)
MOST_S, MOST_MEGABYTES = 10, 2000


def opened(folder: Path, timeout_s: float = 2.0) -> str:
    """What comes of serving a folder."""
    try:
        model = Source(None, None, folder).open(threads=1)
        warm(model, 64, timeout_s)
        found = model.run(np.zeros((1, SIZE, SIZE, 1), dtype=np.uint8))
    except KindlingError as error:
        return f"refused: {error}"
    except BaseException as error:
        return f"failed: {type(error).__name__}: {one_line(error)}"
    return f"opened: {found.tolist()}"


@pytest.mark.parametrize("name", QUICK)
def test_a_hostile_folder_is_refused_in_one_line(tmp_path, name):
    folder = write_model(tmp_path / "model")
    FOLDERS[name](folder)
    said = opened(folder)
    assert said.startswith("refused: ")
    assert "\n" not in said
    assert SECRET not in said
    assert not (folder / MARKER).exists()


def in_own_process(folder: Path, home: Path) -> None:
    said = opened(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    (home / "outcome").write_text(json.dumps([said, peak]), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_no_folder_runs_code_writes_elsewhere_hangs_or_takes_all_memory(tmp_path, name):
    folder, home = write_model(tmp_path / "model"), tmp_path
    FOLDERS[name](folder)
    before = set(home.rglob("*"))
    process = multiprocessing.get_context("fork").Process(target=in_own_process, args=(folder, home))
    with warnings.catch_warnings():  # newer Pythons warn of forks in a process with threads
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    process.join(MOST_S)
    process.kill()
    process.join()
    assert (home / "outcome").exists(), f"it hung or died: {process.exitcode}"
    said, peak = json.loads((home / "outcome").read_text(encoding="utf-8"))
    assert said.startswith("refused: "), said
    assert "\n" not in said
    assert SECRET not in said
    assert peak < MOST_MEGABYTES
    assert set(home.rglob("*")) - before == {home / "outcome"}


def test_there_are_many_kinds_of_hostile_folders():
    assert len(FOLDERS) >= 30
    assert set(QUICK) <= FOLDERS.keys()


def test_a_program_is_opened_with_trust_alone_and_never_out_of_a_run(tmp_path):
    folder = write_model(tmp_path / "run" / "export" / "onnx")
    pt2(lambda name, content, _: content)(folder)
    for source in (Source(None, None, folder), Source(tmp_path / "run", None, None, trust=True)):
        with pytest.raises(CheckpointError, match=r"whose model\.pt2 is a program, which may do anything when it is "):
            source.open(threads=1)
    with pytest.raises(
        CheckpointError, match=r"allowed: the formats onnx, int8, safetensors; if you know .* trust=true"
    ):
        open_model(folder)
    model = Source(None, None, folder, trust=True).open(threads=1)
    warm(model, 4)
    assert model.run(np.zeros((2, SIZE, SIZE, 1), dtype=np.uint8)).shape == (2, 3)


@pytest.mark.parametrize("make", [pt2(expression), torchscript], ids=["pt2", "TorchScript"])
def test_what_is_refused_would_have_run(tmp_path, make):
    """Else the attacks would prove nothing."""
    folder = write_model(tmp_path / "model")
    make(folder)
    _, run = open_model(folder, threads=1, trust=True)
    run(np.zeros((1, SIZE, SIZE, 1), dtype=np.uint8))
    assert (folder / MARKER).exists()


def test_trust_without_a_folder_is_told_to_have_no_effect():
    given = {"trust": True, "run": "x", "model": {"folder": None}}
    (fault,) = trust_is_of_a_folder(given)
    assert str(fault) == "trust: given true, without effect; allowed: false, or model=<exported folder>"
    assert not [*trust_is_of_a_folder(given | {"model": {"folder": "x"}})]


def test_a_checkpoint_whose_processor_cannot_be_made_is_refused_in_one_line(tmp_path, monkeypatch):
    def make() -> object:
        raise TypeError("unsupported operand")

    monkeypatch.setattr(rebuild, "rebuild", lambda *_: SimpleNamespace(processor=make))
    monkeypatch.setattr(checkpoint, "load", lambda path: {})
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt: what it describes does not work \(TypeError: unsupported op"
    ):
        Source(None, tmp_path / "last.ckpt", None).open(threads=None)

import os
import tempfile

import pytest
import torch
from torch import nn

from bench.models.mlp import MLP
from kindling.training import machine
from kindling.training.compilation import compile_net


@pytest.fixture
def eager(monkeypatch):
    """nn.Module.compile without the compiling, which takes a minute, and starts threads that forbid forks."""
    modes = []

    def compile_eagerly(self, mode):
        modes.append(mode)
        self._compiled_call_impl = self._call_impl

    monkeypatch.setattr(nn.Module, "compile", compile_eagerly)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # set anew by what is tested
    return modes


def test_a_compiled_net_keeps_its_names_and_its_outputs(eager, tmp_path, monkeypatch):
    torch.manual_seed(0)
    net = MLP(1, 4, 3, [8], 0.0)
    images = torch.rand(2, 1, 4, 4)
    before, expected = list(net.state_dict()), net(images)
    monkeypatch.chdir(tmp_path)
    compile_net(net, "max-autotune", tmp_path / "cache")
    assert torch.allclose(net(images), expected)
    assert list(net.state_dict()) == before
    assert eager == ["max-autotune"]
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache")


def test_a_cache_folder_that_the_user_named_stays(eager, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/theirs")
    compile_net(nn.Linear(1, 1), "default", tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/theirs"


def test_the_folder_that_torch_chose_itself_is_not_the_users(eager, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_someone")
    compile_net(nn.Linear(1, 1), "default", tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)


def test_a_run_with_a_compiled_net_leaves_a_checkpoint_like_any_other(eager, train_run, tmp_path):
    settings = ["model=mlp", "model.hidden=[8]", "trainer.max_epochs=1"]
    compiled = train_run(*settings, "compile=default", f"paths.cache={tmp_path}/cache")
    plain = train_run(*settings)
    assert eager == ["default"]
    assert compiled.weights().keys() == plain.weights().keys()
    assert all(torch.allclose(compiled.weights()[name], weight) for name, weight in plain.weights().items())


def test_the_precision_of_matrices_and_the_search_of_cudnn_are_set(train_run):
    before, searched = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    faster = ["float32_matmul_precision=high", "trainer.benchmark=true"]
    try:
        train_run("model=mlp", "model.hidden=[8]", "trainer.max_epochs=1", *faster)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark) == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.benchmark = searched


def test_compiling_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    (fault,) = machine.compiler_is_there({"compile": "default"})
    assert str(fault).startswith(
        "compile: given default, and no C++ compiler is there (no-such-compiler); allowed: null"
    )
    assert list(machine.compiler_is_there({"compile": None})) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Attribute 'net' is an instance")  # Lightning's, of what the module saves
def test_the_net_of_a_module_that_is_no_task_is_compiled_too(eager, train_run, tmp_path):
    plain = ["task=plain", "task._target_=bench.hostile.Template", "scheduler=none", "model=mlp"]
    train_run(*plain, "trainer.max_epochs=1", "compile=default", f"paths.cache={tmp_path}/cache")
    assert eager == ["default"]

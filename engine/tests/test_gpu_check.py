"""`make test-gpu` without a GPU: a step that fails or hangs is told, and the others go on."""

import json
import sys

import pytest
import torch


@pytest.fixture
def gpu_check(scripts, monkeypatch):
    import gpu_check

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "one")
    return gpu_check


def test_a_step_that_fails_or_hangs_leaves_the_others_alone(gpu_check, monkeypatch, tmp_path, capsys):
    steps = {
        "hangs": gpu_check.Step(gpu_check.command(sys.executable, "-c", "import time; time.sleep(60)"), 0.3),
        "fails": gpu_check.Step(gpu_check.command(sys.executable, "-c", "raise SystemExit('too hot')"), 30, alone=True),
        "works": gpu_check.Step(gpu_check.command(sys.executable, "-c", "print('fine')"), 30, alone=True),
    }
    out = tmp_path / "out.json"
    monkeypatch.setattr(gpu_check, "steps", lambda data: steps)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", f"--out={out}"])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    assert ended.value.code == 1
    found = json.loads(out.read_text())["steps"]
    assert {name: step["passed"] for name, step in found.items()} == {"hangs": False, "fails": False, "works": True}
    assert "ended with -9" in found["hangs"]["told"]
    assert "too hot" in found["fails"]["told"]
    assert "FAILED hangs" in capsys.readouterr().out


def test_tests_that_are_skipped_for_want_of_a_gpu_have_not_passed(gpu_check, monkeypatch):
    monkeypatch.setattr(gpu_check, "run", lambda *command, limit_s: "12 skipped in 21.01s")
    with pytest.raises(gpu_check.CheckError, match="12 skipped"):
        gpu_check.gpu_tests(1)


def test_the_steps_see_a_gpu_that_the_tests_of_the_engine_would_hide(gpu_check, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    told = gpu_check.run(sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", limit_s=30)
    assert told.strip() == "0"

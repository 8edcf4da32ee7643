"""debug=anomaly names the operation whose backward makes the first NaN."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.models.mlp import MLP
from kindling.config import project
from kindling.errors import DivergedError, KindlingError
from kindling.training import task
from kindling.training.anomaly import _place
from kindling.training.divergence import Place
from kindling.training.rollback import advice

SMALL = ["model=mlp", "model.hidden=[8]", "data.image_size=8", "data.num_images=32", "trainer.max_epochs=1"]


forward = MLP.forward


def with_root(self: MLP, images: Tensor) -> Tensor:
    logits = forward(self, images)
    return logits + (logits - logits).abs().sqrt()


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits whose gradient alone is NaN: the root has an infinite slope at 0, and the absolute value makes it NaN."""
    monkeypatch.setattr(MLP, "forward", with_root)


@pytest.mark.needs("debug")
@pytest.mark.usefixtures("poisoned")
def test_the_line_that_called_the_operation_is_named_first(train_run, capfd):
    with pytest.raises(KindlingError) as caught:
        train_run("debug=anomaly", *SMALL)
    line = with_root.__code__.co_firstlineno + 2
    assert str(caught.value).startswith(
        f"{Path(__file__)}:{line}: return logits + (logits - logits).abs().sqrt(): AbsBackward0 gave NaN in the "
    )
    assert "\n" not in str(caught.value)
    assert "Error detected" not in "".join(capfd.readouterr())


def test_a_line_of_the_owner_comes_before_those_of_libraries_and_of_the_engine():
    own = project.current().root / "src" / "bench" / "models" / "mlp.py"
    frame = '  File "{}", line 7, in forward\n    {}\n'
    called = "".join(frame.format(file, code) for file, code in ((own, "own(x)"), (task.__file__, "engine(x)")))
    assert _place(called + frame.format(torch.__file__, "torch(x)")) == "src/bench/models/mlp.py:7: own(x)"
    assert _place(frame.format("/x/other.py", "other(x)")) == "/x/other.py:7: other(x)"


@pytest.mark.needs("debug")
@pytest.mark.usefixtures("poisoned")
def test_without_it_the_run_is_told_by_a_replay(train_run):
    with pytest.raises(
        DivergedError,
        match=r"(?s)the gradient of net.head.bias is NaN.*\nor: debug=anomaly names the line of code",
    ):
        train_run(*SMALL)
    assert not torch.is_anomaly_enabled()


@pytest.mark.needs("debug")
def test_a_run_without_nan_is_the_same(train_run):
    assert train_run("debug=anomaly", *SMALL).metrics == train_run(*SMALL).metrics


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("the gradient of net.head.bias", "debug=anomaly names the line of code"),
        ("the loss", "debug=anomaly names the line of code, if the NaN begins in the backward pass"),
    ],
)
def test_debug_anomaly_is_not_said_to_find_what_it_does_not_look_at(tmp_path, what, words):
    run: Any = SimpleNamespace(folder=tmp_path, config={"on_nan": "stop", "trainer": {"detect_anomaly": False}})
    assert advice(run, Place(0, 0, 0, f"{what} is NaN or infinite"), [])[-1] == f"or: {words}"

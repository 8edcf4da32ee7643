"""debug=anomaly names the operation whose backward makes the first NaN."""

import pytest
import torch
from torch import Tensor

from bench.models.mlp import MLP
from kindling.errors import DivergedError

SMALL = ["model=mlp", "model.hidden=[8]", "data.image_size=8", "data.num_images=32", "trainer.max_epochs=1"]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits whose gradient alone is NaN: the root has an infinite slope at 0, and the absolute value makes it NaN."""
    forward = MLP.forward

    def with_root(self: MLP, images: Tensor) -> Tensor:
        logits = forward(self, images)
        return logits + (logits - logits).abs().sqrt()

    monkeypatch.setattr(MLP, "forward", with_root)


# torch shows where the operation was called as a warning.
@pytest.mark.filterwarnings("ignore:Error detected in AbsBackward0:UserWarning")
@pytest.mark.usefixtures("poisoned")
def test_the_operation_is_named_by_its_backward_function(train_run):
    with pytest.raises(RuntimeError, match=r"Function 'AbsBackward0' returned nan values in its 0th output"):
        train_run("debug=anomaly", *SMALL)


@pytest.mark.filterwarnings("ignore:Error detected in AbsBackward0:UserWarning")
@pytest.mark.usefixtures("poisoned")
def test_the_warning_tells_the_line_that_called_it(train_run):
    with (
        pytest.warns(UserWarning, match=r"(?s)Error detected in AbsBackward0.*in with_root\n.*abs\(\)"),
        pytest.raises(RuntimeError),
    ):
        train_run("debug=anomaly", *SMALL)


@pytest.mark.usefixtures("poisoned")
def test_without_it_the_run_is_told_by_a_replay(train_run):
    with pytest.raises(DivergedError, match=r"the gradient of net.head.bias is NaN"):
        train_run(*SMALL)
    assert not torch.is_anomaly_enabled()


def test_a_run_without_nan_is_the_same(train_run):
    assert train_run("debug=anomaly", *SMALL).metrics == train_run(*SMALL).metrics

"""What a step calculates with: precision, memory format, clipped gradients, fixed algorithms."""

import pytest
import torch
from torch import nn

from bench.models.cnn import CNN
from kindling.training.task import Task

PLAIN = ["model.dropout=0", "optimizer=sgd", "optimizer.lr=0.05", "scheduler=constant", "trainer.max_epochs=1"]


@pytest.fixture
def seen(monkeypatch):
    """What the first convolution puts out and the weights it has, in each pass of training."""
    outputs: list[tuple[torch.Tensor, torch.dtype]] = []
    original = CNN.forward

    def forward(self, images):
        conv = self.stages[0][0]
        hook = conv.register_forward_hook(lambda module, _, output: outputs.append((output, module.weight.dtype)))
        logits = original(self, images)
        hook.remove()
        return logits

    monkeypatch.setattr(CNN, "forward", forward)
    return outputs


@pytest.mark.parametrize(
    ("precision", "inside", "weights"),
    [
        ("32-true", torch.float32, torch.float32),
        ("bf16-mixed", torch.bfloat16, torch.float32),
        ("bf16-true", torch.bfloat16, torch.bfloat16),
        ("64-true", torch.float64, torch.float64),
    ],
)
def test_the_forward_pass_runs_in_the_precision_asked_for(train_run, seen, precision, inside, weights):
    train_run(*PLAIN, f"trainer.precision={precision}", "data.num_images=32")
    calls = seen[1:]  # the first one is of the check of shapes
    assert {(output.dtype, weight) for output, weight in calls} == {(inside, weights)}


@pytest.mark.slow
def test_bf16_learns_what_fp32_learns(train_run):
    slow = [*PLAIN, "optimizer.lr=0.01"]  # a large rate would make much of a small difference
    exact, rounded = (train_run(*slow, f"trainer.precision={each}").metrics for each in ("32-true", "bf16-mixed"))
    assert rounded["train/loss"] == pytest.approx(exact["train/loss"], rel=0.01)
    assert rounded["train/loss"] != exact["train/loss"]


def test_activations_lie_channels_last_in_memory(train_run, seen):
    train_run(*PLAIN, "data.num_images=32")
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output, _ in seen[1:])


@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_no_gradient_is_larger_than_the_clip(train_run, monkeypatch, precision, algorithm):
    sizes, limit = [], 0.1 if algorithm == "norm" else 0.01
    original = Task.configure_gradient_clipping

    def clip(self, *arguments, **named):
        original(self, *arguments, **named)
        gradients = [each.grad for each in self.parameters() if each.grad is not None]
        measure = nn.utils.get_total_norm(gradients) if algorithm == "norm" else max(g.abs().max() for g in gradients)
        sizes.append(float(measure))

    monkeypatch.setattr(Task, "configure_gradient_clipping", clip)
    train_run(
        *PLAIN,
        f"trainer.precision={precision}",
        f"trainer.gradient_clip_val={limit}",
        f"trainer.gradient_clip_algorithm={algorithm}",
    )
    assert len(sizes) >= 8
    assert max(sizes) == pytest.approx(limit, rel=1e-3)


def test_deterministic_lets_torch_choose_no_algorithm_of_changing_order(train_run, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda mode, **_: chosen.append(mode))
    train_run(*PLAIN, "trainer.deterministic=true", "data.num_images=32")
    assert chosen == [True]

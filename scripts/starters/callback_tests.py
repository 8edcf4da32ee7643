"""What callbacks=[default,starter] does in a run."""

import pytest
import torch

from kindling.config.composition import instantiate
from kindling.testing.runs import rows_of


def test_the_last_logged_norm_is_that_of_the_weights_in_the_last_checkpoint(train_run):
    """Replace this by a number that your callback logs and that can be computed without it."""
    run = train_run("callbacks=[default,starter]")
    logged = [float(row["train/weight_norm"]) for row in rows_of(run) if row.get("train/weight_norm")]
    saved, net = run.weights(), instantiate(run.cfg.model, "model")
    weights = torch.cat([saved[f"net.{key}"].flatten() for key, each in net.named_parameters() if each.requires_grad])
    assert len(logged) == run.cfg.trainer.max_epochs
    assert logged[-1] == pytest.approx(weights.norm().item(), rel=1e-5)

import pytest
import torch
from torch import nn

from kindling.classifier import Classifier
from kindling.config.composition import instantiate

SMALL = ["callbacks=ema", "callbacks.ema.decay=0.9", "model=mlp", "model.dropout=0", "scheduler=constant"]


def test_the_average_is_that_of_a_loop_by_hand(train_run, monkeypatch):
    weights = []
    step = Classifier.optimizer_step

    def keep(self, *arguments, **named):
        step(self, *arguments, **named)
        weights.append({name: each.detach().clone() for name, each in self.named_parameters()})

    monkeypatch.setattr(Classifier, "optimizer_step", keep)
    run = train_run(*SMALL, "trainer.max_epochs=1")
    average = weights[0]  # the first step starts it
    for now in weights[1:]:
        average = {name: 0.9 * average[name] + 0.1 * now[name] for name in now}
    saved = run.weights("last")
    assert all(torch.allclose(saved[name], average[name], atol=1e-6) for name in average)
    assert not any(torch.allclose(saved[name], weights[-1][name], atol=1e-6) for name in average)


def test_what_is_tested_is_the_average_that_is_saved_as_the_best(train_run):
    run = train_run(*SMALL, "optimizer.lr=0.05")
    data = instantiate(run.cfg.data, "data")
    net = Classifier(instantiate(run.cfg.model, "model"), nn.CrossEntropyLoss())
    net.load_state_dict(run.weights("best"))
    net.eval()
    with torch.inference_mode():
        losses = [nn.functional.cross_entropy(net(x), y, reduction="sum") for x, y in data.test_dataloader()]
    assert run.metrics["test/loss"] == pytest.approx(torch.stack(losses).sum().item() / 64)

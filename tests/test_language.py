"""Language."""

import math

import pytest
import torch
from torch import nn

pytest.importorskip("my_project.tasks.language")
from my_project.tasks.language import NOT_COUNTED, Language


def table() -> nn.Embedding:
    """A net for which the next id depends on the last alone."""
    torch.manual_seed(0)
    return nn.Embedding(5, 5)


def batch(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num)
    ids, following = torch.randint(5, (2, num, 4), generator=generator)
    following[:, : num % 4] = NOT_COUNTED
    return ids, following


def metrics_of(net: nn.Module, *batches: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    """Of an epoch of such batches, summed as the engine does."""
    task, sums = Language(net), {}
    for each in batches:
        step = task.step(each, "val")
        for name, part in {"loss": step.loss * step.num, "num": step.num, **step.sums}.items():
            sums[name] = sums.get(name, 0) + part
    return {name: value.item() for name, value in task.epoch_metrics(sums).items()}


def test_the_loss_of_an_epoch_is_the_mean_over_characters_that_count_however_they_are_batched():
    net, batches = table(), [batch(2), batch(3)]
    nats = [
        -net.weight[here].log_softmax(0)[there].item()
        for ids, following in batches
        for here, there in zip(ids.flatten().tolist(), following.flatten().tolist(), strict=True)
        if there != NOT_COUNTED
    ]
    assert len(nats) == 2 * 2 + 3 * 1
    found = metrics_of(net, *batches)
    assert found["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


def test_guessing_among_five_has_a_perplexity_of_five():
    net = table()
    nn.init.zeros_(net.weight)
    assert metrics_of(net, batch(4))["perplexity"] == pytest.approx(5)


def test_what_it_logs_is_what_it_declares():
    assert set(metrics_of(table(), batch(2))) == {"loss", *Language.METRICS}


def test_a_place_that_does_not_count_has_no_gradient():
    net, (ids, following) = table(), batch(1)
    (gradient,) = torch.autograd.grad(Language(net).step((ids, following), "train").loss, net.weight)
    counted = torch.zeros(5, dtype=torch.bool)
    counted[ids[following != NOT_COUNTED]] = True
    assert torch.equal(gradient.any(1), counted)


def test_its_example_is_two_blocks_of_ids():
    example = Language(table(), config={"data": {"block_size": 4}}).example()
    assert (example.shape, example.dtype) == ((2, 4), torch.int64)


def test_its_texts_are_of_the_vocabulary_of_the_data():
    task = Language(table(), config={"data": {"block_size": 4}})
    task.facts = {"vocabulary": "abcde"}
    assert task.processor().read("deca").tolist() == [3, 4, 2, 0]
    assert task.processor().block == 4

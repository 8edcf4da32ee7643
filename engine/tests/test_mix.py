"""Mixed training images."""

import pytest
import torch
from torch import nn

from kindling.config.composition import instantiate
from kindling.testing.runs import same_weights
from kindling.training.counting import counted
from long_run import some


@pytest.fixture
def mixed_batch(config):
    """A batch, mixed as in training: images, labels, mixed images, shares of the classes."""

    def mix(option: str):
        torch.manual_seed(1)
        images, labels = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 4, 5])
        return images, labels, *instantiate(config(f"mix={option}").mix, "mix")(images, labels)

    return mix


def test_mixup_blends_each_image_and_label_with_the_one_before(mixed_batch):
    images, labels, mixed, shares = mixed_batch("mixup")
    share = shares[1, 1]
    assert 0 < share < 1
    torch.testing.assert_close(mixed, share * images + (1 - share) * images.roll(1, 0))
    one_hot = nn.functional.one_hot(labels, 10).float()
    torch.testing.assert_close(shares, share * one_hot + (1 - share) * one_hot.roll(1, 0))


def test_cutmix_gives_a_label_the_share_of_the_area_that_its_image_has(mixed_batch):
    images, labels, mixed, shares = mixed_batch("cutmix")
    assert not torch.equal(mixed, images)
    kept = (mixed == images).flatten(1).float().mean(1)
    torch.testing.assert_close(kept, shares[torch.arange(6), labels])
    assert torch.equal(torch.where(mixed == images, images, images.roll(1, 0)), mixed)


@pytest.mark.parametrize("option", some(["mixup", "cutmix", "mixup_cutmix"], "mixup_cutmix"))
def test_training_sees_mixed_images_and_evaluation_does_not(train_run, monkeypatch, option):
    seen = {"train": [], "val": []}
    original = counted

    def keep(self, batch, stage, batch_idx):
        hook = self.net.register_forward_pre_hook(lambda _, inputs: seen[stage].append((inputs[0], batch[0])))
        result = original(self, batch, stage, batch_idx)
        hook.remove()
        return result

    monkeypatch.setattr("kindling.training.task.counted", keep)
    train_run(f"mix={option}", "trainer.max_epochs=1", "test=false")
    assert len(seen["train"]) == 8
    assert sum(torch.equal(*pair) for pair in seen["train"]) <= 2  # CutMix may draw an empty rectangle
    assert all(torch.equal(*pair) for pair in seen["val"])


@pytest.mark.slow
def test_the_same_seed_mixes_the_same_images(train_run):
    first, second, other = (train_run("mix=mixup_cutmix", seed) for seed in ("seed=1", "seed=1", "seed=2"))
    assert same_weights(first.weights(), second.weights())
    assert not same_weights(first.weights(), other.weights())


def test_accuracy_of_mixed_images_counts_the_label_with_the_larger_share(train_run):
    run = train_run("mix=mixup", "mix.alpha=0.05", "trainer.max_epochs=4", "optimizer.lr=0.01")
    assert run.metrics["train/accuracy"] > 0.8


@pytest.mark.needs("debug")
@pytest.mark.slow
def test_overfitting_sees_images_as_they_are(train_run):
    run = train_run("mix=mixup", "debug=overfit", "trainer.max_epochs=60", "optimizer.lr=0.01")
    assert run.metrics["train/loss"] < 0.02

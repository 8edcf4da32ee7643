"""The loss against torch and torchvision."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from kindling.errors import ConfigError
from kindling.images.criterion import CrossEntropy, comparable
from kindling.images.images import NO_LABEL

WEIGHTS = [0.5, 1.0, 2.0, 4.0]
LOGITS = 3 * torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0, 2])
SHARES = torch.rand(9, 4, generator=torch.Generator().manual_seed(1)).softmax(1)


def loss(targets, *, logits=LOGITS, smoothing=0.0, gamma=0.0, weights=None):
    return CrossEntropy(logits.shape[1], smoothing, gamma, weights)(logits, targets)


@pytest.mark.parametrize("targets", [LABELS, SHARES], ids=["labels", "shares"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_without_and_with_next_to_no_focus_it_is_torchs_over_the_number_of_images(targets, smoothing, weights):
    weight = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(LOGITS, targets, weight, reduction="sum", label_smoothing=smoothing) / 9
    torch.testing.assert_close(loss(targets, smoothing=smoothing, weights=weights), expected)
    torch.testing.assert_close(loss(targets, smoothing=smoothing, gamma=1e-9, weights=weights), expected)


@pytest.mark.parametrize(
    ("name", "settings", "how"),
    [
        ("CrossEntropyLoss", {"label_smoothing": 0.2, "weight": torch.tensor(WEIGHTS)}, "smoothed, weighted"),
        ("NLLLoss", {"weight": torch.tensor(WEIGHTS)}, "weighted"),
        ("MultiMarginLoss", {"weight": torch.tensor(WEIGHTS)}, "weighted"),
        ("BCEWithLogitsLoss", {"pos_weight": torch.tensor(WEIGHTS)}, "weighted"),
        ("CrossEntropyLoss", {}, None),
        ("MSELoss", {}, None),
    ],
)
def test_the_plain_form_of_a_loss_of_torch_is_that_class_without_settings(name, settings, how):
    loss_of = getattr(nn, name)
    targets = SHARES if name in ("BCEWithLogitsLoss", "MSELoss") else LABELS
    criterion, before = comparable(loss_of(**settings)), loss_of(**settings)
    # As an average of weights and spawned processes have it.
    for each in (criterion, copy.deepcopy(criterion)):
        plain = getattr(each, "plain", each)
        assert plain(LOGITS, targets) == loss_of()(LOGITS, targets)
        assert each(LOGITS, targets) == before(LOGITS, targets)
        assert each.state_dict().keys() == before.state_dict().keys()
    assert criterion.note == (how and f"loss: train/loss is the {how} one, val/loss and test/loss are plain")


def test_an_own_criterion_is_left_as_it_is():
    class Own(nn.CrossEntropyLoss):
        pass

    own = Own(label_smoothing=0.1)
    assert comparable(own) is own
    assert not hasattr(own, "plain")


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_a_weighted_loss_does_not_depend_on_the_batches(gamma):
    whole = loss(LABELS, gamma=gamma, weights=WEIGHTS)
    parts = [loss(LABELS[i : i + 3], logits=LOGITS[i : i + 3], gamma=gamma, weights=WEIGHTS) for i in (0, 3, 6)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_a_batch_of_a_class_that_does_not_count_has_no_loss(gamma):
    assert loss(torch.zeros(9, dtype=torch.int64), gamma=gamma, weights=[0.0, 1, 1, 1]) == 0


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_an_image_that_is_certain_has_a_finite_gradient(gamma):
    logits = torch.tensor([[60.0, 0, 0, 0]], requires_grad=True)
    loss(torch.tensor([0]), logits=logits, gamma=gamma).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_zeros_alone_are_refused():
    with pytest.raises(ConfigError, match="given zeros alone; allowed: a number above 0"):
        loss(LABELS, weights=[0.0] * 4)


def test_the_focal_loss_of_two_classes_is_torchvisions():
    score, labels = LOGITS[:, 0], LABELS % 2
    logits = torch.stack([torch.zeros_like(score), score], 1)
    expected = sigmoid_focal_loss(score, labels.float(), alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(loss(labels, logits=logits, gamma=2.0), expected)


def test_an_easy_image_counts_less_than_in_cross_entropy():
    easy, hard = torch.tensor([[4.0, 0, 0, 0]]), torch.tensor([[-1.0, 0, 0, 0]])
    target = torch.tensor([0])
    plain = loss(target, logits=easy) / loss(target, logits=hard)
    assert loss(target, logits=easy, gamma=2.0) / loss(target, logits=hard, gamma=2.0) < 0.01 * plain


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_an_image_without_a_label_does_not_count(gamma, smoothing):
    padded = torch.cat([LABELS, torch.tensor([NO_LABEL])])
    logits = torch.cat([LOGITS, LOGITS[:1]])
    expected = loss(LABELS, gamma=gamma, smoothing=smoothing, weights=WEIGHTS)
    found = loss(padded, logits=logits, gamma=gamma, smoothing=smoothing, weights=WEIGHTS)
    torch.testing.assert_close(found, expected)


def test_balanced_weights_let_each_class_count_alike():
    criterion = CrossEntropy(4, 0.0, 0.0, "balanced")
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])  # none of class 3
    criterion.balance(labels)
    assert criterion.weight is not None
    totals = [criterion.weight[labels[labels == label]].sum().item() for label in range(3)]
    assert totals == pytest.approx([10 / 3] * 3)
    assert criterion.weight[labels].mean().item() == pytest.approx(1)
    assert criterion.weight[3] == 0


def test_a_weight_for_each_class_is_asked_for():
    with pytest.raises(ConfigError, match=r"given 3 numbers; allowed: null, balanced, or 4, one for each class"):
        CrossEntropy(4, 0.0, 0.0, [1.0, 2.0, 3.0])


def test_balanced_weights_are_those_of_the_training_labels_in_training_and_in_the_checkpoint(train_run):
    run = train_run("task.criterion.class_weights=balanced", "data.num_images=35", "data.batch_size=35")
    saved = run.weights("best")["criterion.weight"]
    expected = 35 / (10 * torch.tensor([4.0] * 5 + [3.0] * 5))
    torch.testing.assert_close(saved, expected)


def test_a_test_alone_of_other_weights_takes_those_of_its_own_criterion(train_run):
    origin = train_run("trainer.max_epochs=1")
    plain = train_run("train=false", f"weights={origin.folder}")
    assert plain.metrics["test/loss"] == pytest.approx(origin.metrics["test/loss"])
    uneven = ["task.criterion.class_weights=[9,1,1,1,1,1,1,1,1,1]", "task.criterion.version=1"]
    assert (
        train_run("train=false", f"weights={origin.folder}", *uneven).metrics["test/loss"] > plain.metrics["test/loss"]
    )


@pytest.mark.slow
def test_accumulated_batches_with_weights_make_the_step_of_one_large_batch(train_run):
    settings = [
        "model=mlp",
        "model.dropout=0",
        "optimizer=sgd",
        "scheduler=constant",
        "data.num_images=64",
        "test=false",
    ]
    settings += ["task.criterion.class_weights=[1,1,1,1,1,1,1,1,1,20]", "trainer.max_epochs=2"]
    large = train_run(*settings, "data.batch_size=32").weights()
    small = train_run(*settings, "data.batch_size=8", "trainer.accumulate_grad_batches=4").weights()
    assert all(torch.allclose(large[name], small[name], atol=1e-6) for name in large)


@pytest.mark.parametrize("settings", [{"smoothing": 0.2}, {"gamma": 2.0}, {"weights": WEIGHTS}])
def test_the_plain_loss_is_the_cross_entropy_whatever_is_minimised(settings):
    names = {"smoothing": "label_smoothing", "gamma": "focal_gamma", "weights": "class_weights"}
    given = {"label_smoothing": 0.0, "focal_gamma": 0.0, "class_weights": None}
    given |= {names[name]: value for name, value in settings.items()}
    plain = CrossEntropy(4, **given).plain(LOGITS, LABELS)
    assert torch.equal(plain, torch.nn.functional.cross_entropy(LOGITS, LABELS))
    assert not torch.allclose(plain, loss(LABELS, **settings))
    assert torch.equal(CrossEntropy(4, **given, version=1).plain(LOGITS, LABELS), loss(LABELS, **settings))


def test_validation_and_test_log_the_plain_loss_and_training_what_is_minimised(train_run):
    small = ["data.image_size=8", "data.num_images=32", "model=mlp", "model.hidden=[]", "optimizer.lr=0"]
    once = [*small, "trainer.max_epochs=1"]
    plain, smooth = train_run(*once), train_run(*once, "task.criterion.label_smoothing=0.5")
    for name in ("val/loss", "test/loss"):
        assert smooth.metrics[name] == plain.metrics[name]
    assert smooth.metrics["train/loss"] != plain.metrics["train/loss"]

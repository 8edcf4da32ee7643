"""What every model and every data set keeps, and every run of them: yours too, without a test of its own.

Each option of configs/model and configs/data is found by itself. A data set whose files are missing is skipped.
"""

import copy
import math
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from contracts import (
    DATA,
    MODELS,
    SPLITS,
    Case,
    as_bytes,
    build,
    build_net,
    descend,
    freeze_batch_norm,
    labelled,
    loss_of,
    made_set,
    one_for_each_shape,
    pixels_of,
    read,
    read_all,
    seeded,
    write_tree,
)
from lightning.pytorch import seed_everything
from torch.func import functional_call

from kindling import checkpoint
from kindling.classifier import Classifier, rebuild
from kindling.config.composition import instantiate, to_plain
from kindling.config.entry import compose
from kindling.data.datamodule import ImageDataModule
from kindling.errors import ConfigError, DataError
from kindling.seeds import mix_seeds, seed_all
from kindling.train import train
from my_project.data.torchvision_sets import TorchvisionImages

SHIPPED = {"cifar10", "cifar100", "fake", "fashion_mnist", "image_folder", "mnist", "mnist_5k"}
SHAPES = one_for_each_shape(DATA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds the only files that a data set finds."""
    folder = tmp_path_factory.mktemp("contracts")
    write_tree(folder / "tree")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchvisionImages, "_open", made_set)
        yield folder
    build.cache_clear()


@pytest.fixture(params=[(model, data) for model in MODELS for data in SHAPES], ids="-".join)
def case(request, folder) -> Case:
    """Each model with each shape that it fits, to train as one likes."""
    try:
        built = build(*request.param, folder)
    except ConfigError as error:
        pytest.skip(str(error))
    return built._replace(net=copy.deepcopy(built.net))


def fitting(model: str, folder: Path) -> list[Case]:
    """The model with all shapes that it fits, the smallest images first."""
    found = []
    for data in SHAPES:
        try:
            found.append(build(model, data, folder))
        except ConfigError:
            continue
    return sorted(found, key=lambda each: each.images[0].numel())


# --- a data set


@pytest.fixture(scope="module", params=DATA)
def data(request, folder) -> ImageDataModule:
    return read_or_skip(request.param, folder)


def read_or_skip(name: str, folder: Path, seed: int = 0) -> ImageDataModule:
    try:
        return read(name, folder, seed)
    except (DataError, OSError) as error:
        pytest.skip(f"its files are missing: {error}")


def without_augmentation(data: ImageDataModule) -> ImageDataModule:
    plain = copy.copy(data)
    plain.augment = None
    return plain


def test_no_two_splits_share_an_image(data):
    seen = {split: {image.numpy().tobytes() for image in pixels_of(getattr(data.splits, split))} for split in SPLITS}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        # Large collections hold some images twice.
        assert len(seen[one] & seen[other]) <= 0.01 * len(seen[other]), (one, other)


def test_every_class_has_a_name_and_images_in_every_split(data):
    assert len(set(data.splits.classes)) == data.num_classes
    for split in SPLITS:
        labels = getattr(data.splits, split).labels
        assert labels.dtype == torch.int64
        assert labels.unique().tolist() == list(range(data.num_classes)), split


def test_a_label_means_the_same_in_every_split(data):
    """The nearest mean image of training tells classes better than a guess, in the other splits too."""
    images, labels = pixels_of(data.splits.train).flatten(1).float(), data.splits.train.labels
    means = torch.stack([images[labels == label].mean(0) for label in range(data.num_classes)])
    for split in SPLITS:
        images, labels = pixels_of(getattr(data.splits, split)).flatten(1).float(), getattr(data.splits, split).labels
        hits = (torch.cdist(images, means).argmin(1) == labels).float().mean().item()
        assert hits > 1.2 / data.num_classes, split


def test_batches_have_the_shape_that_the_config_promises(data):
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        images, labels = next(iter(loader))
        size = min(data.batch_size, len(loader.images))
        assert images.shape == (size, data.channels, data.image_size, data.image_size)
        assert (images.dtype, labels.dtype, labels.shape) == (torch.float32, torch.int64, (size,))


def test_training_pixels_have_a_mean_near_zero_and_a_std_near_one(data):
    images, _ = read_all(without_augmentation(data).train_dataloader())
    channels = images.transpose(0, 1).flatten(1)
    assert channels.mean(1).tolist() == pytest.approx([0.0] * data.channels, abs=0.15)
    assert channels.std(1).tolist() == pytest.approx([1.0] * data.channels, abs=0.15)


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_sees_each_image_as_it_was_read_and_in_order(data, split):
    expected = getattr(data.splits, split)
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    for epoch in (0, 1):
        images, labels = read_all(loader, epoch)
        assert torch.equal(labels, expected.labels)
        assert torch.equal(as_bytes(data, images), pixels_of(expected))


def test_an_epoch_of_training_holds_each_image_once_with_its_label(data):
    loader = without_augmentation(data).train_dataloader()
    here = Counter(labelled(pixels_of(data.splits.train), data.splits.train.labels))
    orders = []
    for epoch in (0, 1):
        images, labels = read_all(loader, epoch)
        orders.append(labelled(as_bytes(data, images), labels))
        assert Counter(orders[-1]) <= here
        assert len(labels) > len(data.splits.train) - data.batch_size, "more than an uneven batch is left out"
    assert orders[0] != orders[1]


def test_augmentation_changes_neither_order_nor_labels(data):
    augmented, plain = data.train_dataloader(), without_augmentation(data).train_dataloader()
    for epoch in (0, 1):
        images, labels = read_all(augmented, epoch)
        unchanged, same_labels = read_all(plain, epoch)
        assert torch.equal(labels, same_labels)
        assert images.shape == unchanged.shape
        assert torch.equal(images, unchanged) == (data.augment is None)


def test_the_seed_decides_on_the_batches_and_on_nothing_else(data, folder):
    other = copy.copy(data)
    other.seed = data.seed + 1
    torch.manual_seed(1)
    images, labels = read_all(data.train_dataloader())
    torch.manual_seed(2)
    again, same_labels = read_all(data.train_dataloader())
    assert torch.equal(images, again)
    assert torch.equal(labels, same_labels)
    assert not torch.equal(images, read_all(other.train_dataloader())[0])


def test_the_splits_do_not_depend_on_the_seed(data, folder, request):
    torch.manual_seed(1)
    assert read(request.node.callspec.params["data"], folder, seed=1).fingerprint == data.fingerprint


# --- a run

TWO_STEPS = [
    "data=fake",
    "data.channels=3",
    "data.image_size=16",
    "data.num_images=32",
    "data.num_classes=4",
    "data.batch_size=16",
    "optimizer=sgd",
    "optimizer.lr=0.02",
    "optimizer.weight_decay=0",
    "scheduler=constant",
    "trainer=cpu",
    "trainer.max_epochs=1",
    "logger=none",
]


@pytest.fixture(scope="module", params=MODELS)
def run(request, tmp_path_factory):
    """A run of two steps: its config, metrics and checkpoints."""
    cfg = compose([*TWO_STEPS, f"model={request.param}", f"paths.logs={tmp_path_factory.mktemp('run')}"])
    metrics = train(cfg)
    return cfg, metrics, Path(cfg.paths.run) / "checkpoints"


def test_a_run_is_the_loop_that_one_writes_by_hand(run):
    cfg, metrics, checkpoints = run
    seed_everything(cfg.seed, verbose=False)
    data = instantiate(cfg.data, "data")
    net = instantiate(cfg.model, "model").to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    losses = []
    for index, (images, labels) in enumerate(data.train_dataloader()):
        seed_all(mix_seeds(cfg.seed, 0, 0) + index, torch.device("cpu"))  # of dropout
        loss = F.cross_entropy(net(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert len(losses) == 2
    assert metrics["train/loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    weights = torch.load(checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    for key, value in net.state_dict().items():
        assert torch.allclose(weights[f"net.{key}"], value, atol=1e-6), key


def test_the_reported_metrics_are_those_of_the_best_checkpoint_by_hand(run):
    cfg, metrics, checkpoints = run
    splits = instantiate(cfg.data, "data").splits
    saved = torch.load(checkpoints / "best.ckpt", weights_only=True)["state_dict"]
    net = instantiate(cfg.model, "model").eval()
    net.load_state_dict({key.removeprefix("net."): value for key, value in saved.items()})
    for split in ("val", "test"):
        images, labels = getattr(splits, split).images, getattr(splits, split).labels
        with torch.no_grad():
            logits = net((images.permute(0, 3, 1, 2) / 255 - cfg.data.mean[0]) / cfg.data.std[0])
        assert metrics[f"{split}/loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
        assert metrics[f"{split}/accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())


# --- a model


def test_a_model_gives_a_finite_float_for_each_image_and_class(case):
    for net in (case.net.train(), case.net.eval()):
        logits = net(case.images)
        assert logits.dtype == torch.float32
        assert logits.shape == (len(case.images), case.cfg.data.num_classes)
        assert logits.isfinite().all()


def test_the_first_loss_is_about_that_of_guessing(case):
    guessing = math.log(case.cfg.data.num_classes)
    for net in (case.net.train(), case.net.eval()):
        assert loss_of(net, case.images, case.labels).item() == pytest.approx(guessing, rel=0.4)


@pytest.mark.parametrize("model", MODELS)
def test_the_first_weights_are_a_function_of_the_seed(model, folder):
    cfg = fitting(model, folder)[0].cfg
    first, again, other = (build_net(cfg, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_learns_a_batch_by_heart_and_knows_it_in_evaluation(model, folder):
    case = fitting(model, folder)[0]
    first = loss_of(copy.deepcopy(case.net).train(), case.images, case.labels).item()
    for lr in (0.01, 0.1):
        learner = case._replace(net=copy.deepcopy(case.net))
        if descend(learner, partial(torch.optim.Adam, lr=lr), steps=30, until=0.1 * first) <= 0.1 * first:
            break
    else:
        pytest.fail("the loss of one batch does not fall to a tenth in 30 steps")
    with torch.no_grad():
        for _ in range(30):  # statistics of batch norm follow the weights slowly
            learner.net(case.images)
        assert loss_of(learner.net.eval(), case.images, case.labels).item() < 0.5 * first


def test_every_trainable_parameter_gets_a_gradient_within_three_steps(case):
    """Three, since a branch that starts at zero stops the gradients of what is before it."""
    optimizer = torch.optim.SGD(case.net.parameters(), lr=0.01)
    without = {key for key, parameter in case.net.named_parameters() if parameter.requires_grad}
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(case.net.train(), case.images, case.labels).backward()
        optimizer.step()
        gradients = {key: parameter.grad for key, parameter in case.net.named_parameters()}
        without -= {key for key, gradient in gradients.items() if gradient is not None and gradient.any()}
    assert without == set()


@pytest.mark.parametrize("model", MODELS)
def test_the_gradient_is_the_slope_of_the_loss(model, folder):
    """A branch that is detached still counts in the loss, so the slope along a line tells it."""
    case = fitting(model, folder)[0]
    net, images = copy.deepcopy(case.net).double().train(), case.images.double()
    generator = torch.Generator().manual_seed(0)
    trainable = {key: parameter for key, parameter in net.named_parameters() if parameter.requires_grad}
    ways = {key: torch.randn(p.shape, generator=generator, dtype=p.dtype) for key, p in trainable.items()}
    start = {key: parameter.detach() + 0.02 * ways[key] for key, parameter in trainable.items()}

    def loss_at(distance: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        moved = {key: start[key] + distance * ways[key] for key in ways}
        return F.cross_entropy(functional_call(net, moved, images), case.labels)

    here = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss_at(here), here)
    step = torch.tensor(1e-9, dtype=torch.float64)  # larger ones cross the kinks of ReLUs
    with torch.no_grad():
        assert slope.item() == pytest.approx(((loss_at(step) - loss_at(-step)) / (2 * step)).item(), rel=1e-3)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_an_image_has_no_part_in_the_logits_of_another(case, mode):
    net = freeze_batch_norm(case.net.train(mode == "train"))
    images = case.images.clone().requires_grad_()
    (gradients,) = torch.autograd.grad(seeded(net, images)[2].square().sum(), images)
    reached = [bool(gradient.any()) for gradient in gradients]
    assert reached == [index == 2 for index in range(len(images))]
    assert gradients[2].flatten(1).any(1).all(), "a channel of the image is not looked at"
    with torch.no_grad():
        others = torch.where(torch.arange(len(images)).view(-1, 1, 1, 1) == 2, case.images, -case.images)
        assert torch.allclose(seeded(net, case.images)[2], seeded(net, others)[2], atol=1e-5)


def test_evaluation_repeats_its_bits_and_changes_nothing(case):
    net, images = case.net.eval(), case.images.clone()
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        assert torch.equal(net(images), net(images))
    assert torch.equal(images, case.images)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_evaluation_does_not_depend_on_the_size_or_the_order_of_a_batch(case):
    descend(case, partial(torch.optim.SGD, lr=0.01), steps=1)
    net = case.net.eval()
    with torch.no_grad():
        logits = net(case.images)
        one_by_one = torch.cat([net(image[None]) for image in case.images])
        order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
        permuted = net(case.images[order])
    scale = logits.abs().max().item()
    assert torch.allclose(logits, one_by_one, atol=1e-5 * max(1.0, scale))
    assert torch.allclose(logits[order], permuted, atol=1e-5 * max(1.0, scale))


def test_a_model_comes_back_from_a_checkpoint_with_the_same_bits(case, tmp_path):
    descend(case, partial(torch.optim.SGD, lr=0.01), steps=1)
    classifier = Classifier(case.net, torch.nn.CrossEntropyLoss())
    saved = {"state_dict": classifier.state_dict()}
    config = to_plain(case.cfg)
    checkpoint.describe(saved, config, {"classes": None, "mean": config["data"]["mean"]})
    torch.save(saved, tmp_path / "model.ckpt")
    torch.manual_seed(1)
    again = rebuild(checkpoint.load(tmp_path / "model.ckpt"), tmp_path / "model.ckpt")
    with torch.no_grad():
        assert torch.equal(again.eval()(case.images), classifier.eval()(case.images))


# --- nothing passes for want of a case


def test_the_contracts_are_kept_by_all_that_is_shipped(folder):
    counts = {model: len(fitting(model, folder)) for model in MODELS}
    assert len(MODELS) >= 6
    assert len(SHAPES) >= 3
    assert [model for model, count in counts.items() if count == 0] == []
    assert sum(counts.values()) >= 18


def test_the_data_sets_that_are_shipped_are_not_skipped(folder):
    assert len([read(name, folder) for name in DATA if name in SHIPPED]) == len(SHIPPED)

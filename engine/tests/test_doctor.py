"""A planted mistake is told in its sentence; what is shipped is told nothing."""

import logging
import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bench.models.mlp import MLP
from kindling import train as train_module
from kindling.images.criterion import CrossEntropy
from kindling.images.datamodule import Splits
from kindling.images.doctor import fetching
from kindling.images.doctor.callback import Doctor
from kindling.images.doctor.seen import Seen
from kindling.images.doctor.training_rules import entropy
from kindling.images.fake import FakeImages
from kindling.images.images import ImageTensors
from kindling.testing.runs import same_weights
from kindling.train import train
from long_run import some
from odd_files import tiff

QUICK = ["model=mlp", "trainer.max_epochs=1", "test=false"]


@pytest.fixture
def told(train_run, caplog):
    """What a run warns of."""

    def run(*overrides: str) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            train_run(*overrides)
        return [each.message.removeprefix("warning: ") for each in caplog.records if "warning: " in each.message]

    return run


@pytest.fixture
def splits(monkeypatch):
    """Gives the fake images other splits."""

    def change(make) -> None:
        read = FakeImages.read
        monkeypatch.setattr(FakeImages, "read", lambda self: make(read(self)))

    return change


def planted(monkeypatch, forward) -> None:
    """Lets the MLP end in another way."""
    original = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda self, images: forward(original(self, images)))


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (
            lambda logits: logits.softmax(1),
            "model: gives probabilities to the cross-entropy, which takes a softmax itself; usual: logits; "
            "end the model without it",
        ),
        (
            lambda logits: logits.log_softmax(1),
            "model: gives log-probabilities to the cross-entropy, in vain; usual: logits; end the model without it",
        ),
        (
            torch.sigmoid,
            "model: gives a sigmoid to the cross-entropy, so no loss gets low; usual: logits; end the model without it",
        ),
    ],
)
def test_a_softmax_before_the_cross_entropy_is_told(told, monkeypatch, end, sentence):
    planted(monkeypatch, end)
    assert told(*QUICK) == [sentence]


@pytest.mark.slow
def test_batch_norm_of_one_image_is_told(told):
    assert told("model=cnn", *QUICK[1:], "data.batch_size=1", "data.num_images=40") == [
        "data.batch_size: given 1 with batch norm, which then knows one image; usual: 16 or more; give more"
    ]


def test_parameters_without_a_gradient_are_told_and_frozen_ones_are_not(told, monkeypatch):
    def with_unused(self, *arguments, **settings):
        original(self, *arguments, **settings)
        self.unused, self.frozen = nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)

    original = MLP.__init__
    monkeypatch.setattr(MLP, "__init__", with_unused)
    (sentence,) = told(*QUICK)
    assert sentence.startswith("model: no gradient reaches 2 of 8 ")
    assert sentence.endswith(
        " trainable parameters: unused.weight, unused.bias; usual: all; "
        "use them in forward(), or freeze them with requires_grad_(False)"
    )


@pytest.mark.slow
def test_a_class_that_is_never_predicted_is_told_after_the_first_epochs(told, monkeypatch):
    planted(monkeypatch, lambda logits: logits.masked_fill(torch.arange(10) == 3, -1e9))
    short = [*QUICK, "optimizer.lr=0.01", "task.criterion.label_smoothing=0", "callbacks.early_stopping=null"]
    assert told(*short, "trainer.max_epochs=3") == []
    assert told(*short, "trainer.max_epochs=5") == [
        "model: after 4 epochs predicts class 'class 3' for no val image; usual: each class; "
        "look at its labels, lower optimizer.lr, or train longer"
    ]


@pytest.mark.slow
def test_a_loss_below_what_label_smoothing_allows_is_told(told, monkeypatch):
    forward = CrossEntropy.forward
    monkeypatch.setattr(CrossEntropy, "forward", lambda self, *given: 0.1 * forward(self, *given))
    assert told(*QUICK) == []
    (sentence,) = told(*QUICK, "task.criterion.label_smoothing=0.2")
    assert sentence.startswith("criterion: train/loss is 0.")
    assert sentence.endswith(
        "; with label_smoothing=0.2 it cannot be below 0.8669; look at criterion and at the model's output"
    )


def test_the_floor_of_a_smoothed_loss_is_what_torch_gives_the_best_logits():
    criterion, smoothed = nn.CrossEntropyLoss(label_smoothing=0.1), torch.full((1, 5), 0.02)
    smoothed[0, 2] += 0.9
    assert entropy(0.1, 5) == pytest.approx(criterion(smoothed.log(), torch.tensor([2])).item())
    assert entropy(0.0, 5) == 0


@pytest.mark.slow
def test_a_shuffled_validation_is_told(told, monkeypatch):
    monkeypatch.setattr(FakeImages, "val_dataloader", lambda self: self.loader("val", shuffle=True))
    sentence = "data: validation is shuffled; usual: one order; give val_dataloader() a loader with shuffle=False"
    assert told(*QUICK) == [sentence]
    hidden = [torch.randn(16, 1, 16, 16), torch.arange(16) % 10]

    class Shuffled:
        def __len__(self) -> int:
            return 1

        def __iter__(self):
            hidden[:] = [part.roll(1, 0) for part in hidden]
            yield tuple(hidden)

    monkeypatch.setattr(FakeImages, "val_dataloader", lambda self: Shuffled())
    assert told(*QUICK) == []
    assert told(*QUICK, "trainer.max_epochs=2") == [sentence]


def test_images_of_two_splits_are_told(told, splits):
    def leak(read: Splits) -> Splits:
        images = read.val.images.clone()
        images[:2] = read.train.images[5]
        return Splits(read.train, ImageTensors(images, read.val.labels), read.test, read.classes)

    splits(leak)
    assert told(*QUICK) == [
        "data: 2 of 64 val images are in train too; usual: none; take them out of one, or val/accuracy is too good"
    ]


@pytest.mark.slow
def test_files_of_two_splits_are_told(told, make_tree):
    root = make_tree(splits=("train", "val", "test"))  # of other pixels each
    tree = ["data=image_folder", f"data.root={root}", "data.image_size=12", "data.batch_size=10", "data.num_workers=0"]
    files = [*tree, "data.in_memory=false", f"paths.data={root.parent}"]
    assert told(*QUICK, *files) == []
    (root / "test" / "a" / "again.png").write_bytes((root / "val" / "a" / "003.png").read_bytes())
    assert told(*QUICK, *files) == [
        "data: 1 of 31 test images are in val too; usual: none; take them out of one, or test/accuracy is too good"
    ]


def test_images_in_two_classes_are_told(told, make_tree):
    root = make_tree()
    (root / "d").symlink_to(root / "a")
    tree = ["data=image_folder", f"data.root={root}", f"data.cache_dir={root}/../cache", "data.batch_size=4"]
    sentence = (
        "data: 20 of 40 images are in several classes, such as classes 'a', 'd'; usual: one; take them out of all"
    )
    assert f"{sentence} but one" in told(*QUICK, *tree)


def test_images_that_are_all_alike_are_told_and_nothing_that_misleads(told, splits):
    def black(read: Splits) -> Splits:
        train, val, test = (ImageTensors(each.images // 250, each.labels) for each in (read.train, read.val, read.test))
        return Splits(train, val, test, read.classes)

    splits(black)
    assert told(*QUICK) == [
        "data: the training images are all alike, with pixels from 0 to 1 of 255, so nothing can be learnt; usual: "
        "different ones; look at the files, and at data.white if they have more than 8 bits"
    ]


@pytest.mark.parametrize(
    ("highest", "kind", "sentence"),
    [
        (
            4000,
            np.uint16,
            [
                "data.white: the training images of more than 8 bits stay below 4000 of 65535, and so are "
                "nearly black; usual: up to white; set data.white=4095"
            ],
        ),
        pytest.param(
            0.2,
            np.float32,
            [
                "data.white: the training images of more than 8 bits stay below 0.2 of 1, and so are nearly "
                "black; usual: up to white; set data.white=0.2"
            ],
            marks=pytest.mark.slow,
        ),
        (40_000, np.uint16, []),
        pytest.param(30, np.uint8, [], marks=pytest.mark.slow),
    ],
)
def test_images_of_more_than_8_bits_that_stay_dark_are_told_with_a_likely_white(
    told, tmp_path, highest, kind, sentence
):
    rng = np.random.default_rng(0)
    for index in range(60):
        file = tmp_path / "tree" / "ab"[index % 2] / f"{index}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = (rng.random((12, 12)) * highest).astype(kind)
        pixels[0, 0] = highest
        Image.fromarray(pixels).save(file)
    tree = [f"data.root={tmp_path}/tree", f"data.cache_dir={tmp_path}/cache", "data.batch_size=8"]
    assert told(*QUICK, "data=image_folder", *tree, "data.augment=null") == sentence


def test_dark_colours_of_16_bits_are_told(told, tmp_path):
    for index in range(32):
        file = tmp_path / "tree" / "ab"[index % 2] / f"{index}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(index).integers(0, 4000, (12, 12, 3), dtype=np.uint16)
        file.write_bytes(tiff(levels, bits=16, photometric=2, samples=3))
    tree = [f"data.root={tmp_path}/tree", f"data.cache_dir={tmp_path}/cache", "data.batch_size=4"]
    (sentence,) = told(*QUICK, "data=image_folder", *tree, "data.augment=null")
    assert "more than 8 bits stay below 3855 of 65535" in sentence
    assert sentence.endswith("make the colours brighter")


@pytest.mark.parametrize(("given", "set_to"), some([(256, 32), (128, None), (1000, 32)], (256, 32)))
def test_an_epoch_of_one_step_is_told(told, given, set_to):
    sentence = (
        f"data.batch_size: given {given} for 256 training examples, which is 1 step an epoch; usual: 8 or more; "
        f"set data.batch_size={set_to}"
    )
    # One line of one cause.
    every = "trainer.log_every_n_steps=7" if set_to else "trainer.log_every_n_steps=1"
    assert told(*QUICK, f"data.batch_size={given}", every) == ([sentence] if set_to else [])
    assert told(*QUICK, f"data.batch_size={given}", "trainer.limit_train_batches=1") == []


@pytest.mark.slow
def test_an_epoch_of_one_step_is_told_between_one_batch_and_what_is_worth_a_word(told):
    (sentence,) = told(*QUICK, "data.num_images=120", "data.batch_size=109")
    assert "given 109 for 120 training examples, which is 1 step an epoch" in sentence


@pytest.mark.slow
def test_an_epoch_that_accumulates_into_one_step_is_told(told):
    lines = told(*QUICK, "data.batch_size=16", "trainer.accumulate_grad_batches=16")
    assert lines == [
        "trainer.accumulate_grad_batches: given 16 for 16 batches, which is 1 step an epoch; usual: 8 or more; "
        "set trainer.accumulate_grad_batches=2"
    ]


def test_the_classes_that_a_split_lacks_are_told(told, splits):
    def without(read: Splits) -> Splits:
        kept = (read.val.labels > 1).nonzero().flatten()
        return Splits(read.train, read.val.take(kept), read.test, read.classes)

    splits(without)
    assert told(*QUICK) == [
        "data: val lacks classes 'class 0', 'class 1' of train; usual: images of each class; add some, as "
        "val/accuracy says nothing of them"
    ]


def test_a_class_that_is_not_trained_is_told(told, splits):
    def without(read: Splits) -> Splits:
        kept = (read.train.labels != 7).nonzero().flatten()
        return Splits(read.train.take(kept), read.val, read.val.take(torch.arange(5)), read.classes)

    splits(without)
    assert "data: train lacks class 'class 7' of val; usual: images of each class; add some, or drop the class" in told(
        *QUICK
    )


@pytest.mark.parametrize("given", ["data.mean=[0] data.std=[1]", "data.mean=[128] data.std=[64]"])
def test_a_normalization_of_other_images_is_told(told, given):
    (sentence,) = told(*QUICK, *given.split())
    assert sentence.startswith(f"data.mean, data.std: given {given[10:].split(']')[0]}")
    assert sentence.endswith("; the training pixels have [0.4944], [0.2284]; set them so")


def test_a_loader_that_takes_most_of_an_epoch_is_told(told, monkeypatch):
    share = "data: waiting for batches took 71% of an epoch; usual: below 50%; take a lighter data.augment"
    monkeypatch.setattr(fetching.Fetching, "share", 0.71)
    assert told(*QUICK) == [share]
    monkeypatch.setattr(fetching.Fetching, "share", 0.5)
    assert told(*QUICK) == []


def test_the_share_of_waiting_is_that_of_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(fetching.time, "perf_counter", lambda: now[0])
    watch = fetching.Fetching()
    for batch in range(6):
        assert watch.share is None, "too few batches"
        now[0] += 0.2 * (batch > 0)
        watch.start()
        now[0] += 0.6
        watch.stop()
    assert watch.share == pytest.approx(3.6 / 4.6)


def test_the_loader_of_each_epoch_is_watched(train_run, monkeypatch):
    seen = []
    share = property(lambda self: seen.append((self.num_batches, self.seconds)))
    monkeypatch.setattr(fetching.Fetching, "share", share)
    train_run(*QUICK, "trainer.max_epochs=2")
    assert [num for num, _ in seen] == [8, 8]
    assert all(seconds > 0 for _, seconds in seen)


@pytest.mark.slow
def test_each_warning_is_told_once_a_run_even_if_it_is_resumed(config, monkeypatch, caplog):
    planted(monkeypatch, lambda logits: logits.softmax(1))
    cfg = config(*QUICK, "trainer.max_epochs=2")
    with caplog.at_level(logging.WARNING):
        train(cfg)
        assert caplog.text.count("gives probabilities") == 1
        train(config(*QUICK, f"resume={cfg.paths.run}", "trainer.max_epochs=4"))
    assert caplog.text.count("gives probabilities") == 1


def test_the_doctor_changes_no_bit(train_run):
    usual = ["model=cnn", "model.dropout=0.5", "trainer.max_epochs=2"]
    with_it, without = train_run(*usual), train_run(*usual, "callbacks.doctor=null")
    assert with_it.metrics == without.metrics
    assert same_weights(with_it.weights(), without.weights())
    assert (with_it.folder / "metrics.csv").read_text() == (without.folder / "metrics.csv").read_text()


@pytest.mark.needs("debug")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_what_is_shipped_is_told_nothing(told, name):
    data = ["data=patterns", "data.image_size=28", "data.batch_size=32"]
    assert told(f"experiment={name}", *data, "debug=limit", "test=false") == []


class Branches(nn.Module):
    """A linear net with a branch that is left out at random, or counts nothing."""

    def __init__(self, share: float, factor: float):
        super().__init__()
        self.share, self.factor = share, factor
        self.head, self.branch = nn.Linear(256, 10), nn.Linear(256, 256)

    def forward(self, images):
        x = images.flatten(1)
        if not self.training or torch.rand(()) < self.share:
            x = x + self.factor * self.branch(x)
        return self.head(x)


@pytest.mark.parametrize(("share", "factor", "is_told"), [(0.5, 1.0, False), (1.0, 0.0, True), (0.0, 1.0, True)])
def test_a_branch_is_told_if_none_of_the_first_steps_trains_it(told, monkeypatch, share, factor, is_told):
    build = train_module.build_task

    def with_branches(cfg, config):
        task = build(cfg, config)
        task.net = Branches(share, factor)
        return task

    monkeypatch.setattr(train_module, "build_task", with_branches)
    sentences = told(*QUICK, "data.num_images=320", "data.batch_size=32")
    assert [
        each.startswith("model: no gradient reaches 2 of 4 trainable parameters: branch.weight") for each in sentences
    ] == ([True] if is_told else [])


def test_a_module_of_another_kind_is_left_alone(tmp_path):
    class Other(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def training_step(self, batch, batch_idx):
            return self.layer(batch[0]).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    batches = DataLoader(TensorDataset(torch.zeros(4, 2)), batch_size=2)
    trainer = Trainer(
        max_epochs=1,
        callbacks=[Doctor()],
        logger=False,
        enable_checkpointing=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Other(), batches)
    assert trainer.global_step == 2


def test_a_resumed_run_is_not_asked_for_its_first_steps_again(train_run, caplog, monkeypatch):
    settings = ["model=mlp", "test=false", "data.num_images=320"]
    run = train_run(*settings, "trainer.max_epochs=1")
    monkeypatch.setattr(Seen, "note_gradients", lambda self: pytest.fail("asked again"))
    train_run(*settings, "trainer.max_epochs=3", f"resume={run.folder}")

"""torchvision's transforms of single training images."""

import pytest
import torch
from torchvision.transforms import v2

from bench_root import CONFIGS
from kindling.config.composition import instantiate
from kindling.data.seeds import seed_all
from kindling.errors import ConfigError, KindlingError
from kindling.images.transform import transformed

FAKE = ["data.channels=3", "data.image_size=12", "data.num_images=40", "data.batch_size=16"]


@pytest.fixture
def loader_of(config):
    def make(*overrides: str):
        data = instantiate(config(*FAKE, *overrides).data, "data")
        loader = data.train_dataloader()
        return data, loader

    return make


@pytest.mark.parametrize(
    "option", sorted(file.stem for file in (CONFIGS / "transform").glob("*.yaml") if file.stem != "none")
)
def test_a_batch_is_what_torchvision_makes_of_each_image_with_its_seed(loader_of, option):
    data, loader = loader_of(f"transform={option}", "data.augment=null")
    indices, _, seeds = loader.draw()
    batch, _ = next(iter(loader))
    for position in range(16):
        image = data.splits.train[int(indices[position])]
        seed_all(int(seeds[position]), image.device)
        expected = data.transform(image.permute(2, 0, 1)).permute(1, 2, 0)
        assert torch.equal(batch[position], loader.normalize(expected[None])[0])
    plain, _ = next(iter(loader_of()[1]))
    assert not torch.equal(batch, plain)


def test_several_are_applied_in_the_order_given_and_are_one_transform_of_the_run(config):
    names = {"rand": v2.RandAugment, "color_jitter": v2.ColorJitter}
    for order in (["rand", "color_jitter"], ["color_jitter", "rand"]):
        given = config(*FAKE, f"transform=[{','.join(order)}]", "data.transform.rand.magnitude=5").data
        applied = instantiate(given, "data").transform
        assert [type(each) for each in applied.transforms] == [names[each] for each in order]
        assert applied.transforms[order.index("rand")].magnitude == 5


@pytest.mark.parametrize("line", ["transform=rand", "transform=[rand,trivial]"])
def test_one_alone_is_saved_as_in_runs_of_before(config, line):
    # Runs that were started before resume, as these settings are compared.
    only = ["~data.transform.trivial"] if "trivial" in line else []
    rand = {"_target_": "torchvision.transforms.v2.RandAugment", "num_ops": 2, "magnitude": 9}
    assert config(*FAKE, line, *only).data.transform == rand


@pytest.mark.parametrize("line", ["mix=[mixup,cutmix]", "optimizer=[sgd,adam]", "trainer=[cpu,ddp]"])
def test_options_that_build_the_same_are_refused_together(config, line):
    group, _, names = line.partition("=")
    one, other = names[1:-1].split(",")
    with pytest.raises(KindlingError, match=f"{group}: given {one} and {other}, which cannot be taken together"):
        config(*FAKE, line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("transform=[rand,none]", "transform: given none after rand, which takes that away"),
        ("transform=[rand,rand]", "transform: given rand and rand"),
        ("experiment=[cnn,cnn]", "experiment: given"),
    ],
)
def test_a_list_that_would_lose_one_of_its_options_is_refused(config, line, words):
    with pytest.raises(KindlingError, match=words):
        config(*FAKE, line)


def test_an_image_is_another_in_each_epoch_and_the_same_with_the_same_seed(loader_of):
    first, second = loader_of("transform=color_jitter")[1], loader_of("transform=color_jitter")[1]
    assert torch.equal(next(iter(first))[0], next(iter(second))[0])
    _, _, before = first.draw()
    first.order.set_epoch(1)
    _, _, after = first.draw()
    assert not set(before.tolist()) & set(after.tolist())


def test_workers_give_the_bits_that_one_process_gives(config, make_tree):
    overrides = ["data=image_folder", f"data.root={make_tree()}", "data.batch_size=8", "transform=trivial"]
    variants = (["data.in_memory=true"], ["data.in_memory=false"], ["data.in_memory=false", "data.num_workers=2"])
    batches = []
    for variant in variants:
        data = instantiate(config(*overrides, *variant).data, "data")
        data.setup("fit")
        batches.append(torch.cat([images for images, _ in data.train_dataloader()]))
    assert torch.equal(batches[0], batches[1])
    assert torch.equal(batches[0], batches[2])


@pytest.mark.parametrize("split", ["val", "test"])
def test_other_splits_are_left_as_they_are(loader_of, split):
    changed, plain = (loader_of(*each)[0].loader(split) for each in (["transform=trivial"], []))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(changed, plain, strict=True))


@pytest.mark.needs("debug")
@pytest.mark.slow
def test_overfitting_sees_the_images_as_they_are(train_run):
    run = train_run("transform=trivial", "debug=overfit", "trainer.max_epochs=60", "optimizer.lr=0.01")
    assert run.metrics["train/accuracy"] == 1.0


@pytest.mark.parametrize(
    ("transform", "told"),
    [
        (v2.Resize(5), r"given Resize, which makes it torch.uint8 of \(3, 5, 5\); allowed: uint8 of the same"),
        (v2.ToDtype(torch.float32), r"which makes it torch.float32 of \(3, 12, 12\)"),
        (v2.Compose([v2.Identity(), v2.Resize(5)]), r"given Identity and Resize, which makes it"),
        (v2.RandomCrop(20), r"given RandomCrop, which cannot take an image of \(H, W, C\) = \(12, 12, 3\)"),
    ],
)
def test_a_transform_that_does_not_fit_is_told_by_name(transform, told):
    with pytest.raises(ConfigError, match=told):
        transformed(transform, torch.zeros(12, 12, 3, dtype=torch.uint8))


def test_a_worker_tells_it_too(config, make_tree):
    overrides = ["data=image_folder", f"data.root={make_tree()}", "data.in_memory=false", "data.num_workers=1"]
    data = instantiate(config(*overrides, "data.batch_size=8").data, "data")
    data.transform = v2.RandomCrop(200)
    data.setup("fit")
    with pytest.raises(ConfigError, match="given RandomCrop, which cannot take"):
        next(iter(data.train_dataloader()))

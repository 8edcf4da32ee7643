"""Training crops are cut from whole pictures, and evaluation takes their centre, by the rules of torchvision."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as former
from torchvision.transforms import v2

from kindling.cli.entry import compose
from kindling.data.seeds import seed_all
from kindling.errors import ConfigError
from kindling.evaluate import evaluate
from kindling.images.decoding import Decoding
from kindling.images.image_folder import ImageFolder
from kindling.images.pictures import Cut, by_torch
from kindling.images.processor import processor_of
from kindling.inference.predictor import load
from photos import CROP, data_of, picture, write_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return write_tree(tmp_path_factory.mktemp("photos") / "tree")


def pixels(data: ImageFolder, images: torch.Tensor) -> torch.Tensor:
    """Normalised images (B, C, H, W) as they were: (B, C, H, W), rounded."""
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (data.mean, data.std))
    return ((images * std + mean) * 255).round()


def test_random_crops_are_those_of_torchvision_for_a_thousand_seeds():
    shown, cut = torch.arange(50 * 70).view(50, 70, 1), []
    crop = v2.RandomResizedCrop(16, scale=(0.08, 1.0), ratio=(0.5, 2.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kindling.images.pictures.resized", lambda part, size, how: cut.append(part) or part)
        for seed in range(1000):
            torch.default_generator.manual_seed(seed)
            Cut(16, 16, "bilinear", crop)(shown)
            torch.default_generator.manual_seed(seed)
            top, left, height, width = former.RandomResizedCrop.get_params(
                shown.permute(2, 0, 1), scale=[0.08, 1.0], ratio=[0.5, 2.0]
            )
            found = (*cut[-1].shape[:2], cut[-1][0, 0, 0].item())
            assert found == (height, width, 70 * top + left)


@pytest.mark.parametrize(("width", "height"), [(61, 40), (40, 61), (33, 33), (16, 90)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_evaluation_resizes_and_cuts_as_torchvision_does(width, height, interpolation):
    whole = Image.fromarray(picture(width, height))
    mode = former.InterpolationMode(interpolation)
    expected = np.asarray(v2.CenterCrop(21)(v2.Resize(24, interpolation=mode)(whole)))
    decoding = Decoding(21, 3, resize=24, interpolation=interpolation)
    assert np.array_equal(decoding.image(whole, "image"), expected)
    by_tensors = by_torch(decoding).image(whole, "image").astype(int)
    assert np.abs(by_tensors - expected).max() <= 1
    assert np.abs(by_tensors - expected).mean() < 0.1


def test_a_very_long_picture_costs_no_more_than_its_middle():
    long = np.repeat(picture(4000, 1), 1, axis=0)
    expected = Decoding(8, 3).array(long[:, 1996:2004], "image")
    for decoding in (Decoding(8, 3), by_torch(Decoding(8, 3))):
        assert np.abs(decoding.array(long, "image").astype(int) - expected).max() <= 1


def expected_crops(data: ImageFolder, crop: v2.RandomResizedCrop) -> list[np.ndarray]:
    """What torchvision makes of the whole pictures of Pillow, by the seed of each position."""
    loader = data.train_dataloader()
    indices, _, seeds = loader.draw()
    found = []
    for index, seed in zip(indices.tolist(), seeds.tolist(), strict=True):
        seed_all(seed, torch.device("cpu"))
        with Image.open((data.splits.train.paths or ())[index]) as opened:
            found.append(np.asarray(crop(opened.convert("RGB"))).astype(int))
    return found


def test_training_crops_are_cut_from_the_whole_picture(tree):
    data = data_of(tree, transform=CROP, cache="none")
    expected = expected_crops(data, CROP)
    found = torch.cat([pixels(data, images) for images, _ in data.train_dataloader()]).permute(0, 2, 3, 1).numpy()
    differences = np.abs(found - np.stack(expected[: len(found)]))
    assert len(found) == 16
    assert differences.max() <= 2
    assert differences.mean() < 0.5
    assert not np.array_equal(expected[0], expected[1])


def test_any_number_of_ranks_sees_the_same_crops(tree):
    data = data_of(tree, transform=CROP, cache="none")
    whole = torch.cat([images for images, _ in data.train_dataloader()])
    shares = []
    for rank in (0, 1):
        loader = data.train_dataloader()
        loader.rank, loader.world_size = rank, 2
        shares.append(torch.cat([images for images, _ in loader]))
    both = torch.stack(shares, 1).flatten(0, 1)
    assert torch.equal(both, whole[: len(both)])


@pytest.mark.slow
def test_any_number_of_workers_sees_the_same_crops(tree):
    both = [data_of(tree, transform=CROP, cache="none", num_workers=n) for n in (0, 2)]
    for (images, labels), (others, other_labels) in zip(*(each.train_dataloader() for each in both), strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


@pytest.mark.parametrize("cache", ["none", "auto"])
def test_evaluation_may_see_another_size_than_training(tree, cache):
    data = data_of(tree, crop=24, resize=28, cache=cache)
    assert next(iter(data.train_dataloader()))[0].shape[-2:] == (16, 16)
    images, _ = next(iter(data.val_dataloader()))
    assert images.shape[-2:] == (24, 24)
    path = next(iter(data.splits.val.paths or ()))
    expected = by_torch(Decoding(24, 3, resize=28)).file(path)
    assert np.array_equal(pixels(data, images)[0].permute(1, 2, 0).numpy(), expected)
    processor = processor_of({"image_size": 16, "channels": 3, "crop": 24, "resize": 28}, data.facts)
    assert np.array_equal(processor.pixels(path), expected)
    assert (processor.image_size, processor.as_dict()["resize"]) == (24, 28)


def test_with_random_crops_evaluation_leaves_out_a_margin(tree):
    assert (data_of(tree).resize, data_of(tree, transform=CROP).resize) == (16, 18)
    assert data_of(tree, transform=CROP).facts["resize"] == 18
    with pytest.raises(ConfigError, match=r"data\.transform: given RandomResizedCrop of size \(8, 8\); allowed: 16"):
        data_of(tree, transform=v2.RandomResizedCrop(8))


def test_what_follows_a_random_crop_changes_it(tree):
    alone, both = (
        torch.cat([images for images, _ in data_of(tree, transform=each, cache="none").train_dataloader()])
        for each in (CROP, v2.Compose([CROP, v2.RandomInvert(p=1)]))
    )
    assert ((alone + both).abs() < 1e-5).all()


def test_versions_of_before_keep_their_square(tree):
    data = data_of(tree, transform=CROP, decoding=3, cache="none")
    assert "resize" not in data.facts
    assert data.random_crop is None
    with Image.open(next(iter(data.splits.val.paths or ()))) as opened:
        expected = Decoding(16, 3, version=3).image(opened, "image")
    assert np.array_equal(data.splits.val[0].numpy(), expected)


@pytest.mark.slow
def test_a_run_is_evaluated_with_the_margin_that_it_was_validated_with(tree, train_run, tmp_path):
    cache = f"data.cache_dir={tmp_path}/cache"
    run = train_run("data=image_folder", f"data.root={tree}", "data.image_size=16", "transform=resized_crop", cache)
    for split in ("val", "test"):
        found = evaluate(compose([f"run={run.folder}", f"split={split}"], name="evaluate"))
        assert found[f"{split}/loss"] == pytest.approx(run.metrics[f"{split}/loss"], abs=1e-6)
    predictor = load(run.folder, device="cpu")
    expected = by_torch(Decoding(16, 3, resize=18)).file(tree / "a" / "0.jpg")
    assert np.array_equal(predictor.pixels(tree / "a" / "0.jpg"), expected)

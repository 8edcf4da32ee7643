import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import functional as reference

from kindling.images.augment import NUM_DRAWS, Augment, Normalize, mirrored

IMAGES = torch.randint(0, 256, (32, 9, 9, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
DRAWS = torch.rand(32, NUM_DRAWS, generator=torch.Generator().manual_seed(3))
NOTHING = {
    "crop_padding": 0,
    "padding_mode": "constant",
    "horizontal_flip": 0.0,
    "alternating_flip": False,
    "rotation": 0,
    "random_erasing": 0.0,
}


def augment(**settings) -> torch.Tensor:
    return Augment(**NOTHING | settings)(IMAGES, DRAWS)


def chw(image: torch.Tensor) -> torch.Tensor:
    return image.permute(2, 0, 1)


def test_no_augmentation_leaves_the_images_as_they_are():
    assert torch.equal(augment(), IMAGES)


@pytest.mark.parametrize("padding_mode", ["constant", "reflect"])
def test_crop_and_flip_equal_torchvision_image_by_image(padding_mode):
    found = augment(crop_padding=2, padding_mode=padding_mode, horizontal_flip=0.5)
    flips = 0
    for image, draw, result in zip(IMAGES, DRAWS, found, strict=True):
        expected = reference.pad(chw(image), [2], padding_mode=padding_mode)
        expected = reference.crop(expected, int(draw[0] * 5), int(draw[1] * 5), 9, 9)
        if draw[2] < 0.5:
            expected = reference.hflip(expected)
            flips += 1
        assert torch.equal(chw(result), expected)
    assert 0 < flips < 32


def test_crop_reaches_every_shift_in_both_directions():
    draws = torch.rand(4000, NUM_DRAWS, generator=torch.Generator().manual_seed(0))
    dot = torch.zeros(4000, 5, 5, 1, dtype=torch.uint8)
    dot[:, 2, 2] = 255
    found = Augment(**NOTHING | {"crop_padding": 2})(dot, draws)
    assert torch.equal(found.float().mean(0).squeeze() > 0, torch.ones(5, 5, dtype=torch.bool))


def test_reflection_reaches_as_far_as_the_image_goes():
    found = augment(crop_padding=8, padding_mode="reflect")
    padded = F.pad(IMAGES.permute(0, 3, 1, 2).float(), [8] * 4, mode="reflect")
    for image, draw, result in zip(padded, DRAWS, found, strict=True):
        assert torch.equal(chw(result).float(), reference.crop(image, int(draw[0] * 17), int(draw[1] * 17), 9, 9))


def test_rotation_equals_torchvision_but_for_rounding():
    found = augment(rotation=30)
    for image, draw, result in zip(IMAGES, DRAWS, found, strict=True):
        angle = float((2 * draw[3] - 1) * 30)
        bilinear = reference.InterpolationMode.BILINEAR
        expected = reference.rotate(chw(image).float(), angle, interpolation=bilinear).round()
        assert (chw(result).float() - expected).abs().max() <= 1


def test_erasing_greys_one_rectangle_of_the_promised_area():
    draws = torch.rand(500, NUM_DRAWS, generator=torch.Generator().manual_seed(0))
    white = torch.full((500, 40, 40, 1), 255, dtype=torch.uint8)
    found = Augment(**NOTHING | {"random_erasing": 1.0})(white, draws).squeeze(-1)
    for image in found:
        erased = image == 127
        rows, columns = erased.any(1), erased.any(0)
        assert torch.equal(erased, rows[:, None] & columns[None, :]), "not one rectangle"
        assert 0.015 < erased.float().mean() < 0.34
    assert (found == 127).float().mean((1, 2)).std() > 0.05


def test_erasing_happens_as_often_as_asked():
    draws = torch.rand(2000, NUM_DRAWS, generator=torch.Generator().manual_seed(0))
    white = torch.full((2000, 8, 8, 1), 255, dtype=torch.uint8)
    found = Augment(**NOTHING | {"random_erasing": 0.25})(white, draws)
    assert (found != 255).flatten(1).any(1).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_each_image_is_augmented_on_its_own():
    twins = IMAGES[:1].expand(32, -1, -1, -1)
    found = Augment(**NOTHING | {"crop_padding": 3, "horizontal_flip": 0.5, "rotation": 15, "random_erasing": 0.5})(
        twins, DRAWS
    )
    assert len({image.numpy().tobytes() for image in found}) > 25


def test_normalize_equals_torchvision_bit_for_bit():
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    found = Normalize(mean, std)(IMAGES)
    expected = [reference.normalize(reference.to_tensor(image.numpy()), mean, std) for image in IMAGES]
    assert torch.equal(found, torch.stack(expected))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_large_images_are_mirrored_like_small_ones(monkeypatch):
    images, chosen = (
        torch.randint(0, 256, (5, 6, 8, 3), dtype=torch.uint8),
        torch.tensor([True, False, True, True, False]),
    )
    small = mirrored(images, chosen)
    monkeypatch.setattr("kindling.images.augment.LARGE", 0)
    assert torch.equal(mirrored(images, chosen), small)
    assert torch.equal(small[0], images[0].flip(1))
    assert torch.equal(small[1], images[1])

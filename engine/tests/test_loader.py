from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from kindling.data.order import balanced_weights
from kindling.errors import DataError
from kindling.images.augment import Augment, Normalize
from kindling.images.images import ImageFiles, ImageTensors
from kindling.images.loader import EpochLoader, alternating_draws

AUGMENT = Augment(
    crop_padding=2,
    padding_mode="reflect",
    horizontal_flip=0.5,
    alternating_flip=True,
    rotation=10,
    random_erasing=0.5,
)
ONLY_FLIP = Augment(0, "constant", horizontal_flip=0.5, alternating_flip=True, rotation=0, random_erasing=0.0)


def images_of(num_images: int) -> ImageTensors:
    pixels = torch.randint(0, 256, (num_images, 6, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return ImageTensors(pixels, torch.arange(num_images))


PIXELS = images_of(23)


def decode(path: Path) -> torch.Tensor:
    if path.name == "damaged":
        raise DataError("damaged: cannot be read")
    return PIXELS.images[int(path.name)]


def files_of(num_images: int) -> ImageFiles:
    return ImageFiles([Path(str(i)) for i in range(num_images)], torch.arange(num_images), decode)


def loader_of(images=PIXELS, **settings) -> EpochLoader:
    normalize = Normalize([0.5] * 3, [0.5] * 3)
    return EpochLoader(images, **{"batch_size": 4, "normalize": normalize, "train": True, "shuffle": True} | settings)


def labels_of(loader: EpochLoader) -> list[int]:
    return torch.cat([labels for _, labels in loader]).tolist()


def same(a: list, b: list) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


def test_a_training_epoch_shows_no_image_twice_and_drops_only_the_uneven_rest():
    labels = labels_of(loader_of())
    assert len(labels) == 20
    assert len(set(labels)) == 20


def test_the_order_changes_with_the_epoch_and_with_the_seed():
    loader = loader_of(seed=0)
    first = labels_of(loader)
    loader.order.set_epoch(1)
    assert labels_of(loader) != first
    loader.order.set_epoch(0)
    assert labels_of(loader) == first
    assert labels_of(loader_of(seed=1)) != first


def test_seed_and_epoch_are_not_interchangeable():
    one, other = loader_of(seed=1), loader_of(seed=0)
    other.order.set_epoch(1)
    assert labels_of(one) != labels_of(other)


def test_evaluation_keeps_every_image_in_order():
    assert labels_of(loader_of(train=False, shuffle=False)) == list(range(23))


def test_a_set_smaller_than_a_batch_still_trains():
    assert labels_of(loader_of(images_of(3), shuffle=False)) == [0, 1, 2]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_files_decoded_by_any_number_of_workers_equal_images_in_memory(num_workers):
    in_memory = loader_of(augment=AUGMENT)
    decoded = loader_of(files_of(23), augment=AUGMENT, num_workers=num_workers)
    for epoch in range(2):
        in_memory.order.set_epoch(epoch)
        decoded.order.set_epoch(epoch)
        assert same(list(in_memory), list(decoded))


def test_augmentation_follows_the_position_and_not_the_batch_size():
    small, large = loader_of(augment=AUGMENT), loader_of(augment=AUGMENT, batch_size=20)
    assert torch.equal(torch.cat([images for images, _ in small]), next(iter(large))[0])


def test_augmentation_changes_with_the_epoch():
    loader = loader_of(augment=AUGMENT, shuffle=False)
    first = next(iter(loader))[0]
    loader.order.set_epoch(1)
    assert not torch.equal(next(iter(loader))[0], first)


def flipped(epoch: int, seed: int = 0, num_images: int = 400, **settings) -> torch.Tensor:
    """Whether each image (N,) is shown flipped in an epoch; images without a place in it are False."""
    images = images_of(num_images)
    loader = loader_of(images, augment=ONLY_FLIP, seed=seed, normalize=Normalize([0.0], [1 / 255]), **settings)
    loader.order.set_epoch(epoch)
    found = torch.zeros(num_images, dtype=torch.bool)
    for shown, labels in loader:
        plain = images.images[labels].permute(0, 3, 1, 2)
        is_flipped = (shown.round() == plain.flip(3)).flatten(1).all(1)
        assert torch.equal(is_flipped, (shown.round() != plain).flatten(1).any(1)), "neither side"
        found[labels] = is_flipped
    return found


def test_alternating_flips_are_random_at_first_and_then_show_the_other_side():
    first = flipped(epoch=0)
    assert first.float().mean().item() == pytest.approx(0.5, abs=0.1)
    for epoch in range(1, 5):
        assert torch.equal(flipped(epoch), first ^ bool(epoch % 2))


def test_alternating_flips_differ_by_image_and_seed():
    assert 100 < (flipped(0, seed=0) ^ flipped(0, seed=1)).sum() < 300
    assert 100 < (flipped(0) ^ flipped(0).roll(1)).sum() < 300


def test_alternating_flips_belong_to_the_image_for_any_batch_size_order_and_rank():
    expected = flipped(epoch=1)
    assert torch.equal(flipped(1, batch_size=16), expected)
    assert torch.equal(flipped(1, shuffle=False), expected)
    assert torch.equal(flipped(1, rank=0, world_size=2) | flipped(1, rank=1, world_size=2), expected)


def test_no_draw_is_on_the_same_side_in_two_epochs_by_rounding():
    edges = torch.tensor([0.0, 2**-24, 0.5 - 2**-24, 0.5, 0.5 + 2**-24, 1 - 2**-24])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "rand", lambda *_, **__: edges)
        even, odd = (alternating_draws(len(edges), seed=0, epoch=epoch) for epoch in range(2))
    assert torch.equal(even < 0.5, odd >= 0.5)
    assert odd.min() >= 0
    assert odd.max() < 1


def test_ranks_share_a_training_epoch_without_overlap():
    ranks = [labels_of(loader_of(rank=rank, world_size=2)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == 8
    assert not set(ranks[0]) & set(ranks[1])


def test_ranks_together_make_the_batches_of_one_process():
    single = labels_of(loader_of(batch_size=8))
    ranks = [labels_of(loader_of(batch_size=4, rank=rank, world_size=2)) for rank in range(2)]
    assert sorted(ranks[0][:4] + ranks[1][:4]) == sorted(single[:8])


@pytest.mark.parametrize("num_images", [21, 23, 24, 25])
def test_ranks_evaluate_each_image_once_in_as_many_batches(num_images):
    loaders = [loader_of(images_of(num_images), train=False, shuffle=False, rank=r, world_size=3) for r in range(3)]
    assert len({len(loader) for loader in loaders}) == 1
    batches = [list(loader) for loader in loaders]
    assert [len(b) for b in batches] == [len(loader) for loader in loaders]
    labels = [label for rank in batches for _, part in rank for label in part.tolist()]
    assert sorted(labels) == list(range(num_images))


def test_a_loader_that_is_told_its_place_goes_on_exactly_there():
    loader = loader_of(augment=AUGMENT)
    loader.order.set_epoch(3)
    whole = list(loader)
    started = iter(loader)
    _ = [next(started) for _ in range(2)]
    resumed = loader_of(augment=AUGMENT)
    resumed.load_state_dict(loader.state_dict())
    resumed.order.set_epoch(3)
    assert same(list(resumed), whole[2:])
    assert same(list(resumed), whole), "only the first epoch after a resume starts later"


def test_a_resumed_place_is_forgotten_in_another_epoch():
    loader = loader_of()
    loader.load_state_dict({"epoch": 1, "batches_done": 5})
    loader.order.set_epoch(2)
    assert len(list(loader)) == 5


def test_an_epoch_left_early_does_not_shorten_the_next():
    for images in (PIXELS, files_of(23)):
        loader = loader_of(images, num_workers=1 if isinstance(images, ImageFiles) else 0)
        next(iter(loader))
        assert len(list(loader)) == len(loader) == 5


def test_a_damaged_file_is_one_line_even_from_a_worker():
    files, before = ImageFiles([Path("0"), Path("damaged")], torch.tensor([0, 1]), decode), active_children()
    with pytest.raises(DataError, match=r"^damaged: cannot be read$"):
        list(loader_of(files, num_workers=1))
    assert set(active_children()) <= set(before)


def test_balanced_sampling_shows_each_class_equally_often():
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    images = ImageTensors(torch.zeros(1000, 1, 1, 3, dtype=torch.uint8), labels)
    loader = loader_of(images, weights=balanced_weights(labels), batch_size=10)
    drawn = []
    for epoch in range(10):
        loader.order.set_epoch(epoch)
        drawn.append(loader.order.draw()[0])
    shown = labels[torch.cat(drawn)].bincount() / 10_000
    assert (shown - 1 / 3).abs().max() < 0.02
    assert sum(label == 2 for label in labels_of(loader)) > 250


def test_balanced_sampling_goes_on_where_it_was():
    images = ImageTensors(PIXELS.images, PIXELS.labels % 3)
    weights = balanced_weights(images.labels)
    whole, resumed = (loader_of(images, weights=weights, augment=AUGMENT) for _ in range(2))
    expected = list(whole)
    resumed.load_state_dict({"epoch": 0, "batches_done": 2})
    assert same(list(resumed), expected[2:])
    whole.order.set_epoch(1)
    assert not same(list(whole), expected)

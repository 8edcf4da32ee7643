import torch

from kindling.data.splits import hold_out

LABELS = torch.tensor([0] * 40 + [1] * 20 + [2] * 10)


def test_the_same_share_of_each_class_is_held_out():
    _, held = hold_out(LABELS, 0.1)
    assert LABELS[held].bincount().tolist() == [4, 2, 1]


def test_kept_and_held_out_are_disjoint_and_complete():
    kept, held = hold_out(LABELS, 0.3)
    assert sorted(kept.tolist() + held.tolist()) == list(range(70))


def test_the_split_does_not_depend_on_the_global_seed():
    torch.manual_seed(1)
    first = hold_out(LABELS, 0.3)
    torch.manual_seed(2)
    assert torch.equal(hold_out(LABELS, 0.3)[1], first[1])


def test_held_out_images_are_drawn_from_the_whole_class():
    _, held = hold_out(torch.zeros(1000, dtype=torch.int64), 0.1)
    assert held.min() < 100
    assert held.max() > 900


def test_a_class_with_one_image_keeps_it_and_one_with_two_gives_one():
    kept, held = hold_out(torch.tensor([0, 1, 1]), 0.1)
    assert 0 in kept.tolist()
    assert len(held) == 1

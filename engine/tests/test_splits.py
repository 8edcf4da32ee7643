import pytest
import torch

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.data.splits import folds, hold_out
from kindling.evaluate import evaluate
from long_run import some

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


@pytest.mark.parametrize("num_folds", [2, 5, 7])
def test_folds_hold_each_class_and_all_images_as_evenly_as_can_be(num_folds):
    found = folds(LABELS[torch.randperm(70, generator=torch.Generator().manual_seed(3))], num_folds)
    labels = LABELS[torch.randperm(70, generator=torch.Generator().manual_seed(3))]
    assert sorted(found.unique().tolist()) == list(range(num_folds))
    for images in (found, *(found[labels == label] for label in range(3))):
        sizes = images.bincount(minlength=num_folds)
        assert sizes.max() - sizes.min() <= 1


@pytest.fixture(params=some(["patterns", "tensors", "files"], "tensors"))
def set_of_fold(request, config, make_tree):
    """The splits of a fold of a set in memory, or of files."""
    if request.param == "patterns":
        overrides = ["data=patterns", "data.image_size=28"]
    else:
        in_memory = f"data.in_memory={str(request.param == 'tensors').lower()}"
        overrides = ["data=image_folder", f"data.root={make_tree(images=20)}", in_memory]
    return lambda fold: instantiate(config(*overrides, f"data.fold={fold}").data, "data").splits


def test_the_folds_of_a_set_are_disjoint_cover_it_and_leave_the_test_images(set_of_fold):
    def seen(images) -> list[tuple[bytes, int]]:
        return [(images[i].numpy().tobytes(), int(images.labels[i])) for i in range(len(images))]

    whole = set_of_fold("null")
    everything = sorted(seen(whole.train) + seen(whole.val))
    held = []
    for fold in range(5):
        splits = set_of_fold(fold)
        assert sorted(seen(splits.train) + seen(splits.val)) == everything
        assert seen(splits.test) == seen(whole.test)
        assert len(set(splits.val.labels.bincount().tolist())) <= 2
        held += seen(splits.val)
    assert sorted(held) == everything


@pytest.mark.slow
def test_a_fold_is_evaluated_as_it_was_validated(train_run):
    run = train_run("data.fold=3", "seed=7", "data.num_images=60")
    metrics = evaluate(compose([f"run={run.folder}", "split=val"], "evaluate"))
    assert metrics["val/loss"] == pytest.approx(min(float(row) for row in val_losses(run)), abs=1e-5)


def val_losses(run) -> list[str]:
    rows = (run.folder / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/loss")
    return [found for row in rows[1:] if (found := row.split(",")[column])]

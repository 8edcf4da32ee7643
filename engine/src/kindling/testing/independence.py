"""What an output of a model may depend on: on its own example, and where it foretells, on what came before."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kindling.testing import batches
from kindling.testing.nets import BATCH, Case, freeze_batch_norm


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_an_example_has_no_part_in_the_outputs_of_another(trained_case, mode):
    case = trained_case
    freeze_batch_norm(case.net.train(mode == "train"))
    if not gives_one_for_each(case):
        pytest.skip("its outputs are not those of single examples")
    first = case.inputs[0]
    if first.is_floating_point():
        given = first.clone().requires_grad_()
        seen = case._replace(inputs=(given, *case.inputs[1:])).outputs()
        (gradients,) = torch.autograd.grad([each[2].square().sum() for each in batches.leaves(seen)], given)
        reached = [bool(gradient.any()) for gradient in gradients]
        assert reached == [index == 2 for index in range(len(first))]
        # Of images, (C, H, W).
        if first.ndim == 4:
            assert gradients[2].flatten(1).any(1).all(), "a channel of the image is not looked at"
    with torch.no_grad():
        others = batches.part(case.inputs, [0 if index != 2 else 2 for index in range(len(first))])
        alone, among = case.outputs(), case._replace(inputs=others).outputs()
        assert batches.close(batches.part(alone, [2]), batches.part(among, [2]))


def gives_one_for_each(case: Case) -> bool:
    with torch.no_grad():
        outputs = batches.leaves(case.outputs())
    return all(batches.of_each_example(each, batches.num_in(case.inputs)) for each in outputs)


def test_a_model_that_is_to_foretell_its_own_input_does_not_look_ahead(trained_case):
    """Ids (B, T) whose targets are the same ids, one place on: an output that depends on later ones is a cheat."""
    case = trained_case
    ids, targets = case.inputs[0], case.step().targets
    if not foretells(ids, targets):
        pytest.skip("its targets are not what follows in its input")
    case.task.eval()
    with torch.no_grad():
        before = case.outputs()
        for place in (1, ids.shape[1] // 2, ids.shape[1] - 1):
            other = ids.clone()
            other[:, place:] = ids.roll(1, 0)[:, place:].flip(1)
            after = case._replace(inputs=(other, *case.inputs[1:])).outputs()
            assert batches.close(before[:, :place], after[:, :place]), f"place {place}"


def foretells(ids: Any, targets: Any) -> bool:
    both = isinstance(ids, Tensor) and isinstance(targets, Tensor) and ids.dtype == targets.dtype == torch.int64
    if not both or ids.ndim != 2 or ids.shape != targets.shape:
        return False
    counted = targets[:, :-1] >= 0
    return bool(counted.any()) and torch.equal(targets[:, :-1][counted], ids[:, 1:][counted])


def test_evaluation_does_not_depend_on_the_size_or_the_order_of_a_batch(trained_case):
    case = trained_case
    case.task.eval()
    if not gives_one_for_each(case):
        pytest.skip("its outputs are not those of single examples")
    order = [3, 0, 7, 1, 6, 2, 5, 4]
    assert sorted(order) == list(range(BATCH))
    with torch.no_grad():
        together = case.outputs()
        permuted = case.net(*batches.part(case.inputs, order))
        assert batches.close(batches.part(together, order), permuted)
        for index in range(BATCH):
            alone = case.net(*batches.part(case.inputs, [index]))
            assert batches.close(batches.part(together, [index]), alone)

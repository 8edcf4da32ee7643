"""The contracts that a project's tests import: those of tasks hold over bench/, and what breaks one fails it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench_root import PROJECT
from kindling.config.check import fits
from kindling.config.check.fits import Chosen
from kindling.testing import batches, data, models, sets, tasks
from kindling.testing.nets import Case, for_task, with_images
from kindling.testing.tasks import *  # noqa: F403
from kindling.training.sums import StepOutput

FAILS = (AssertionError, pytest.fail.Exception)


# --- what a wrong task fails


@pytest.fixture
def right(offline: Path) -> Case:
    return for_task("classification", offline).copy()


def with_step(case: Case, change: Any) -> Case:
    """The case with a task whose outputs are changed."""
    step = case.task.step
    case.task.step = lambda batch, stage: change(case.task, step(batch, stage), stage)
    return case


def mean_in_place_of_a_sum(task: Any, output: StepOutput, stage: str) -> StepOutput:
    return output._replace(sums={"accuracy": output.sums["accuracy"] / output.num})


def one_more_sum(task: Any, output: StepOutput, stage: str) -> StepOutput:
    return output._replace(sums={**output.sums, "further": output.loss})


def too_many_examples(task: Any, output: StepOutput, stage: str) -> StepOutput:
    return output._replace(num=10)


def noise(task: Any, output: StepOutput, stage: str) -> StepOutput:
    return output._replace(loss=output.loss + torch.rand(()))


def trained_in_evaluation(task: Any, output: StepOutput, stage: str) -> StepOutput:
    next(task.parameters()).data.add_(1)
    return output


def upside_down(task: Any, output: StepOutput, stage: str) -> StepOutput:
    return output._replace(loss=-output.loss.square().detach() + 0 * output.loss)


def counts_each_example_once(case: Case) -> None:
    tasks.test_metrics_do_not_depend_on_how_the_examples_are_batched_or_how_often_all_are_seen(
        tasks.ten_steps_on(case), "batch"
    )


@pytest.mark.parametrize(
    ("change", "contract"),
    [
        (mean_in_place_of_a_sum, counts_each_example_once),
        (too_many_examples, counts_each_example_once),
        (one_more_sum, tasks.test_a_task_logs_what_its_source_declares_and_which_way_is_better),
        (noise, lambda case: tasks.test_evaluation_repeats_its_bits_and_trains_nothing(case, "val")),
        (trained_in_evaluation, lambda case: tasks.test_evaluation_repeats_its_bits_and_trains_nothing(case, "test")),
        (upside_down, tasks.test_the_loss_of_a_batch_is_finite_and_falls_within_twenty_steps),
    ],
)
def test_a_task_that_is_wrong_fails_the_contract_that_is_about_it(right, change, contract):
    contract(right.copy())
    with pytest.raises(FAILS):
        contract(with_step(right, change))


def test_an_example_of_another_shape_than_the_inputs_fails(right):
    right.task.example = lambda: torch.zeros(2, 1, 3, 3)
    with pytest.raises(FAILS):
        tasks.test_the_example_is_like_the_inputs_of_a_batch(right)


# --- batches


def test_a_part_of_a_batch_leaves_alone_what_is_not_of_each_example():
    batch = {"ids": torch.arange(6).view(3, 2), "mask": torch.ones(2, 2), "name": "x"}
    found = batches.part(batch, [2, 0])
    assert found["ids"].tolist() == [[4, 5], [0, 1]]
    assert found["mask"].shape == (2, 2)
    assert found["name"] == "x"


def test_examples_are_told_apart_by_all_their_tensors():
    one, other = (torch.zeros(2, 3), torch.tensor([0, 1])), (torch.zeros(2, 3), torch.tensor([0, 2]))
    assert len(set(batches.as_bytes(one) + batches.as_bytes(other))) == 3


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        ([[1, 2, 9]], True),
        ([[-100, 2, 9]], True),
        ([[1, 0, 9]], False),
        ([[-100, -100, 9]], False),
    ],
)
def test_a_model_is_to_look_back_alone_if_its_targets_are_its_input_moved_by_one(targets, found):
    assert models.foretells(torch.tensor([[0, 1, 2]]), torch.tensor(targets)) == found
    assert not models.foretells(torch.tensor([[0.0, 1, 2]]), torch.tensor(targets))


@pytest.mark.parametrize(("mean", "wrong"), [([1.0, 3.0], False), ([1.0, 3.1], True)])
def test_a_mean_that_is_not_that_of_train_fails(mean, wrong):
    values = torch.tensor([[0.0, 2.0], [2.0, 4.0]])
    facts = {"mean": mean, "std": values.std(0).tolist()}
    given: Any = SimpleNamespace(facts=facts, splits=SimpleNamespace(train=(values, torch.zeros(2))))
    contract = data.test_a_mean_and_a_std_among_its_facts_are_those_of_train
    if wrong:
        with pytest.raises(AssertionError):
            contract(given, 0, "mean", "std")
    else:
        contract(given, 0, "mean", "std")


@pytest.mark.parametrize(("name", "expected"), [("patterns", True), ("table", False)])
def test_images_with_labels_are_told_by_their_class_not_by_their_channels(name, expected, monkeypatch):
    node = {**sets.written(name), "channels": 1}
    monkeypatch.setattr(sets, "written", lambda _: node)
    assert sets.reads_images_with_labels(name) == expected


# --- models


@pytest.mark.parametrize(
    "contract",
    [
        models.test_the_first_loss_is_about_that_of_guessing,
        models.test_the_first_weights_are_a_function_of_the_seed,
        models.test_every_trainable_parameter_gets_a_gradient_within_three_steps,
        models.test_the_gradient_is_the_slope_of_the_loss_in_double_precision,
        models.test_evaluation_repeats_its_bits_and_changes_nothing,
    ],
)
def test_a_model_whose_layers_find_their_shapes_keeps_what_others_keep(contract, offline):
    contract(lazy(offline))


def test_a_model_whose_layers_find_their_shapes_comes_back_from_a_checkpoint(offline, tmp_path):
    models.test_a_model_comes_back_from_a_checkpoint_with_the_same_bits(lazy(offline), tmp_path)


def lazy(folder: Path) -> Case:
    return with_images(Chosen("classification", "fake", "lazy"), folder)


# --- what goes together


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images with a CNN, and words with a network and a task of their own."""
    files = {
        "train": "defaults:\n  - task: labels\n  - data: digits\n  - model: cnn\n  - experiment: null\n",
        "task/labels": "_target_: x.Labels\nnum_classes: ${data.num_classes}\n",
        "task/tagging": "_target_: x.Tagging\n",
        "task/plain": "task:\n  _target_: ???\n",
        "data/_images": "num_classes: ???\nseed: 0\n",
        "data/digits": "defaults: [_images, _self_]\n_target_: x.Digits\nchannels: 1\n",
        "data/words": "_target_: x.Words\nvocab_size: null\n",
        "data/given": "_target_: x.Given\ntrain: ???\n",
        "model/cnn": "_target_: x.CNN\nin_channels: ${data.channels}\n",
        "model/rnn": "_target_: x.RNN\nvocab_size: ${data.vocab_size}\n",
        "model/none": "model: null\n",
        "experiment/words": "defaults: [override /task: tagging, override /data: words, override /model: rnn]\n",
    }
    for name, text in files.items():
        file = tmp_path / "configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    here = SimpleNamespace(configs=tmp_path / "configs", root=PROJECT, package="bench")
    monkeypatch.setattr(fits.project, "current", lambda: here)
    return tmp_path / "configs"


def test_options_are_those_that_build_something_as_they_are(configs):
    assert fits.options("task") == ["labels", "tagging"]
    assert fits.options("data") == ["digits", "words"]
    assert fits.options("model") == ["cnn", "rnn"]


def test_a_data_set_has_the_keys_of_its_defaults_too(configs):
    assert fits.keys_of("data", "digits") == {"num_classes", "seed", "_target_", "channels"}


def test_a_recipe_says_what_goes_together(configs):
    assert list(fits.recipes()) == [("labels", "digits", "cnn", ""), ("tagging", "words", "rnn", "words")]
    assert next(fits.for_task("tagging")).lines == ["experiment=words"]
    assert next(fits.for_task("labels")).lines == ["task=labels", "data=digits", "model=cnn"]
    assert list(fits.for_model("rnn")) == [("tagging", "words", "rnn", "")]


def test_without_a_recipe_what_is_referred_to_says_what_goes_together(configs):
    (configs / "experiment" / "words.yaml").unlink()
    assert [each[:3] for each in fits.for_model("rnn")] == [("tagging", "words", "rnn")]
    assert fits.models_for("tagging", "words") == ["rnn"]
    assert fits.lines_for("words") == ["task=tagging", "data=words", "model=rnn"]
    assert not fits.go_together("labels", "words", "rnn")


def test_what_the_class_of_a_task_reads_of_the_data_counts_like_what_its_config_refers_to(configs):
    (configs / "task" / "next.yaml").write_text("_target_: bench.tasks.in_and_out.Next\n")
    assert fits.facts_for("task", "next") == {"block_size"}
    assert not fits.go_together("next", "digits", "cnn")


def test_data_that_no_model_fits_yet_is_read_without_one(configs):
    (configs / "model" / "rnn.yaml").unlink()
    assert {"data=words", "model=none"} <= set(fits.lines_for("words"))


# --- what of a net's gradients goes to the values that equal the largest


@pytest.mark.parametrize(
    ("function", "is_found"),
    [
        (lambda x: x.amax(1) + x.sum(), True),
        (lambda x: x.amin(1), True),
        (torch.max, True),
        (lambda x: x.max(1).values, False),
        (lambda x: x - x.amax(1, keepdim=True).detach(), False),
        (lambda x: x.logsumexp(1), False),
        (lambda x: x.softmax(1), False),
        (lambda x: torch.nn.functional.adaptive_max_pool1d(x, 1), False),
    ],
)
def test_gradients_by_equality_are_found_and_largest_values_without_them_are_not(function, is_found):
    x = torch.zeros(2, 3, requires_grad=True)
    found = models.gradients_in({"outputs": function(2 * x)})
    assert any(map(models.BY_EQUALITY.match, found)) is is_found, found

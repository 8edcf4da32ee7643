"""A class in place of the one that a file names: what only that takes is left out, in one line."""

import pytest
import yaml

from bench_root import CONFIGS
from kindling.cli.arguments import check_command_line
from kindling.cli.entry import compose
from kindling.config.check.command_line import Check
from kindling.config.composition import Composer

CRITERION = "task.criterion._target_=torch.nn.CrossEntropyLoss"
LEFT_OUT = "task.criterion: given CrossEntropyLoss, which takes no num_classes, focal_gamma, class_weights, version; "
OWN = ("task=plain", "task._target_=bench.foreign.boring_classes.BoringModel")
OWN_DATA = "data._target_=bench.foreign.boring_classes.BoringDataModule"


@pytest.fixture
def checked():
    """The lines that refuse a command line, and those of what is left out."""

    def run(*lines, sweep=False, further=None):
        with Composer("train", further=further) as composer:
            check = Check(composer, sweep=sweep)
            found = check.run(lines)
        errors = [str(each) for each in found if not getattr(each, "warning", False)]
        return errors, list(map(str, check.former.lines))

    return run


def test_another_class_of_the_command_line_does_without_what_only_the_files_class_takes(checked, capsys):
    for line in (CRITERION, "task.criterion={_target_: torch.nn.CrossEntropyLoss}"):
        assert checked(line) == ([], [f"{LEFT_OUT}left out"])
    assert compose([CRITERION]).task.criterion == {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.0}
    assert f"warning: {LEFT_OUT}left out" in capsys.readouterr().err


def test_hydra_is_given_what_the_check_has_left_out(capsys):
    lines = check_command_line("train", [CRITERION])
    assert f"warning: {LEFT_OUT}left out" in capsys.readouterr().err
    assert lines is not None
    with Composer("train") as composer:
        assert set(composer.compose(lines).task.criterion) == {"_target_", "label_smoothing"}


@pytest.mark.parametrize("line", ["+task.criterion.gamma=1", "task.criterion.class_weights=null"])
def test_what_the_command_line_asks_for_itself_is_refused(checked, line):
    key = line.lstrip("+").partition("=")[0]
    errors, _ = checked(CRITERION, line)
    assert [error.partition(";")[0] for error in errors] == [
        f"{key}: given an argument that CrossEntropyLoss does not take"
    ]


def test_what_the_options_of_a_group_share_is_left_out_too_and_own_data_runs(checked):
    for choice in ("data=plain", "data=coloured"):
        errors, (line,) = checked(*OWN, choice, OWN_DATA)
        assert errors == []
        assert line.startswith("data: given BoringDataModule, which takes no ")
    errors, _ = checked("data=plain", OWN_DATA)
    assert errors == [
        "data: given BoringDataModule without num_classes, channels; allowed: another task and model; asked for by "
        "task, model"
    ]


@pytest.mark.slow
def test_a_recipe_and_a_file_that_builds_on_another_may_name_another_class(checked, tmp_path):
    criterion = {"_target_": "torch.nn.CrossEntropyLoss"}
    recipe = {"defaults": [{"override /optimizer": "sgd"}], "optimizer": {"_target_": "torch.optim.Adam"}}
    files = {
        "task/mine": yaml.safe_dump({"defaults": ["classification"], "criterion": criterion}),
        "experiment/mine": "# @package _global_\n" + yaml.safe_dump(recipe),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).with_suffix(".yaml").write_text(text)
    further = str(tmp_path)
    assert checked("task=mine", further=further) == ([], [f"{LEFT_OUT}left out"])
    errors, lines = checked("experiment=mine", further=further)
    assert (errors, lines) == ([], ["optimizer: given Adam, which takes no momentum, nesterov; left out"])
    # What a recipe asks for by itself is no setting of the file's class.
    recipe["optimizer"]["dampening"] = 0.1
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\n" + yaml.safe_dump(recipe))
    errors, _ = checked("experiment=mine", further=further)
    assert len(errors) == 1
    assert "optimizer.dampening: given an argument that Adam does not take" in errors[0]


def test_a_file_that_names_its_own_class_answers_for_its_settings(checked, tmp_path):
    (tmp_path / "optimizer").mkdir()
    text = (CONFIGS / "optimizer" / "sgd.yaml").read_text().replace("torch.optim.SGD", "torch.optim.Adam")
    (tmp_path / "optimizer" / "mine.yaml").write_text(text)
    errors, lines = checked("optimizer=mine", further=str(tmp_path))
    assert lines == []
    assert all("that Adam does not take" in error for error in errors)
    assert len(errors) == 2


@pytest.mark.needs("sweeps")
def test_jobs_of_a_sweep_leave_out_the_same_or_are_refused(checked):
    errors, (line,) = checked("optimizer._target_=torch.optim.SGD", "seed=0,1", sweep=True)
    assert (errors, line) == ([], "optimizer: given SGD, which takes no betas; left out")
    (error,), _ = checked("optimizer._target_=torch.optim.SGD,torch.optim.Adam", sweep=True)
    assert error == (
        "optimizer._target_: given SGD in some jobs of a sweep, with settings of another; allowed: a file for each "
        "class, configs/optimizer/NAME.yaml, and optimizer=NAME,OTHER"
    )


def test_a_key_that_is_null_or_refers_to_a_missing_one_can_be_deleted():
    with Composer("train") as composer:
        config = composer.compose(["~task.criterion.class_weights", "~data.num_classes", "~model.num_classes"])
    assert "class_weights" not in config.task.criterion
    assert "num_classes" not in config.model

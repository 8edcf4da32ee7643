import pytest
from omegaconf import OmegaConf

from kindling.cli.entry import compose
from kindling.config.check.command_line import Check
from kindling.config.check.composed import check_config
from kindling.config.composition import Composer
from kindling.config.left_out import leave_out
from kindling.run_folders.lifecycle import recorded

PLAIN = "task=plain", "task._target_=bench.plain.GAN"
NONE = "model=none", "optimizer=none", "scheduler=none"


@pytest.fixture
def told():
    """The lines of a command line, those of warnings apart."""

    def check(*overrides: str) -> tuple[list[str], list[str]]:
        with Composer("train") as composer:
            found = Check(composer).run(overrides)
        warnings = [each for each in found if getattr(each, "warning", False)]
        return [str(each) for each in found if each not in warnings], list(map(str, warnings))

    return check


@pytest.mark.needs("debug")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model=cnn", "model: given cnn with task=plain, whose GAN takes no net; allowed: model=none"),
        ("model.dropout=0", "model: given cnn with task=plain, whose GAN takes no net; allowed: model=none"),
        (
            "optimizer.lr=1",
            "optimizer: given adamw with task=plain, whose GAN takes no optimizer; allowed: optimizer=none",
        ),
        ("scheduler=linear", "scheduler: given linear with task=plain, whose GAN takes no scheduler; allowed: "),
        ("mix=mixup", "mix: given mixup with task=plain, whose GAN takes no mix; allowed: mix=none"),
        ("metrics=f1", "metrics: given f1 with task=plain, whose GAN takes no metrics; allowed: metrics=none"),
        ("metrics=[f1,auroc]", "metrics: given f1, auroc with task=plain, whose GAN takes no metrics; allowed: "),
        (
            "layer_lr_decay=0.8",
            "layer_lr_decay: given 0.8 with task=plain, whose GAN takes no layer_lr_decay; allowed: ",
        ),
        ("debug=none_such", "debug: given 'none_such'"),
    ],
)
def test_a_group_that_the_task_does_not_take_is_refused_by_name(told, line, message):
    (error,), _ = told(*PLAIN, line)
    assert error.startswith(message)


def test_a_recipe_asks_for_what_it_chooses(told):
    errors, _ = told("experiment=speed", *PLAIN, "~task.criterion", "~task.views")
    assert [error.partition(";")[0] for error in errors] == [
        "optimizer: given muon with task=plain, whose GAN takes no optimizer",
        "scheduler: given linear with task=plain, whose GAN takes no scheduler",
    ]


def test_a_recipe_asks_for_what_it_sets(told, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "quick.yaml").write_text("# @package _global_\noptimizer:\n  lr: 0.1\n")
    with Composer("train", further=str(tmp_path)) as composer:
        (error, *_) = map(str, Check(composer).run([*PLAIN, "experiment=quick"]))
    assert error.startswith(
        "optimizer: given adamw with task=plain, whose GAN takes no optimizer; allowed: optimizer=no"
    )
    assert error.endswith("quick.yaml:2)")


def test_what_is_there_by_default_is_left_out_in_one_line(told):
    left_out = "task: given GAN, which takes no net, optimizer, scheduler; left out: model, optimizer, scheduler"
    stop = "callbacks.early_stopping: given no metric to watch, as monitor is null; left out, and best.ckpt is of the "
    stop += "last epoch; monitor=NAME watches one that is logged, such as monitor=val/loss"
    assert told(*PLAIN) == ([], [left_out, stop])
    assert told(*PLAIN, *NONE) == ([], [stop])
    assert told(*PLAIN, *NONE, "monitor=g_loss") == ([], [])


def test_a_config_is_trained_without_what_its_task_does_not_take():
    cfg = compose(PLAIN)
    assert cfg.model is not None
    warnings = check_config(cfg)
    assert [cfg.model, cfg.optimizer, cfg.scheduler, cfg.callbacks.early_stopping] == [None] * 4
    assert cfg.callbacks.best_checkpoint.monitor is None
    assert [warning.path for warning in warnings] == ["task", "callbacks.early_stopping"]
    assert check_config(cfg) == []


def test_a_run_folder_holds_nothing_that_its_task_does_not_take(tmp_path):
    cfg = compose([*PLAIN, f"paths.logs={tmp_path}", "data=fake"])
    with recorded(cfg) as run:
        saved = OmegaConf.load(run.folder / "config.yaml")
        assert [saved.model, saved.optimizer, saved.scheduler, saved.callbacks.early_stopping] == [None] * 4
        assert [line.path for line in run.left_out] == ["task", "callbacks.early_stopping"]


def test_a_task_that_takes_everything_loses_nothing():
    cfg = compose(["mix=mixup"])
    before = OmegaConf.to_container(cfg)
    assert leave_out(cfg) == []
    assert OmegaConf.to_container(cfg) == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["model=none"], "model: given null, which Classification cannot do without; allowed: a node with _target_"),
        (
            ["optimizer=none"],
            "optimizer: given null, which Classification cannot do without; allowed: a node with _targ",
        ),
        (["model=null"], "model: given null for a group; allowed: its options "),
        (
            ["mix=null"],
            "mix: given null for a group; allowed: its options cutmix, mixup, mixup_cutmix, none, see --help; did",
        ),
        (["task=plain"], "task._target_: given no value (???); allowed: a value: task._target_=... ("),
        (["metrics=f1", "monitor=val/f2"], "monitor: given val/f2, which nothing logs; allowed: "),
        (
            ["monitor=val/accuracy", "monitor_mode=min"],
            "monitor_mode: given min for val/accuracy; allowed: max; did you",
        ),
        (
            [*PLAIN, "monitor=g_los"],
            "monitor: given g_los, which nothing logs; allowed: g_loss, d_loss; did you mean g_loss?",
        ),
        (
            ["task=plain", "task._target_=bench.plain.Regression", "monitor=val_mae"],
            "monitor_mode: given nothing for val_mae, of which no source says which way it is better; allowed: ",
        ),
    ],
)
def test_what_a_task_cannot_be_without_is_named(told, lines, message):
    (error,), _ = told(*lines)
    assert error.startswith(message)


@pytest.mark.parametrize("lines", [["monitor=val/accuracy"], ["metrics=f1", "monitor=val/f1"], ["monitor=train/loss"]])
def test_the_better_direction_is_found(told, lines):
    assert told(*lines) == ([], [])


def test_the_mode_of_all_that_watches_follows_the_monitor():
    cfg = compose(["metrics=calibration_error", "monitor=val/accuracy", "scheduler=plateau"])
    assert [cfg.monitor_mode, cfg.callbacks.best_checkpoint.mode, cfg.scheduler.scheduler.mode] == ["max"] * 3
    assert compose(["metrics=calibration_error", "monitor=val/calibration_error"]).monitor_mode == "min"


def test_a_transform_that_the_data_does_not_take_is_refused_by_name(told, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "numbers.yaml").write_text(
        "_target_: bench.plain.Numbers\nnum_classes: 10\nchannels: 1\nimage_size: 28\n"
    )
    with Composer("train", further=str(tmp_path)) as composer:
        errors = [str(each) for each in Check(composer).run(["data=numbers", "transform=trivial"])]
    assert (
        "transform: given trivial with data=numbers, whose Numbers takes no transform; allowed: transform=none"
        in errors
    )
    assert not [error for error in errors if error.startswith("data.transform")]


@pytest.mark.parametrize("line", ["mix=none", "metrics=none", "transform=none", "scheduler=none"])
def test_a_group_that_may_be_left_out_may_be_none(told, line):
    assert told(line) == ([], [])

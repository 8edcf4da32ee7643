from typing import get_args

import pytest
from lightning.fabric.plugins.precision.precision import (
    _PRECISION_INPUT_INT,
    _PRECISION_INPUT_STR,
    _PRECISION_INPUT_STR_ALIAS,
)
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry
from torch import nn
from torchvision import models

from kindling.cli.entry import compose
from kindling.config.bounds import Range
from kindling.config.check import annotations
from kindling.config.rules import callback_rules, data_rules, metric_rules, run_rules, shared_out_rules, trainer_rules
from kindling.config.signatures import signature
from kindling.config.third_party import ARGUMENTS
from kindling.errors import ConfigError
from kindling.process.cores import available_cores
from kindling.train import train
from kindling.training import machine


def told(rule, **settings):
    """The line of a rule's only fault; "" if it has none. Settings are given as trainer__devices=2."""
    config = {}
    for path, value in settings.items():
        node = config
        *above, last = path.split("__")
        for key in above:
            node = node.setdefault(key, {})
        node[last] = value
    faults = list(rule(config))
    assert len(faults) <= 1
    return ("warning: " if faults[0].warning else "") + str(faults[0]) if faults else ""


def test_a_rule_says_nothing_of_a_config_that_lacks_what_it_asks_for():
    assert [list(rule({})) for rule in run_rules.RULES] == [[]] * len(run_rules.RULES)
    assert len(run_rules.RULES) >= 15


@pytest.mark.parametrize("devices", [1, 8, -1, "auto", "0,1", "2", [0, 2]])
def test_devices_may_be_a_number_all_or_a_list(devices):
    assert told(trainer_rules.devices, trainer__devices=devices) == ""


@pytest.mark.parametrize("devices", [0, -2, "two", [], [-1], True, 1.5])
def test_other_devices_are_refused(devices):
    assert "allowed: auto, a number of devices" in told(trainer_rules.devices, trainer__devices=devices)


@pytest.mark.parametrize("name", [*StrategyRegistry.available_strategies(), "auto"])
def test_each_strategy_of_lightning_is_allowed(name):
    assert told(trainer_rules.strategy, trainer__strategy=name) == ""


def test_one_device_for_several_is_refused():
    assert told(trainer_rules.strategy, trainer={"strategy": "single_device", "devices": 2}) == (
        "trainer.strategy: given single_device with trainer.devices=2; allowed: ddp, or trainer.devices=1"
    )


@pytest.mark.parametrize(("given", "says"), [(1, True), (1.0, False), (2, False), (True, False), (None, False)])
def test_a_validation_after_each_batch_is_said(given, says):
    line = told(trainer_rules.a_whole_number_is_of_batches, trainer={"val_check_interval": given})
    assert line == says * (
        "warning: trainer.val_check_interval: given 1, a validation after each batch; allowed: 1.0 for once an epoch; "
        "a larger number of batches, or a share"
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("given", "epochs", "says"),
    [(1, 5, True), (1, None, True), (1.0, 5, False), (2, 5, False), (None, 5, False), (1, 1, False), (1, -1, False)],
)
def test_a_single_batch_for_all_is_said(split, given, epochs, says):
    name = f"limit_{split}_batches"
    line = told(trainer_rules.a_whole_number_is_of_batches, trainer={name: given, "max_epochs": epochs})
    assert line == says * (
        f"warning: trainer.{name}: given 1, a single batch; allowed: 1.0 for all of them; a larger number of batches, "
        "or a share"
    )


@pytest.mark.parametrize(
    ("criterion", "is_plain", "says"),
    [
        (
            {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1},
            None,
            "CrossEntropyLoss with label_smoothing",
        ),
        ({"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1}, True, ""),
        ({"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.0}, None, ""),
        ({"_target_": "torch.nn.NLLLoss", "weight": {"_target_": "torch.tensor"}}, None, "NLLLoss with weight"),
        ({"_target_": "my_project.Loss", "smoothing": 0.1, "gamma": 2}, True, "Loss with smoothing and gamma"),
        ({"_target_": "kindling.images.criterion.CrossEntropy", "label_smoothing": 0.1}, True, ""),
    ],
)
def test_a_loss_that_is_no_plain_one_in_validation_is_said(criterion, is_plain, says):
    line = told(run_rules.losses_can_be_compared, task={"criterion": criterion, "plain_loss": is_plain})
    assert line.startswith(f"warning: task.criterion: given {says}") if says else line == ""


@pytest.mark.needs("debug")
@pytest.mark.parametrize(
    ("name", "option"), [("BatchSizeFinder", "find_batch_size"), ("lr_finder.LearningRateFinder", "find_lr")]
)
def test_a_finder_of_lightning_is_answered_with_ours(name, option):
    node = {"_target_": f"lightning.pytorch.callbacks.{name}"}
    line = told(callback_rules.finders_are_of_the_engine, callbacks={"mine": node})
    assert line.startswith("callbacks.mine: given ")
    assert line.endswith(f"allowed: debug={option}")


FSDP2 = {"trainer__strategy___target_": "kindling.training.fsdp2.FSDP2", "trainer__precision": "32-true"}


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"callbacks": {"ema": {"_target_": "kindling.callbacks.averages.EMA"}}}, "callbacks.ema: given with fsdp2"),
        ({"callbacks": {"f": {"_target_": "kindling.debug.find_lr.FindLR"}}}, "callbacks.f: given with fsdp2"),
        ({"compile": "default"}, "compile: given default with fsdp2"),
        ({"trainer__precision": "16-mixed"}, "trainer.precision: given 16-mixed with fsdp2; allowed: 32-true, bf16"),
    ],
)
def test_what_was_not_tried_with_fsdp2_is_refused(settings, path):
    assert told(shared_out_rules.fsdp2_can_do_it, **FSDP2 | settings).startswith(path)
    assert told(shared_out_rules.fsdp2_can_do_it, **FSDP2) == ""
    assert told(shared_out_rules.fsdp2_can_do_it, **settings, trainer__strategy="ddp") == ""


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"_target_": "lightning.pytorch.strategies.ModelParallelStrategy"}, "trainer.strategy: given ModelParallel"),
        (
            {"_target_": "lightning.pytorch.strategies.FSDPStrategy", "state_dict_type": "sharded"},
            "trainer.strategy.state_dict_type: given sharded",
        ),
    ],
)
def test_checkpoints_of_several_files_are_refused(settings, path):
    assert told(shared_out_rules.checkpoints_are_one_file, trainer__strategy=settings).startswith(path)
    whole = {"_target_": "lightning.pytorch.strategies.FSDPStrategy", "state_dict_type": "full"}
    assert told(shared_out_rules.checkpoints_are_one_file, trainer__strategy=whole) == ""


@pytest.mark.parametrize("path", run_rules.OWN)
def test_what_the_code_gives_itself_is_refused(path):
    keys = path.replace(".", "__")
    assert told(run_rules.code_gives_its_own, task={}, **{keys: []}).startswith(f"{path}: given a value, and train() ")
    assert told(run_rules.code_gives_its_own, task={}, **{keys: None}) == ""


def test_a_misspelt_strategy_is_told_the_nearest():
    assert told(trainer_rules.strategy, trainer__strategy="fspd").endswith("did you mean fsdp?")


def test_lightnings_accelerators_and_precisions_are_those_that_are_allowed():
    allowed = ARGUMENTS["lightning.pytorch.trainer.*"]
    assert set(AcceleratorRegistry.available_accelerators()) <= set(allowed["accelerator"])
    precisions = (_PRECISION_INPUT_INT, _PRECISION_INPUT_STR, _PRECISION_INPUT_STR_ALIAS)
    assert {name for group in precisions for name in get_args(group)} == set(allowed["precision"]) - {None}


@pytest.mark.parametrize(
    ("batches", "fits"), [(0, True), (10, True), (0.5, True), (1.0, True), (-1, False), (1.5, False)]
)
def test_a_limit_is_a_number_of_batches_or_a_share(batches, fits):
    assert (told(trainer_rules.amounts, trainer__limit_val_batches=batches) == "") == fits


@pytest.mark.parametrize(("interval", "fits"), [(0.25, True), (100, True), (0, False), (1.5, False)])
def test_validation_comes_after_batches_or_a_share_of_the_epoch(interval, fits):
    assert (told(trainer_rules.validation_interval, trainer__val_check_interval=interval) == "") == fits


def test_a_share_between_validations_is_one_of_an_epoch():
    rule, counted = trainer_rules.validation_interval, {"check_val_every_n_epoch": None}
    given = "given 0.5, a share of an epoch, with trainer.check_val_every_n_epoch=null"
    assert given in told(rule, trainer={**counted, "val_check_interval": 0.5})
    assert told(rule, trainer={**counted, "val_check_interval": 500}) == ""
    assert told(rule, trainer={**counted, "val_check_interval": None}) == ""


def test_the_longest_time_is_days_hours_minutes_seconds():
    assert told(trainer_rules.longest_time, trainer__max_time="00:12:00:00") == ""
    assert "such as '00:12:00:00'" in told(trainer_rules.longest_time, trainer__max_time="12h")


IMAGES = {"_target_": "bench.tasks.classification.Classification"}


def test_a_monitor_that_nothing_logs_is_told_the_nearest():
    rule = metric_rules.monitor_is_logged
    assert told(rule, task=IMAGES, monitor="val/acc").endswith("did you mean val/accuracy?")
    assert "test/loss" in told(rule, task=IMAGES, monitor="test/loss")
    callbacks = {"mine": {"monitor": "val/lose", "mode": "min"}}
    assert told(rule, task=IMAGES, callbacks=callbacks).startswith("callbacks.mine.monitor: given val/lose")
    assert told(rule, task=IMAGES, monitor=None) == told(rule, task=IMAGES, monitor="epoch") == ""


def test_a_monitor_has_the_mode_of_its_metric():
    rule = metric_rules.mode_fits_the_monitor
    assert told(rule, task=IMAGES, monitor="val/accuracy", monitor_mode="max") == ""
    message = told(rule, task=IMAGES, monitor="val/accuracy", monitor_mode="min")
    assert message == "monitor_mode: given min for val/accuracy; allowed: max; did you mean monitor_mode=max?"
    callbacks = {"mine": {"monitor": "val/loss", "mode": "max"}}
    assert told(rule, task=IMAGES, callbacks=callbacks).startswith("callbacks.mine.mode: given max")


def test_a_metric_of_the_config_does_not_take_the_name_of_one_of_the_task():
    rule = metric_rules.a_metric_has_a_name_of_its_own
    assert told(rule, task=IMAGES, metrics={"f1": {}}) == ""
    message = "metrics.accuracy: given a name that Classification logs itself; allowed: another one than loss, accuracy"
    assert told(rule, task=IMAGES, metrics={"accuracy": {}}) == message


def test_the_likeliest_classes_are_fewer_than_all():
    rule = metric_rules.top_k_leaves_classes_out
    assert told(rule, metrics={"top5": {"top_k": 5, "num_classes": 10}}) == ""
    message = "metrics.top5.top_k: given 5; allowed: less than the number of classes, 4"
    assert told(rule, metrics={"top5": {"top_k": 5, "num_classes": 4}}) == message


@pytest.mark.parametrize("several", [{"label_separator": "|"}, {"label_column": ["cat", "dog"]}])
@pytest.mark.parametrize("kind", ["MulticlassAUROC", "MulticlassF1Score"])
def test_a_metric_of_one_label_is_refused_with_images_of_several(several, kind):
    rule = metric_rules.a_metric_takes_several_labels
    metrics = {"mine": {"_target_": f"torchmetrics.classification.{kind}"}}
    message = f"metrics.mine: given {kind}, which is of one label each, with data.{next(iter(several))}, and so several"
    allowed = " labels each; allowed: metrics=none, or one of several, such as torchmetrics.classification.Multilabel"
    assert told(rule, data=several, metrics=metrics).startswith(message + allowed)
    assert told(rule, data={"label_separator": None, "label_column": "label"}, metrics=metrics) == ""
    of_several = {"mine": {"_target_": "torchmetrics.classification.MultilabelAUROC"}}
    assert told(rule, data=several, metrics=of_several) == told(rule, data=several, metrics=None) == ""


def test_a_plateau_is_one_of_a_metric():
    rule = metric_rules.plateau_has_a_metric
    plateau = {"monitor": None, "scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}}
    message = "monitor: given null with scheduler=plateau; allowed: a metric that is logged, such as val/loss"
    assert told(rule, monitor=None, scheduler=plateau) == message
    assert told(rule, monitor="val/loss", scheduler=plateau | {"monitor": "val/loss"}) == ""


def test_what_watches_a_validation_needs_one():
    callbacks = {"best_checkpoint": {"monitor": "val/loss"}}
    assert told(callback_rules.something_validates, callbacks=callbacks, trainer__limit_val_batches=1) == ""
    message = told(callback_rules.something_validates, callbacks=callbacks, trainer__limit_val_batches=0)
    assert "callbacks.best_checkpoint watch a metric of validation" in message
    rare = {"max_epochs": 4, "check_val_every_n_epoch": 4}
    assert told(callback_rules.something_validates, callbacks=callbacks, trainer=rare) == ""
    message = told(callback_rules.something_validates, callbacks=callbacks, trainer=rare | {"max_epochs": 3})
    given = "warning: trainer.check_val_every_n_epoch: given 4; allowed: at most trainer.max_epochs, 3, "
    assert message == given + "while callbacks.best_checkpoint watch a metric of validation"


def test_early_stopping_and_the_best_checkpoint_watch_the_same():
    callbacks = {"early_stopping": {"monitor": "train/loss"}, "best_checkpoint": {"monitor": "val/loss"}}
    assert "allowed: what callbacks.best_checkpoint watches" in told(
        metric_rules.one_metric_decides, callbacks=callbacks
    )
    callbacks["early_stopping"]["monitor"] = "val/loss"
    assert told(metric_rules.one_metric_decides, callbacks=callbacks) == ""


def test_the_fewest_epochs_are_not_more_than_the_most():
    assert told(trainer_rules.epochs_are_in_order, trainer={"min_epochs": 5, "max_epochs": 5}) == ""
    assert "min_epochs" in told(trainer_rules.epochs_are_in_order, trainer={"min_epochs": 6, "max_epochs": 5})


def test_a_patience_that_cannot_run_out_warns():
    stop = {"early_stopping": {"patience": 5}}
    assert told(callback_rules.patience_can_run_out, callbacks=stop, trainer__max_epochs=6) == ""
    assert told(callback_rules.patience_can_run_out, callbacks=stop, trainer__max_epochs=5).startswith("warning: ")
    assert told(callback_rules.patience_can_run_out, callbacks=stop, trainer__max_epochs=-1) == "", "no end, so it can"


def test_a_patience_that_nobody_has_chosen_does_not_warn():
    shipped = {"early_stopping": {"patience": 10}}
    assert told(callback_rules.patience_can_run_out, callbacks=shipped, trainer__max_epochs=10) == ""
    schedule = {"scheduler": {"patience": 3}}
    assert told(callback_rules.patience_can_run_out, scheduler=schedule, trainer__max_epochs=3) == ""
    schedule["scheduler"]["patience"] = 4
    assert told(callback_rules.patience_can_run_out, scheduler=schedule, trainer__max_epochs=4) == (
        "warning: scheduler.scheduler.patience: given 4; "
        "allowed: less than trainer.max_epochs, 4; else the learning rate never falls"
    )


def test_more_threads_than_cores_are_refused():
    cores = available_cores()
    assert told(run_rules.threads_have_cores, threads=cores) == ""
    assert told(run_rules.threads_have_cores, threads=cores + 1).startswith(
        f"threads: given {cores + 1}; allowed: 1 to"
    )


def test_a_patience_counts_validations():
    stop = {"early_stopping": {"patience": 5, "monitor": "val/loss"}}
    rare = {"max_epochs": 20, "check_val_every_n_epoch": 4}
    assert told(callback_rules.patience_can_run_out, callbacks=stop, trainer=rare) == (
        "warning: callbacks.early_stopping.patience: given 5; "
        "allowed: less than 5, the run's validations; else nothing stops the run early"
    )
    assert told(callback_rules.patience_can_run_out, callbacks=stop, trainer=rare | {"max_epochs": 24}) == ""
    assert told(callback_rules.patience_can_run_out, callbacks=stop, trainer=rare | {"max_epochs": -1}) == ""


def test_a_schedule_longer_than_the_run_warns():
    schedule = {"interval": "epoch", "scheduler": {"step_size": 10}}
    assert told(run_rules.schedule_ends_with_the_run, scheduler=schedule, trainer__max_epochs=11) == ""
    assert "longer than the run" in told(
        run_rules.schedule_ends_with_the_run, scheduler=schedule, trainer__max_epochs=10
    )


def test_half_precision_needs_a_gpu():
    trainer = {"precision": "16-mixed", "accelerator": "cpu"}
    assert "did you mean trainer.precision=bf16-mixed?" in told(trainer_rules.half_precision_has_a_gpu, trainer=trainer)
    trainer["accelerator"] = "auto"
    assert told(trainer_rules.half_precision_has_a_gpu, trainer=trainer) == "", "not known before torch is loaded"
    assert len(list(machine.half_precision_has_a_gpu({"trainer": trainer}, gpus=0))) == 1
    assert list(machine.half_precision_has_a_gpu({"trainer": trainer}, gpus=1)) == []


def test_more_workers_than_cores_warn(monkeypatch):
    monkeypatch.setattr("kindling.process.cores.available_cores", lambda: 4)
    assert told(data_rules.workers_have_cores, data__num_workers=4) == ""
    assert told(data_rules.workers_have_cores, data__num_workers=5).startswith("warning: data.num_workers: given 5")
    two = {"trainer__devices": 2}
    assert told(data_rules.workers_have_cores, data__num_workers=2, **two) == ""
    assert told(data_rules.workers_have_cores, data__num_workers=3, **two) == (
        "warning: data.num_workers: given 3 for each of 2 processes; allowed: up to 2, the cores of a process; "
        "more only wait for each other"
    )


def test_workers_of_a_set_in_memory_warn():
    assert told(data_rules.workers_have_work, data={"num_workers": 2, "in_memory": "auto"}) == ""
    assert "without effect" in told(data_rules.workers_have_work, data={"num_workers": 2, "in_memory": True})


def test_an_algorithm_that_clips_nothing_warns():
    trainer = {"gradient_clip_algorithm": "norm", "gradient_clip_val": None}
    assert "without effect" in told(trainer_rules.clipping_has_a_value, trainer=trainer)
    assert told(trainer_rules.clipping_has_a_value, trainer=trainer | {"gradient_clip_val": 1}) == ""


def test_nesterov_needs_momentum():
    assert told(run_rules.nesterov_has_momentum, optimizer={"nesterov": True, "momentum": 0.9}) == ""
    assert "more than 0" in told(run_rules.nesterov_has_momentum, optimizer={"nesterov": True, "momentum": 0})


def test_statistics_are_one_number_or_one_for_each_channel():
    assert told(data_rules.statistics_fit_the_channels, data={"channels": 3, "mean": [0.5]}) == ""
    assert "one for each" in told(data_rules.statistics_fit_the_channels, data={"channels": 3, "std": [0.5, 0.5]})


def test_something_is_trained_or_tested():
    assert told(run_rules.something_is_done, train=False, test=True) == ""
    assert "nothing would be done" in told(run_rules.something_is_done, train=False, test=False)


def test_gpus_that_are_not_there_are_refused():
    def told_with(gpus, **trainer):
        return [str(fault) for fault in machine.devices_are_there({"trainer": trainer}, gpus)]

    assert told_with(0, accelerator="auto", devices=1) == []
    assert told_with(2, accelerator="gpu", devices=2) == []
    assert told_with(2, accelerator="gpu", devices="auto") == []
    assert "no GPU is there" in told_with(0, accelerator="gpu", devices=1)[0]
    assert "the 2 GPUs that are there" in told_with(2, accelerator="cuda", devices=4)[0]
    assert "the 2 GPUs that are there" in told_with(2, accelerator="gpu", devices="0,2")[0]


def test_an_operation_of_changing_order_is_named_where_bits_are_to_be_fixed():
    fixed = {"trainer": {"deterministic": True}}
    (fault,) = machine.order_is_fixed(fixed, models.vgg11())
    assert "given true with model's avgpool, AdaptiveAvgPool2d" in str(fault)
    assert list(machine.order_is_fixed(fixed, models.resnet18())) == [], "a mean over all has a fixed order"
    assert list(machine.order_is_fixed({"trainer": {"deterministic": "warn"}}, nn.AdaptiveAvgPool2d(3))) == []


@pytest.mark.parametrize("decay", [0, 1, 1.5, -0.1])
def test_the_decay_of_a_moving_average_lies_between_0_and_1(decay):
    for target in ("kindling.callbacks.averages.EMA", "lightning.pytorch.callbacks.EMAWeightAveraging"):
        found = signature(target)
        assert found
        assert annotations.beyond(found.annotations["decay"], decay) == "more than 0 and less than 1"
        assert annotations.beyond(found.annotations["decay"], 0.999) == ""


def test_a_range_holds_its_ends_unless_they_are_open():
    assert [value in Range(0, 1) for value in (-1, 0, 0.5, 1, 2, float("nan"))] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert [value in Range(0, 1, open="both") for value in (0, 0.5, 1)] == [False, True, False]
    assert [value in Range(0, open="low") for value in (0, 1e9, float("inf"))] == [False, True, False]
    assert [0.5, 2] not in Range(0, 1)


SOME = {
    "torch.optim.lr_scheduler.*": ("OneCycleLR", "StepLR", "ReduceLROnPlateau"),
    "torch.optim.*": ("AdamW", "SGD"),
    "torchmetrics.*": (
        *("classification.MulticlassFBetaScore", "classification.MultilabelAUROC"),
        *("regression.MeanSquaredError", "classification.MulticlassCalibrationError"),
    ),
    "torchvision.transforms.v2.*": ("MixUp",),
    "lightning.pytorch.callbacks.*": (
        *("EarlyStopping", "ModelCheckpoint", "EMAWeightAveraging", "RichProgressBar", "ModelSummary"),
        "LearningRateMonitor",
    ),
    "lightning.pytorch.trainer.*": ("Trainer",),
}


def test_each_argument_of_the_table_is_one_of_a_class_that_is_there():
    assert SOME.keys() == ARGUMENTS.keys()
    for pattern, arguments in ARGUMENTS.items():
        found = [signature(pattern.replace("*", name)) for name in SOME[pattern]]
        taken = {name: each for known in found if known for name, each in known.annotations.items()}
        assert arguments.keys() <= taken.keys()
        for name, allowed in arguments.items():
            told_so = annotations.unwrapped(taken[name])[1] or annotations.choices(taken[name])
            assert told_so == ([allowed] if isinstance(allowed, Range) else list(allowed)), name


def test_the_table_of_other_packages_holds_nothing_of_ours():
    assert {pattern.partition(".")[0] for pattern in ARGUMENTS} == {"lightning", "torch", "torchmetrics", "torchvision"}


def test_a_config_changed_by_hand_is_checked_again(config):
    cfg = config()
    cfg.trainer.max_epochs = "many"
    cfg.optimizer.lr = -1
    with pytest.raises(ConfigError) as refused:
        train(cfg)
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "optimizer.lr",
        "trainer.max_epochs",
    ]


def test_reflected_padding_is_smaller_than_the_image():
    settings = {"data__augment__padding_mode": "reflect", "data__image_size": 8}
    assert told(data_rules.reflection_fits_the_image, data__augment__crop_padding=7, **settings) == ""
    answer = told(data_rules.reflection_fits_the_image, data__augment__crop_padding=8, **settings)
    assert (
        answer == "data.augment.crop_padding: given 8 with padding_mode=reflect; allowed: less than data.image_size, 8"
    )


def test_alternating_flips_need_halves():
    assert told(data_rules.alternating_flips_are_halves, data__augment__alternating_flip=True) == ""
    settings = {"data__augment__alternating_flip": True, "data__augment__horizontal_flip": 0.2}
    assert "given true with horizontal_flip=0.2; allowed: true with" in told(
        data_rules.alternating_flips_are_halves, **settings
    )


@pytest.mark.parametrize(
    ("target", "strategy", "line"),
    [
        ("debug.find_batch_size.FindBatchSize", "ddp", "trainer.devices: given 2 with callbacks.it; allowed: 1"),
        (
            "callbacks.finetuning.Finetuning",
            "ddp",
            "callbacks.it: given 2 processes; allowed: one, or trainer.strategy=",
        ),
        (
            "callbacks.finetuning.Finetuning",
            "auto",
            "callbacks.it: given 2 processes; allowed: one, or trainer.strategy=",
        ),
        ("callbacks.finetuning.Finetuning", "ddp_find_unused_parameters_true", ""),
        ("callbacks.averages.EMA", "ddp", ""),
    ],
)
def test_callbacks_that_several_processes_cannot_have_are_refused(target, strategy, line):
    settings = {"callbacks": {"it": {"_target_": f"kindling.{target}"}}, "trainer__strategy": strategy}
    found = told(shared_out_rules.callbacks_can_do_with_several_processes, trainer__devices=2, **settings)
    assert found.startswith(line)
    assert bool(found) == bool(line)
    assert told(shared_out_rules.callbacks_can_do_with_several_processes, trainer__devices=1, **settings) == ""


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_3", {"_target_": "lightning.strategies.FSDPStrategy"}])
def test_muon_is_refused_where_its_matrices_are_cut_up(strategy):
    muon = {"optimizer___target_": "kindling.training.muon.Muon"}
    assert "which cuts up its matrices; allowed: trainer=fsdp2, trainer=ddp or" in told(
        shared_out_rules.muon_sees_whole_matrices, **muon, trainer__strategy=strategy
    )
    for other in ({"trainer__strategy": "ddp"}, FSDP2):
        assert told(shared_out_rules.muon_sees_whole_matrices, **muon, **other) == ""


def test_an_evaluation_is_refused_to_several_processes_which_would_each_report_their_share():
    line = "trainer.devices: given 2; allowed: 1, as a report is of all examples"
    assert told(shared_out_rules.a_report_is_of_one_process, include_train=False, trainer__devices=2) == line
    assert told(shared_out_rules.a_report_is_of_one_process, include_train=False, trainer__devices=1) == ""
    assert told(shared_out_rules.a_report_is_of_one_process, trainer__devices=2) == "", "of a training"


def test_two_averages_are_refused_and_one_that_never_begins_warns():
    both = {
        "ema": {"_target_": "kindling.callbacks.averages.EMA"},
        "swa": {"_target_": "kindling.callbacks.averages.SWA"},
    }
    assert told(callback_rules.one_average, callbacks=both) == (
        "callbacks.swa: given beside callbacks.ema; allowed: one average of the weights"
    )
    late = {"swa": {"start_epoch": 9}}
    assert "allowed: less than trainer.max_epochs, 9" in told(
        callback_rules.an_average_can_begin, callbacks=late, trainer={"max_epochs": 9}
    )
    assert told(callback_rules.an_average_can_begin, callbacks=late, trainer={"max_epochs": 10}) == ""


def test_a_fold_beyond_the_last_is_refused():
    assert told(data_rules.the_fold_is_there, data__fold=4, data__num_folds=5) == ""
    message = "data.fold: given 5; allowed: 0 to 4, as data.num_folds is 5"
    assert told(data_rules.the_fold_is_there, data__fold=5, data__num_folds=5) == message


def test_two_remedies_for_rare_classes_are_one_too_many():
    rule = data_rules.rare_classes_are_made_up_for_once
    assert told(rule, data__balanced_sampling=True) == ""
    assert told(rule, data__balanced_sampling=True, task__criterion__class_weights="balanced").startswith("warning: ")


def test_pretrained_weights_are_not_drawn_anew():
    assert told(run_rules.pretrained_weights_stay, init="orthogonal", model__weights="DEFAULT") == (
        "model.weights: given DEFAULT with init=orthogonal, which would undo them; allowed: null, or init=null"
    )
    assert told(run_rules.pretrained_weights_stay, init=None, model__weights="DEFAULT", weights="logs/run") == ""
    assert told(run_rules.pretrained_weights_stay, init="orthogonal", model__weights=None) == ""
    for origin in ("fork", "weights"):
        told_so = told(run_rules.pretrained_weights_stay, init="orthogonal", **{origin: "logs/run"})
        assert (
            told_so
            == f"warning: init: given orthogonal, without effect; allowed: null, as {origin} brings weights along"
        )


def eyes(*names: str) -> dict[str, dict[str, str]]:
    cfg = compose(["callbacks=tensorboard"])
    return {name: {"_target_": cfg.callbacks[name]._target_} for name in names}


@pytest.mark.needs("trackers")
def test_pictures_without_a_tensorboard_warn_that_they_have_no_effect():
    names = ("summary", "training_images", "validation_pictures", "report_pictures", "histograms", "graph")
    told_of = eyes(*names, "gradient_norm")
    for logger in ({}, {"csv": {"_target_": "kindling.loggers.csv.MetricsCSV"}}):
        assert told(callback_rules.pictures_have_a_board, callbacks=told_of, logger=logger) == (
            "warning: logger: given no TensorBoard for callbacks.training_images, callbacks.validation_pictures, "
            "callbacks.report_pictures, callbacks.histograms, callbacks.graph; allowed: default or tensorboard; "
            "else they draw nothing"
        )
    board = {"tensorboard": {"_target_": "lightning.pytorch.loggers.TensorBoardLogger"}}
    assert told(callback_rules.pictures_have_a_board, callbacks=told_of, logger=board) == ""
    tracker = {"wandb": {"_target_": "kindling.loggers.wandb_run.WandbRun"}}
    answer = told(callback_rules.pictures_have_a_board, callbacks=told_of, logger=tracker)
    assert "given no TensorBoard for callbacks.histograms, callbacks.graph;" in answer
    assert told(callback_rules.pictures_have_a_board, callbacks=eyes("gradient_norm", "timings"), logger={}) == ""


@pytest.mark.parametrize("name", ["gradient_norm", "histograms", "graph"])
def test_what_looks_at_whole_gradients_is_refused_where_they_are_cut_up(name):
    callbacks = eyes("training_images", "validation_pictures", name)
    answer = told(shared_out_rules.gradients_are_whole, callbacks=callbacks, trainer__strategy="fsdp")
    assert answer == (f"callbacks.{name}: given with fsdp, which cuts up the net; allowed: null, or trainer=ddp")
    assert told(shared_out_rules.gradients_are_whole, callbacks=callbacks, trainer__strategy="ddp") == ""


def test_a_weight_for_each_class_is_asked_for():
    rule = data_rules.each_class_has_a_weight
    assert told(rule, task__criterion__class_weights="balanced", data__num_classes=3) == ""
    assert told(rule, task__criterion__class_weights=[1, 2, 3], data__num_classes=3) == ""
    message = "task.criterion.class_weights: given 2 numbers; allowed: null, balanced, or 3, one a class"
    assert told(rule, task__criterion__class_weights=[1, 2], data__num_classes=3) == message


def test_layers_that_never_thaw_are_told():
    late = {"finetuning": {"head_epochs": 9}}
    assert told(callback_rules.layers_can_thaw, callbacks=late, trainer={"max_epochs": 10}) == ""
    message = "warning: callbacks.finetuning.head_epochs: given 9; allowed: less than trainer.max_epochs, 5, or null"
    assert told(callback_rules.layers_can_thaw, callbacks=late, trainer={"max_epochs": 5}).startswith(message)


def test_finders_are_given_their_steps_and_a_rate():
    rule, finder = callback_rules.finders_have_their_steps, {"find_lr": {"num_steps": 9}}
    assert told(rule, callbacks=finder, optimizer__lr=0.1) == ""
    assert told(rule, callbacks=finder, optimizer__lr=0).startswith("optimizer.lr: given 0 with callbacks.find_lr")
    assert "false; it needs more steps" in told(rule, callbacks=finder, trainer__fast_dev_run=True)


@pytest.mark.parametrize(
    ("interval", "warned"), [(1.0, True), (0.5, False), (0.25, False), (4, False), ("00:10:00", False)]
)
def test_a_patience_counts_the_validations_within_an_epoch(interval, warned):
    stop = {"early_stopping": {"patience": 5, "monitor": "val/loss"}}
    said = told(
        callback_rules.patience_can_run_out, callbacks=stop, trainer__max_epochs=4, trainer__val_check_interval=interval
    )
    assert said.startswith("warning: ") == warned


@pytest.mark.parametrize("path", ["monitor", "callbacks.early_stopping.monitor"])
def test_no_single_step_decides(path):
    given = (
        {"monitor": "train/loss_step"}
        if path == "monitor"
        else {"callbacks": {"early_stopping": {"monitor": "train/loss_step"}}}
    )
    assert f"{path}: given train/loss_step, which is of single steps; allowed: train/loss" in told(
        metric_rules.no_single_step_decides, **given
    )


def test_a_plateau_does_not_step_by_steps():
    plateau = {"interval": "step", "scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}}
    assert "scheduler.interval: given step" in told(metric_rules.a_plateau_steps_by_epochs, scheduler=plateau)


def test_lightnings_own_checkpoint_does_not_keep_weights_under_a_score_of_others():
    node = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "monitor": "val/loss", "every_n_train_steps": 4}
    rule = callback_rules.a_score_belongs_to_its_weights
    assert "callbacks.mine.every_n_train_steps: given 4 with monitor=val/loss" in told(rule, callbacks={"mine": node})
    assert told(rule, callbacks={"mine": node | {"monitor": None}}) == ""
    one_name = {"_target_": node["_target_"], "filename": "best", "save_top_k": 3, "enable_version_counter": False}
    assert "callbacks.mine.save_top_k: given 3 files of one name, best" in told(rule, callbacks={"mine": one_name})


def test_a_crop_fits_the_picture_that_it_is_cut_from():
    rule = data_rules.the_crop_fits_the_picture
    assert told(rule, data__image_size=16, data__crop=24, data__resize=20).startswith(
        "data.resize: given 20; allowed: 24 or more, the side that is cut from it"
    )
    assert (
        told(rule, data__crop=24, data__decoding=3) == "data.crop: given 24 with data.decoding=3; allowed: none, or 4"
    )
    assert not told(rule, data__image_size=16, data__crop=None, data__resize=16, data__decoding=4)

import random
import re
import shlex
import shutil

import omegaconf
import pytest
from omegaconf import OmegaConf

from bench_root import CONFIGS
from kindling.cli.arguments import check_command_line
from kindling.cli.entry import compose
from kindling.config import project, signatures, sources
from kindling.config.check.command_line import Check
from kindling.config.check.keys import similar
from kindling.config.check.syntax import quoted
from kindling.config.check.tree import FUNCTIONS
from kindling.config.composition import Composer
from kindling.config.fault import Fault, nearest
from kindling.config.rules import callback_rules
from kindling.errors import ConfigError
from long_run import some
from mistakes import all_mistakes, as_text, misspelt, valid_lines

PACKAGE = project.current().package


@pytest.fixture
def composer():
    with Composer("train") as entered:
        yield entered


@pytest.fixture
def problems(composer):
    """The lines that a command line is answered with, warnings apart."""

    def run(*lines, sweep=False):
        found = Check(composer, sweep=sweep).run(lines)
        errors = [str(problem) for problem in found if not is_warning(problem)]
        warnings = [str(problem) for problem in found if is_warning(problem)]
        return errors, warnings

    return run


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_every_mistake_is_answered_by_one_line_and_nearly_all_by_the_right_name_first(composer, every):
    with_experiment = composer.compose(["experiment=cnn"])
    mistakes = all_mistakes(with_experiment)[::every]
    assert len(mistakes) >= 200 / every
    wrongly_advised = []
    for mistake in mistakes:
        replaces = mistake.line.startswith(("experiment", "+model", "expe"))
        found = Check(composer).run([*([] if replaces else ["experiment=cnn"]), mistake.line])
        (fault,) = [problem for problem in found if not is_warning(problem)]
        assert isinstance(fault, Fault)
        assert "\n" not in str(fault)
        assert "given " in str(fault)
        assert "allowed: " in str(fault)
        if mistake.kind.startswith("misspelt"):
            meant = fault.meant if mistake.kind == "misspelt option" else fault.meant.partition("=")[0]
            if meant != mistake.meant:
                wrongly_advised.append((mistake, fault.meant))
        else:
            assert mistake.meant in str(fault), mistake
    misspelt = [mistake for mistake in mistakes if mistake.kind.startswith("misspelt")]
    assert len(wrongly_advised) <= 0.05 * len(misspelt), wrongly_advised


OWN = ("task=plain", "task._target_=bench.foreign.boring_classes.BoringModel")
OWN += ("model=none", "optimizer=none", "scheduler=none", "metrics=none")
OWN_DATA = "data._target_=bench.foreign.boring_classes.BoringDataModule"


def test_a_class_that_a_module_has_from_all_names_of_another_is_meant(problems):
    (error,), _ = problems("task.criterion._target_=torch.nn.CrossEntropyLos")
    assert error.endswith("did you mean torch.nn.CrossEntropyLoss?")


def test_a_target_of_a_group_whose_node_lies_deeper_is_meant_there(problems):
    (error,), _ = problems("scheduler._target_=torch.optim.lr_scheduler.StepLR")
    assert error.endswith("did you mean scheduler.scheduler._target_=torch.optim.lr_scheduler.StepLR?")


def test_what_the_command_line_added_is_not_to_be_taken_away_by_it(problems):
    (error,), _ = problems(*OWN, "data=none", f"+{OWN_DATA}", "+data.fold=1")
    assert "data.fold: given an argument that BoringDataModule does not take" in error
    assert "did you mean" not in error


def test_a_key_that_shares_little_with_a_missing_one_is_not_meant(problems):
    errors, _ = problems("metrics=f1", "data=fake", "~data.num_classes")
    assert any("where data.num_classes is not there" in error for error in errors)
    assert not any("did you mean" in error for error in errors)


def test_no_valid_command_line_is_refused_and_each_composes_as_hydra_would(composer):
    rng = random.Random(0)
    num_overrides = 0
    for number in range(8):
        lines = valid_lines(rng)
        num_overrides += len(lines)
        check = Check(composer)
        errors = [problem for problem in check.run(lines) if not is_warning(problem)]
        assert errors == [], lines
        if number % 5 == 0:
            ours, hydras = check.configs[0], composer.compose(lines)
            del ours.hydra, hydras.hydra
            assert as_text(ours) == as_text(hydras), lines
    assert num_overrides >= 40


def test_all_mistakes_are_told_at_once(problems):
    errors, _ = problems("optimzer.lr=1", "model=cnnn", "data.batch_size=0", "paths.logs='a", "trainer.max_epochs=x")
    assert sorted(line.partition(":")[0] for line in errors) == [
        "data.batch_size",
        "model",
        "optimzer.lr",
        "paths.logs",
        "trainer.max_epochs",
    ]


@pytest.mark.needs("sweeps")
def test_a_mistake_of_any_job_of_a_sweep_is_told_once(problems):
    errors, _ = problems("seed=0,1,2", "optimizer.lr=0.1,-1", "model=cnn,cnnn", sweep=True)
    assert [line.partition(";")[0] for line in errors] == ["model: given 'cnnn'", "optimizer.lr: given -1"]


@pytest.mark.needs("sweeps")
def test_a_sweep_over_an_interval_is_refused(problems):
    errors, _ = problems("optimizer.lr=interval(0,1)", sweep=True)
    assert "allowed: values with commas between, choice(...), range(...) or glob(*)" in errors[0]


@pytest.mark.needs("sweeps")
@pytest.mark.slow
def test_all_ways_to_name_several_values_are_checked(problems):
    lines = ["seed=range(0,3)", "model=glob(*,exclude=none)", "optimizer.lr=choice(0.1,0.2)", "data=fake"]
    assert problems(*lines, sweep=True) == ([], [])


def test_a_key_that_nothing_reads_only_warns_if_it_was_added_on_purpose(problems):
    errors, warnings = problems("+note=hello", "+my.thing=1")
    assert errors == []
    assert [line.partition(";")[0] for line in warnings] == [
        "note: given a key that nothing reads",
        "my: given a key that nothing reads",
    ]


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "builtins.open",
        "kindling.images.classifier.Classifier.load_from_checkpoint",
        "kindling.checkpoints.checkpoint.load",
        "lightning.pytorch.Trainer.fit",
    ],
)
def test_a_target_that_is_not_allowed_or_no_class_is_refused(problems, target):
    errors, _ = problems(f"model._target_={target}")
    assert len(errors) == 1
    assert "allowed" in errors[0]


def test_a_name_cut_short_means_one_that_goes_on_with_it():
    """resnext50 is as near to resnet50, letter by letter, as to resnext50_32x4d."""
    nets = (
        "densenet121",
        "densenet201",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "resnet18",
        "resnet50",
        "resnext50_32x4d",
    )
    slips = ("mobilenetv3", "resnext50", "ResNeXt", "densenet", "resnet", "resnet81")
    meant = ["mobilenet_v3_small", "resnext50_32x4d", "resnext50_32x4d", "densenet121", "resnet18", "resnet18"]
    assert [nearest(slip, nets) for slip in slips] == meant


def test_a_target_that_is_not_there_is_told_the_nearest(problems):
    errors, _ = problems("optimizer._target_=torch.optim.AdmaW")
    assert "did you mean torch.optim.AdamW?" in errors[0]


def test_a_setting_that_foreign_data_lacks_is_told_so(problems):
    foreign = ["data=foreign", "data._target_=bench.foreign.boring_classes.BoringDataModule"]
    (line,) = [each for each in problems(*foreign, "data.fold=1")[0] if each.startswith("data.fold: ")]
    assert "given a setting of the engine's data, and BoringDataModule has no folds; allowed: nothing, as it" in line
    assert "did you mean" not in line
    (line,) = [each for each in problems(*foreign, "data.num_workers=1")[0] if each.startswith("data.num_workers: ")]
    assert "BoringDataModule has no such setting" in line


def test_a_needed_group_that_was_deleted_is_named(problems):
    errors, _ = problems("~scheduler", "~test")
    assert [line.partition(":")[0] for line in errors] == ["scheduler", "test"]


def test_the_options_of_hydras_own_groups_are_known(problems):
    assert problems("hydra/launcher=basic", "hydra.verbose=true") == ([], [])
    errors, _ = problems("hydra/launcher=basci", "hydra/lancher=basic")
    assert [line.rpartition("did you mean ")[2] for line in errors] == ["basic?", "hydra/launcher?"]


def test_a_launcher_that_is_not_installed_names_its_extra(problems, monkeypatch):
    monkeypatch.setattr(Composer, "options", lambda self, group: ["basic"])
    (error,), _ = problems("hydra/launcher=joblib")
    assert error == (
        "hydra/launcher: given joblib, which is not installed; allowed: basic; "
        "or pip install -e './engine[launchers]' -c constraints.txt"
    )


@pytest.fixture
def configs(tmp_path):
    """A copy of the configs, to spoil."""
    folder = tmp_path / "configs"
    shutil.copytree(CONFIGS, folder)
    return folder


SPOILED = {
    "trainer: {max_epoch: 3}": ("trainer.max_epoch", 3, "trainer.max_epochs?"),
    "optimzer: {lr: 3}": ("optimzer", 3, "optimizer?"),
    "optimizer: {lr: -3}": ("optimizer.lr", 3, "0 or more"),
    "model: {dropout: '${data.nmu_classes}'}": ("model.dropout", 3, "${data.num_classes}?"),
    "callbacks: {early_stoping: {patience: 3}}": ("callbacks.early_stoping", 3, "callbacks.early_stopping?"),
    "model: {_target_: os.system}": ("model._target_", 3, "allowed"),
    "model: {_target_: bench.models.cnn.CNNN}": ("model._target_", 3, "bench.models.cnn.CNN?"),
    "defaults: [{override /model: cnnn}]": ("defaults: model", 3, "cnn?"),
    "defaults: [{override /modle: cnn}]": ("defaults: modle", 3, "model?"),
    "defaults: [{override /trainer: [cpu, ddp]}]": ("defaults: trainer", 3, "allowed: one of them"),
    "model: {dropout: 0.1": ("configs/experiment/mine.yaml", 4, "YAML"),
    "seed: 1\t# the first": ("configs/experiment/mine.yaml", 3, "given a tab; allowed: spaces in its place"),
    "trainer:\n\tmax_epochs: 3": ("configs/experiment/mine.yaml", 4, "given a tab; allowed: spaces in its place"),
    "seed: !!python/name:os.system": ("configs/experiment/mine.yaml", 3, "python/name:os.system"),
    "- seed": ("configs/experiment/mine.yaml", 3, "given a list; allowed: keys with values, such as seed: 1"),
    "seed": ("configs/experiment/mine.yaml", 3, "given the text 'seed' alone; allowed: keys with values"),
    "1: 2": ("1", 3, "a key that is no text"),
    "trainer:": ("trainer", 3, "given null; allowed: settings below it"),
    "trainer: 5": ("trainer", 3, "given 5; allowed: settings below it"),
    "model: cnn": ("model", 3, "did you mean `- override /model: cnn` in its defaults list?"),
    "callbacks: none": ("callbacks", 3, "did you mean `- override /callbacks: none` in its defaults list?"),
    "defaults: [{override /transform: [rand, colour_jitter]}]": (
        "defaults: transform",
        3,
        "did you mean transform=[rand,color_jitter]?",
    ),
    "seed: 1\nseed: 2": ("configs/experiment/mine.yaml", 4, "duplicate key seed"),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_mistake_in_a_yaml_file_is_told_with_its_line(configs, spoiled):
    path, line, words = SPOILED[spoiled]
    if spoiled.startswith("seed: 1\t") and not omegaconf.__version__.startswith("2.3."):
        pytest.skip("OmegaConf 2.4 takes a tab before a comment")
    (configs / "experiment" / "mine.yaml").write_text(f"# @package _global_\n# Mine\n{spoiled}\n")
    with Composer("train", configs) as composer:
        errors = [str(problem) for problem in Check(composer).run(["experiment=mine"]) if not is_warning(problem)]
    (error,) = errors
    assert error.startswith(f"{path}: ")
    assert words in error
    assert error.endswith(f"(configs/experiment/mine.yaml:{line})")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "experiment: given a file without settings; allowed: a first line `# @package _global_`, then settings"),
        ("seed: 1".encode("utf-16"), "configs/experiment/mine.yaml: given text in UTF-16; allowed: UTF-8; save the "),
        ("seed: 1".encode("utf-16-be"), "configs/experiment/mine.yaml: given text in UTF-16; allowed: UTF-8; save "),
        (
            "# @package _global_\nname: für".encode("latin-1"),
            "configs/experiment/mine.yaml: given the byte 0xFC, which is not UTF-8 but may be Latin-1; allowed: UTF-8; "
            "save the file so (configs/experiment/mine.yaml:2)",
        ),
        (b"seed: 1\x01", r"configs/experiment/mine.yaml: given the character '\x01', at 7; allowed: YAML, without it"),
    ],
)
def test_a_yaml_file_that_is_no_text_of_settings_is_one_line(configs, content, line):
    (configs / "experiment" / "mine.yaml").write_bytes(content)
    with Composer("train", configs) as composer:
        (fault,) = Check(composer).run(["experiment=mine"])
    assert str(fault).startswith(line)


def test_a_broken_file_that_nobody_has_chosen_stops_nothing(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: [")
    assert callback_rules._read(tmp_path / "broken.yaml", 0) is None


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("transform=[rand,colour_jitter]", "did you mean transform=[rand,color_jitter]?"),
        pytest.param("experiment=[cnn,mlpp]", "did you mean experiment=mlp?", marks=pytest.mark.slow),
        ("callbacks=[default,null]", "did you mean callbacks=default?"),
        ("model=mlp model.weights=x", "did you mean model=pretrained model.weights=x?"),
        ("optimizer.momentum=0.9", "or one more with optimizer=muon or sgd"),
        pytest.param("callbacks.ema.decay=0.9", "or one more with callbacks=ema", marks=pytest.mark.slow),
        ("data.root=/ü data=image_folder", "did you mean \"data.root='/ü'\"?"),
        ("data.rooot=/tmp data=image_folder", "did you mean data.root=/tmp?"),
        pytest.param("+data.root=/tmp data=image_folder", "did you mean data.root=/tmp?", marks=pytest.mark.slow),
        pytest.param("data.root=' data=image_folder", "allowed: the quote ' closed by another", marks=pytest.mark.slow),
    ],
)
def test_a_slip_has_one_answer_that_can_be_typed(problems, lines, told):
    (error,), _ = problems(*lines.split())
    assert error.endswith(told)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("data.batch_size = 3", "data.batch_size=3"),
        ("optimizer.lr= 1e-3 seed=1", "optimizer.lr=1e-3"),
        ("+model.x =[1]", "+model.x=[1]"),
        ("--batch-size 3", "data.batch_size=..."),
        ("--max_epochs=2", "trainer.max_epochs=2"),
        ("data.batch_size 3", "data.batch_size=3"),
        ("data.batch_size: 3", "data.batch_size=3"),
        ("+optimizer.amsgrad true", "+optimizer.amsgrad=true"),
        ("seed: 3", "seed=3"),
        ("experiment cnn", "experiment=cnn"),
        ("seed", "seed=..."),
        ("data.batch_size:", "data.batch_size=..."),
    ],
)
def test_a_setting_that_is_typed_as_elsewhere_is_one_line(typed, meant):
    with pytest.raises(ConfigError, match=rf"did you mean {re.escape(meant)}\?$") as caught:
        check_command_line("train", ["data=fake", "model=mlp", *typed.split(" ")])
    assert "\n" not in str(caught.value)


def test_an_empty_text_before_another_setting_is_no_setting_typed_apart():
    check_command_line("train", ["data=fake", "model=mlp", "experiment_name=", "seed=1"])


def test_a_flag_behind_an_empty_text_is_not_its_value():
    with pytest.raises(ConfigError, match=r"did you mean resume=\.\.\.\?$"):
        check_command_line("train", ["data=fake", "ckpt_path=", "--multirun"])


def test_a_number_alone_is_not_taken_for_a_key():
    with pytest.raises(ConfigError, match=r"^0\.01: given no =; allowed: key=value, such as optimizer.lr=0.01$"):
        check_command_line("train", ["data=fake", "model=mlp", "optimizer.lr=1", "0.01"])


def test_what_one_job_of_a_sweep_adds_is_not_there_for_the_next(problems):
    assert problems("model=mlp", "+optimizer.amsgrad=true,false", sweep=True)[0] == []


@pytest.mark.parametrize(
    ("line", "given"), [("sweep.params={}", "{}; allowed: the settings"), ("~sweep.params", "a key that is not there")]
)
def test_nobody_sets_the_parameters_of_a_sweep_as_a_whole_but_they_may_be_left_out(problems, line, given):
    (error,), _ = problems("model=mlp", line)
    assert error.startswith(f"sweep.params: given {given}")


def test_a_hint_for_one_value_of_a_sweep_keeps_the_others(problems):
    (error,), _ = problems("transform=rand,colour_jitter", sweep=True)
    assert error.endswith("did you mean transform=rand,color_jitter?")


@pytest.mark.parametrize("key", ["model.name=x", "model.save_dir=x", "data.version=1"])
def test_a_setting_of_a_logger_is_not_meant_elsewhere(problems, key):
    (error,), _ = problems("model=mlp", key)
    assert "logger." not in error


@pytest.mark.slow
@pytest.mark.needs("debug")
def test_an_option_of_debug_that_is_nearly_right_is_named(problems):
    (error,), _ = problems("debug=fast_dev_run")
    assert error.endswith("did you mean debug=fast?")


@pytest.mark.needs("debug")
def test_what_a_debug_option_sets_on_purpose_is_not_warned_of(problems):
    epochs = "trainer.max_epochs=2"
    for option in ("memory", "profile", "fast"):
        assert problems(f"debug={option}", epochs) == ([], [])
    _, (warning,) = problems("debug=memory", epochs, "trainer.limit_val_batches=1")
    assert "given 1, a single batch" in warning


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--config-dir RUN --config-name config", "did you mean --config-path RUN --config-name config?"),
        ("--config-dir RUN/no data=fake", "--config-dir: given RUN/no, which is not there; allowed: a folder of "),
        ("--config-path RUN/no", "--config-path: given RUN/no, which is not there; allowed: a folder of configs"),
        ("--config-name trian", "did you mean train?"),
        ("RUN", "did you mean resume=RUN?"),
    ],
)
def test_a_run_that_is_given_as_hydra_does_not_take_it_has_a_hint(tmp_path, arguments, told):
    for name in ("run.json", "config.yaml"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError) as caught:
        check_command_line("train", arguments.replace("RUN", str(tmp_path)).split())
    assert told.replace("RUN", str(tmp_path)) in str(caught.value)
    assert "\n" not in str(caught.value)


HABIT = ("callbacks.progress=null", "callbacks.early_stopping.patience=3", "scheduler.scheduler.warmup=0.1", "seed=1")


@pytest.mark.needs("debug")
@pytest.mark.parametrize("option", some(["fast", "find_lr", "overfit", "profile", "shapes"], "overfit", "shapes"))
def test_a_habitual_command_line_works_with_debug(option, capsys):
    arguments = check_command_line("train", [*HABIT, f"debug={option}"])
    assert arguments
    left = [each for each in HABIT if each not in arguments]
    assert "seed=1" not in left
    said = capsys.readouterr().err
    assert (f"warning: debug={option}: has no use for {', '.join(left)}; left out\n" if left else "") == said
    assert bool(left) == (option != "fast")
    with Composer("train") as composer:
        composer.compose(arguments)


@pytest.mark.needs("debug")
@pytest.mark.needs("debug")
@pytest.mark.parametrize("option", some(["data", "find_batch_size", "find_lr", "memory", "shapes"], "find_lr"))
def test_callbacks_that_are_chosen_beside_those_of_debug_are_left_out(option, capsys, monkeypatch):
    arguments = ["data=fake", f"debug={option}", "callbacks=[default,ema]"]
    assert check_command_line("train", arguments) == arguments[:2]
    assert capsys.readouterr().err == (f"warning: debug={option}: has no use for callbacks=[default,ema]; left out\n")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert check_command_line("train", arguments) == arguments[:2]
    assert capsys.readouterr().err == "", "the first of several processes says it for all"


@pytest.mark.needs("debug")
def test_a_misspelt_setting_beside_debug_is_refused(problems):
    (line,), _ = problems("debug=shapes", "callbacks.progres=null")
    assert line.startswith("callbacks.progres: given a key that is not there")


@pytest.mark.parametrize(
    ("gone", "line", "said"),
    [
        (
            ["debug", "debug"],
            "debug=fast",
            "debug: given a key that is not there, as debug is left out of this project",
        ),
        (["model=mlp", "model/mlp.yaml"], "model=mlp", "model: given 'mlp', and model=mlp is left out of this project"),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_a_part_that_the_project_has_left_out_is_named(gone, line, said, configs, monkeypatch):
    name, place = gone
    there = configs / place
    if there.exists():
        shutil.rmtree(there) if there.is_dir() else there.unlink()
    monkeypatch.setattr(project, "_current", project.current()._replace(without=(name,)))
    with Composer("train", configs) as composer:
        (fault,) = Check(composer).run([line])
    assert str(fault).startswith(said)
    assert "see without in its pyproject.toml; allowed: " in str(fault)
    assert "did you mean" not in str(fault)


def test_the_keys_that_a_file_lacks_are_one_line(configs):
    file = configs / "data" / "fake.yaml"
    text = "".join(
        line for line in file.read_text().splitlines(True) if not line.startswith(("num_classes", "channels"))
    )
    file.write_text(text)
    with Composer("train", configs) as composer:
        (fault,) = Check(composer).run(["data=fake"])
    assert re.fullmatch(
        r"data: given \S*configs/data/fake.yaml without num_classes, channels; allowed: a line in it for each; asked "
        r"for by task, model, FakeImages",
        str(fault),
    )


def test_a_key_that_a_file_misspells_is_one_that_it_lacks(configs):
    file = configs / "data" / "fake.yaml"
    file.write_text(file.read_text().replace("\nchannels:", "\nchanels:"))
    with Composer("train", configs) as composer:
        lines = sorted(map(str, Check(composer).run(["data=fake"])))
    assert [line.partition(":")[0] for line in lines] == ["data.chanels", "data"]
    assert "did you mean data.channels?" in lines[0]


def test_a_reference_that_is_misspelt_is_no_key_that_a_file_lacks(problems):
    (line,), _ = problems("data=fake", "model.in_channels=${data.chanels}")
    assert line.endswith("did you mean ${data.channels}?")
    lines, _ = problems("data=fake", "model.in_channels=${data.nothing}", "~data.num_classes")
    assert len([each for each in lines if each.startswith("data:")]) == 0


MEANT = "; did you mean ${oc.env:RATE}?"


@pytest.mark.needs("debug")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("debug=fdr", "did you mean debug=fast?"),
        ("trainer=ddp_sim", "did you mean trainer=ddp_cpu?"),
        ("logger=many_loggers", "did you mean logger=[csv,tensorboard]?"),
        ("ckpt_path=", "allowed: fork, resume, weights; did you mean resume=...?"),
        ("ckpt_path=logs/cnn/x", "did you mean resume=logs/cnn/x?"),
        ("trainer.resume_from_checkpoint=a.ckpt", "did you mean fork=a.ckpt?"),
        ("callbacks=null", "did you mean callbacks=none?"),
        ("logger=off", "did you mean logger=none?"),
        ("debug=none", "shapes; leave it out for none"),
        ("optimizer.lr=${env:RATE}", "where env is no function; allowed: " + ", ".join(FUNCTIONS) + MEANT),
        pytest.param("mix=false", "did you mean mix=none?", marks=pytest.mark.slow),
        pytest.param("monitor=test_loss", "did you mean val/loss?", marks=pytest.mark.slow),
        pytest.param("trainer.num_processes=2", "did you mean trainer.devices=2?", marks=pytest.mark.slow),
        pytest.param("+trainer.resume_from_checkpoint=x", "allowed: 41 names", marks=pytest.mark.slow),
    ],
)
def test_a_name_of_other_templates_is_answered_with_ours(problems, line, told):
    (answer,), _ = problems(line)
    assert answer.endswith(told)


def test_a_variable_of_the_environment_is_a_text_until_it_is_decoded(problems, monkeypatch):
    monkeypatch.setenv("RATE", "0.1")
    (line,), _ = problems("optimizer.lr=${oc.env:RATE}")
    meant = 'optimizer.lr="${oc.decode:${oc.env:RATE}}"'
    assert line == f"optimizer.lr: given '0.1'; allowed: a number; did you mean '{meant}'?"
    assert problems(meant) == ([], [])
    monkeypatch.setenv("RATE", "much")
    assert problems("optimizer.lr=${oc.env:RATE}") == (["optimizer.lr: given 'much'; allowed: a number"], [])


@pytest.mark.needs("exporting")
def test_a_variable_that_is_not_set_is_one_line(problems, monkeypatch):
    monkeypatch.setenv("SEED_OF_TODAY", "3")
    assert problems("seed=${oc.env:SEED_OF_TODAI}")[0] == [
        "seed: given ${oc.env:SEED_OF_TODAI}, and SEED_OF_TODAI is not set; allowed: a variable that is set; export "
        "SEED_OF_TODAI=..., or ${oc.env:SEED_OF_TODAI,DEFAULT}; did you mean ${oc.env:SEED_OF_TODAY}?"
    ]


@pytest.mark.parametrize(
    ("group", "refused"),
    [("mix", ""), ("mixx", "a group that is not there"), ("task", "nothing"), ("scheduler", "nothing")],
)
def test_null_for_a_group_is_what_hydra_takes(configs, group, refused):
    text = f"# @package _global_\ndefaults:\n  - override /{group}: null\n"
    (configs / "experiment" / "mine.yaml").write_text(text)
    with Composer("train", configs) as composer:
        found = [str(each) for each in Check(composer).run(["experiment=mine"]) if not is_warning(each)]
    assert len(found) == bool(refused)
    assert all(f": given {refused}; allowed: " in each for each in found)
    assert all("; in a file `- override /scheduler: none`; did" in each for each in found if group == "scheduler")


def test_a_byte_order_mark_is_said(configs):
    text = "# @package _global_\nseed: 3\n"
    (configs / "experiment" / "mine.yaml").write_text(text, encoding="utf-8-sig")
    with Composer("train", configs) as composer:
        (fault,) = Check(composer).run(["experiment=mine"])
    assert str(fault).endswith("given a byte order mark at its start; allowed: UTF-8 without one; save the file so")


@pytest.mark.parametrize(
    ("option", "key", "misspelt"), [("cnn", "_target_", "_tagret_"), ("pretrained", "weights", "wieghts")]
)
def test_what_a_node_cannot_do_without_is_told_where_it_is_misspelt(configs, option, key, misspelt):
    file = configs / "model" / f"{option}.yaml"
    file.write_text(file.read_text().replace(f"{key}:", f"{misspelt}:"))
    with Composer("train", configs) as composer:
        (error,) = [str(each) for each in Check(composer).run([f"model={option}"]) if not is_warning(each)]
    assert error.startswith(f"model.{misspelt}: ")
    assert f"did you mean model.{key}? (configs/model/{option}.yaml:" in error


@pytest.mark.slow
def test_a_file_that_is_misspelt_at_random_is_one_line_with_its_place(configs):
    """Letters dropped, doubled or swapped in keys of the shipped files."""
    rng = random.Random(0)
    folders = ("data", "model", "optimizer", "trainer")
    files = [file for folder in folders for file in sorted(configs.glob(f"{folder}/[!_in]*.yaml"))]
    # These are of another task than train.yaml chooses.
    files = [file for file in files if file.stem not in ("letters", "table", "bigram", "linear", "foreign", "plain")]
    for _ in range(6):
        file = rng.choice(files)
        text = file.read_text()
        keys = re.findall(r"^(\w{4,}):", text, re.MULTILINE)
        keys = [key for key in keys if key not in ("defaults", "strategy")]
        if not keys:
            continue
        key = rng.choice(keys)
        file.write_text(re.sub(rf"^{key}:", f"{misspelt(key, rng)}:", text, flags=re.MULTILINE))
        with Composer("train", configs) as composer:
            choice = f"{file.parent.name}={file.stem}"
            errors = [str(problem) for problem in Check(composer).run([choice]) if not is_warning(problem)]
        file.write_text(text)
        named = [error for error in errors if f"configs/{file.parent.name}/{file.stem}.yaml:" in error]
        assert any(f"did you mean {file.parent.name}.{key}?" in error for error in named), (choice, key, errors)


def test_a_mistake_in_the_primary_config_is_told_with_its_line(configs):
    text = (configs / "train.yaml").read_text()
    (configs / "train.yaml").write_text(text.replace("- model: cnn", "- model: cnnn").replace("seed: 0", "seed: x"))
    with Composer("train", configs) as composer:
        (error,) = [str(problem) for problem in Check(composer).run([])]
    assert "did you mean" in error
    assert re.search(r"\(configs/train.yaml:\d+\)$", error)


def test_a_mistake_in_a_file_that_another_names_is_told(configs):
    (configs / "experiment" / "base.yaml").write_text("# @package _global_\ndefaults: [{override /model: cnnn}]\n")
    (configs / "experiment" / "mine.yaml").write_text("# @package _global_\ndefaults: [base]\n")
    with Composer("train", configs) as composer:
        (error,) = [str(problem) for problem in Check(composer).run(["experiment=mine"])]
    assert error.endswith("did you mean model=cnn? (configs/experiment/base.yaml:2)")


def test_what_several_options_share_is_no_option(problems):
    (error,), _ = problems("data=_images")
    assert error.startswith("data: given '_images'; allowed: coloured, fake, ")


def test_a_mistake_in_what_several_options_share_is_told_with_its_line(configs):
    file = configs / "data" / "_images.yaml"
    file.write_text(file.read_text().replace("prefetch_factor: null", "prefetch_factor: 0"))
    with Composer("train", configs) as composer:
        (error,) = [str(problem) for problem in Check(composer).run([]) if not is_warning(problem)]
    assert error.startswith("data.prefetch_factor: given 0; allowed: 1 or more")
    assert re.search(r"\(configs/data/_images\.yaml:\d+\)$", error)


def test_a_misspelt_name_of_what_several_options_share_is_told_with_its_line(configs):
    file = configs / "data" / "coloured.yaml"
    file.write_text(file.read_text().replace("- _images", "- _imagse"))
    with Composer("train", configs) as composer:
        (error,) = [str(problem) for problem in Check(composer).run(["data=coloured"]) if not is_warning(problem)]
    assert error.startswith("defaults: data: given '_imagse'; allowed: ")
    assert re.search(r"\(configs/data/coloured\.yaml:\d+\)$", error)


def test_what_only_the_job_knows_is_left_to_it(problems):
    assert problems("paths.data=${hydra:runtime.cwd}") == ([], [])
    assert problems("model.weights=${oc.env:HOME}", "model=pretrained") == ([], [])
    errors, _ = problems("paths.data=${oc.env:NOT_THERE}")
    assert errors[0].startswith("paths.data: given ${oc.env:NOT_THERE}, and NOT_THERE is not set; ")


@pytest.mark.parametrize("value", ["~/ada's runs", '~/a "b"'])
def test_the_quoted_form_of_a_value_with_quotes_is_one_that_a_shell_and_hydra_take(problems, composer, value):
    (error,), _ = problems(f"paths.logs={value}")
    meant = error.partition("did you mean ")[2].removesuffix("?")
    (line,) = shlex.split(meant)
    assert composer.parse(line).value() == value


def test_a_value_that_hydra_would_read_otherwise_in_quotes_is_not_given_in_quotes(composer):
    assert quoted("paths.logs", "a b\\", composer.parse) == ""


def test_of_two_settings_of_a_name_the_one_that_is_less_deep_is_meant():
    config = OmegaConf.create({"data": {"mode": 1}, "optimizer": {"part": {"mode": 1}}})
    assert similar(config, "optimizer.mode") == "data.mode"


def test_a_file_beside_the_configs_is_found_by_config_dir(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 3\n")
    check_command_line("train", ["--config-dir", str(tmp_path), "experiment=mine"])
    with pytest.raises(ConfigError, match="did you mean experiment=mine"):
        check_command_line("train", ["--config-dir", str(tmp_path), "experiment=mien"])


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize(
    ("given", "for_hydra"),
    [
        (["seed=1", "-m", "optimizer.lr=0.1,0.2"], ["-m", "seed=1", "optimizer.lr=0.1,0.2"]),
        (["seed=1", "--cfg", "hydra", "test=false"], ["--cfg", "hydra", "seed=1", "test=false"]),
        (["query=bash", "-sc"], ["-sc", "query=bash"]),
    ],
)
def test_flags_come_first_for_hydra_whose_parser_takes_no_override_after_a_later_one(given, for_hydra):
    assert check_command_line("train", given) == for_hydra


def test_compose_tells_all_mistakes_in_lines():
    with pytest.raises(ConfigError) as refused:
        compose(["optimzer.lr=1", "data.batch_size=0"])
    assert len(str(refused.value).splitlines()) == 2


def is_warning(problem):
    return getattr(problem, "warning", False)


def clear_caches():
    for function in (*vars(signatures).values(), *vars(sources).values()):
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.mark.parametrize(
    "line",
    [
        "+hydra.callbacks.x={_target_:builtins.open,file:x,mode:w}",
        "hydra.launcher._target_=os.system",
        "+hydra.job_logging.handlers.x={'()':os.system}",
        "+hydra.job_logging.handlers.console.class=os.system",
    ],
)
def test_hydra_builds_nothing_but_its_own(problems, line):
    errors, _ = problems(line)
    assert errors
    assert all("allowed: " in error and "hydra." in error for error in errors)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("+task.net=1", "task.net: given an argument that the engine gives; allowed: model, at the top level"),
        ("+task.mix=1", "task.mix: given an argument that the engine gives; allowed: mix, at the top level"),
        ("+task.config=1", "task.config: given an argument that the engine gives; allowed: nothing here"),
        ("task.views=flips", "task.views: given 'flips'; allowed: none or flip or flip_and_shift; did you mean flip?"),
        ("task.criterion=null", "task.criterion: given null; allowed: a node with _target_"),
        ("callbacks.early_stopping=false", "callbacks.early_stopping: given false; allowed: a node with _target_, or"),
        ("scheduler.scheduler=null", "scheduler.scheduler: given null"),
        ("+model._partial_=true", "model._partial_: given true; allowed: false"),
        ("+scheduler.frequncy=2", "scheduler.frequncy: given a key that nothing reads"),
        ("trainer.max_epochs=${oc.env:NOT_THERE,5}", "trainer.max_epochs: given '5'; allowed: a whole number"),
        ("optimizer.lr=${paths.logs}", "optimizer.lr: given "),
        ("trainer.strategy=1", "trainer.strategy: given 1"),
        ("trainer.val_check_interval=abc", "trainer.val_check_interval: given abc"),
        ("fork=12", "fork: given 12; allowed: text or null; did you mean \"fork='12'\" for a text?"),
        ("fork=true", "fork: given true; allowed: text or null"),
        ("~trainer.max_epochs=21", "~trainer.max_epochs: given 21; allowed: its value, 20"),
        ("hydra=null", "hydra: given null; allowed: keys below it"),
        ("data.root=x", "data.root: given a key that is not there"),
    ],
)
def test_a_hostile_line_is_one_line_too(problems, line, told):
    (error,), _ = problems(line)
    assert error.startswith(told)


def test_names_of_other_frameworks_and_signs_are_understood(problems):
    lines = ["trainer.epochs=5", "optimizer.learning_rate=1", "~optimizer.lrr", "+optimizer.amsgrd=true"]
    meant = [problems(line)[0][0].rpartition("did you mean ")[2] for line in lines]
    assert meant == ["trainer.max_epochs=5?", "optimizer.lr=1?", "~optimizer.lr?", "+optimizer.amsgrad?"]


@pytest.mark.parametrize(
    "line",
    [
        "+callbacks.gas={_target_:lightning.pytorch.callbacks.GradientAccumulationScheduler,scheduling:{0:4}}",
        "+callbacks.every={_target_:lightning.pytorch.callbacks.ModelCheckpoint,monitor:epoch,mode:max}",
        "+data@second=fake",
        "experiment=cnn.yaml",
        "model.dropout=1.0",
    ],
)
def test_what_is_unusual_but_right_is_let_through(problems, line):
    assert problems(line)[0] == []


OWN_CLASSES = {
    "class Net(CNN): pass": [],
    'class Net(CNN):\n    """Text\nat column zero.\n    """\n    def __init__(self, heads, **rest):\n'
    "        super().__init__(**rest)": ["model.heads: given nothing"],
    "if True:\n    class Net(CNN):\n        def __init__(this, **kwargs):\n            kwargs.setdefault('x', 1)": [],
    "import functools\n@functools.cache\ndef Net(*args): ...": [],
    "class Net(CNN": [
        f"model._target_: given {PACKAGE}.own_net.Net, whose file is no Python: '(' was never closed in line 2"
    ],
}


@pytest.mark.parametrize("source", OWN_CLASSES)
def test_a_class_of_ones_own_is_read_however_it_is_written(problems, source):
    file = CONFIGS.parent / "src" / PACKAGE / "own_net.py"
    file.write_text(f"from bench.models.cnn import CNN\n{source}\n")
    clear_caches()
    try:
        errors, _ = problems(f"model._target_={PACKAGE}.own_net.Net")
    finally:
        file.unlink()
        clear_caches()
    assert [error.partition(";")[0] for error in errors] == OWN_CLASSES[source]


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize("flag", [True, False])
def test_a_sweep_that_a_file_defines_is_checked_before_its_first_job(configs, flag):
    mode = "" if flag else "mode: MULTIRUN, "
    text = f"# @package _global_\nhydra: {{{mode}sweeper: {{params: {{seed: '1,abc', optimizer.lr: '1,-1'}}}}}}\n"
    (configs / "experiment" / "mine.yaml").write_text(text)
    with Composer("train", configs) as composer:
        errors = [str(problem) for problem in Check(composer, sweep=flag).run(["experiment=mine"])]
    assert [error.partition(";")[0] for error in errors] == ["optimizer.lr: given -1", "seed: given 'abc'"]


def test_a_recipe_that_forgets_its_package_is_told(configs):
    (configs / "experiment" / "mine.yaml").write_text("trainer: {max_epochs: 3}\n")
    with Composer("train", configs) as composer:
        (error,) = [str(problem) for problem in Check(composer).run(["experiment=mine"])]
    assert "allowed: a first line `# @package _global_`" in error


@pytest.mark.parametrize("defaults", ["{model: vit}", "cnn", "[mine]"])
def test_a_defaults_list_that_is_none_or_a_circle_is_told(configs, defaults):
    (configs / "experiment" / "mine.yaml").write_text(f"# @package _global_\ndefaults: {defaults}\n")
    with Composer("train", configs) as composer:
        (error,) = [str(problem) for problem in Check(composer).run(["experiment=mine"])]
    assert error.startswith("defaults: given ")


@pytest.mark.needs("sweeps")
def test_a_sweep_over_nothing_is_refused(problems):
    (error,), _ = problems("experiment=glob(x*)", sweep=True)
    assert error == "experiment: given glob(x*), which is nothing; allowed: at least one value"


@pytest.mark.parametrize("key", ["trainer.profiler", "trainer.gradient_clip_algorithm"])
def test_what_is_allowed_is_shown_as_a_yaml_file_has_it(problems, key):
    ((error,), _) = problems(f"{key}=None")
    assert " or null" in error
    assert "None?" not in error


def test_a_reference_to_what_data_lacks_names_the_file_and_who_refers(problems):
    (line,), _ = problems("data=table")
    assert line.endswith(
        "configs/data/table.yaml without num_classes, channels; allowed: a line in it for each, or another task and "
        "model; asked for by task, model"
    )


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ("data=fake", "data.batch_size, data.num_workers, data.root, data.table"),
        ("model=mlp", "no model=, as the checkpoint has its own"),
    ],
)
def test_a_group_of_training_is_answered_by_evaluate_with_the_settings_that_it_has(tmp_path, given, allowed):
    group = given.partition("=")[0]
    with pytest.raises(ConfigError) as caught:
        check_command_line("evaluate", [f"run={tmp_path}", given])
    assert str(caught.value).endswith(f"{group}: given a group, of which evaluate.py chooses none; allowed: {allowed}")

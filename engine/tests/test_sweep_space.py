"""The space of a sweep: what is read, and what is refused before anything heavy is imported."""

import re
from itertools import product
from typing import Any

import pytest
from omegaconf import OmegaConf

from kindling.config import project
from kindling.config.check.command_line import Check
from kindling.config.check.space import of_processes
from kindling.config.composition import Composer
from kindling.config.params import space_of as settled
from kindling.config.space import Grid, param_of, plain
from kindling.config.space import _parsed as parsed
from kindling.errors import ConfigError


def space_of(*lines: str, **when: Any) -> list[Any]:
    with Composer("train") as composer:
        overrides = [composer.parse(line) for line in lines]
        return [param_of(each, when.get(each.key_or_group)) for each in overrides]


def points(space: list[Any]) -> list[dict[str, Any] | None]:
    return [Grid(space).point(number) for number in range(Grid(space).size)]


@pytest.mark.needs("sweeps")
def test_a_grid_has_the_points_of_hydras_product():
    space = space_of("seed=0,0,1", "optimizer.lr=choice(0.1,0.2)", "model.hidden=[8],[16,8]")
    expected = [
        dict(zip(("seed", "optimizer.lr", "model.hidden"), point, strict=True))
        for point in product(["0", "0", "1"], ["0.1", "0.2"], ["[8]", "[16,8]"])
    ]
    assert points(space) == expected
    assert Grid(space).point(len(expected)) is None


def read(params: Any, *lines: str, start: Any = ()) -> list[Any]:
    with Composer("train") as composer:
        return settled(composer.parse, {"params": params, "start": list(start)}, [composer.parse(e) for e in lines])


@pytest.mark.needs("sweeps")
def test_a_condition_is_a_value_and_stands_behind_what_it_names():
    lr = {"space": "0.1, 0.2", "when": {"trainer.deterministic": True, "seed": 1.0}}
    found = read({"optimizer.lr": lr, "trainer.deterministic": [True, False]}, "seed=1,2", "sweep.n_trials=3")
    assert [param.key for param in found] == ["trainer.deterministic", "seed", "optimizer.lr"]
    assert len(points(found)) == Grid(found).size == 5


@pytest.mark.needs("sweeps")
def test_a_condition_on_what_the_command_line_fixes_holds_or_leaves_the_parameter_out():
    params = {"optimizer": "adamw, sgd", "optimizer.momentum": {"space": "0.5, 0.9", "when": {"optimizer": "sgd"}}}
    assert [(param.key, param.when) for param in read(params, "optimizer=sgd")] == [("optimizer.momentum", ())]
    assert [param.key for param in read(params, "optimizer=adamw", "seed=0,1")] == ["seed"]
    assert [param.key for param in read(params, "optimizer.momentum=0.1")] == ["optimizer"]


@pytest.mark.needs("sweeps")
def test_a_grid_is_counted_without_its_points_and_conditions_may_have_conditions():
    params = {f"model.x{number}": list(range(10)) for number in range(9)}
    params["model.y"] = {"space": "1,2", "when": {"model.x3": 4}}
    params["model.z"] = {"space": "1,2", "when": {"model.y": 2}}
    grid = Grid(read(params))
    assert grid.size == 10**9 + 10**8 + 10**8
    assert grid.point(grid.size - 1) == {f"model.x{number}": "9" for number in range(9)}
    assert [grid.point(4 * 10**5 + number) for number in range(4)] == [
        *(
            {**{f"model.x{n}": "4" if n == 3 else "0" for n in range(9)}, **last}
            for last in ({"model.y": "1"}, {"model.y": "2", "model.z": "1"}, {"model.y": "2", "model.z": "2"})
        ),
        {**{f"model.x{n}": "4" if n == 3 else "1" if n == 8 else "0" for n in range(9)}, "model.y": "1"},
    ]


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"optimizer.lr": {"space": "1,2", "when": {"sead": 1}}}, "lr.when: given sead; allowed: seed; did you mean"),
        ({"optimizer.lr": {"space": "1,2", "when": {"seed": 5}}}, "optimizer.lr.when.seed: given 5; allowed: 1,2"),
        ({"optimizer.lr": {"space": "1,2", "when": {"optimizer.lr": 1}}}, "when: given optimizer.lr; allowed: seed"),
        ({"x": {"space": "1,2", "when": {"y": 1}}, "y": {"space": "1,2", "when": {"x": 1}}}, "in a circle: x, y; all"),
        (
            {"x": {"space": "1,2", "wen": {"y": 1}}},
            "sweep.params.x: given .*wen.*; allowed: values with commas between",
        ),
        ({"x": {"space": "1,2", "when": ["y"]}}, "sweep.params.x.when: given .y.; allowed: settings of the space"),
        ({"optimizer": {"lr": "interval(0,1)"}}, "sweep.params.optimizer: .* did you mean optimizer.lr: ..."),
        (["x", 1], "sweep.params: given .x,1.; allowed: settings with their values"),
        ({"x": 3}, "sweep.params.x: given 3; allowed: values with commas between, a list of them"),
        ({"x": None}, "sweep.params.x: given null; allowed: values"),
        ({"x": [1]}, "sweep.params.x: given .1.; allowed: values"),
        ({"x": "3"}, "sweep.params.x: given 3; allowed: values"),
        ({"x": "interval(2,1)"}, "sweep.params.x: given interval.2,1.; allowed: interval.smaller, larger."),
        ({"x": "tag(lgo,interval(1,2))"}, "sweep.params.x: given .*; allowed: tag.log, interval"),
        ({"x": "tag(log,choice(1,2))"}, "sweep.params.x: given .*; allowed: .* or values with commas between"),
        ({"x": "tag(log,interval(0,2))"}, "sweep.params.x: given .*; allowed: an interval above 0, for its logarithm"),
        ({"x": "range(1000000000)"}, "sweep.params.x: given range.*; allowed: at most 10000 values; int.interval"),
        (
            {"sweep.n_jobs": "1,2", "monitor": [1, 2]},
            "n_jobs: given 1,2; allowed: one value, for all.*\n.*monitor: giv",
        ),
    ],
)
def test_a_space_that_cannot_be_is_refused_by_name(params, said):
    with pytest.raises(ConfigError, match=said):
        read(params, "seed=1,2")


@pytest.mark.needs("sweeps")
def test_a_key_given_twice_and_a_start_outside_of_the_space_are_refused_by_name():
    with pytest.raises(ConfigError, match="seed: given 1,2 and 3; allowed: once"):
        read({}, "seed=1,2", "seed=3")
    with pytest.raises(ConfigError, match=r"sweep.start: sead: given 1; allowed: seed; did you mean seed"):
        read({}, "seed=1,2", start=[{"sead": 1}])
    with pytest.raises(ConfigError, match=r"sweep.start: seed: given null; allowed: 1,2"):
        read({}, "seed=1,2", start=[{}, {"seed": None}])


@pytest.mark.needs("sweeps")
def test_values_of_a_yaml_file_are_those_of_a_command_line():
    values = [
        None,
        True,
        0.1,
        1e-05,
        [8, None],
        {"a": [1]},
        "a b",
        "c,d",
        "it's",
        "null",
        "1",
        "interval(0,1)",
        "back\\",
    ]
    (param,) = read({"x": values})
    assert len(param.choices) == len(values)
    assert [plain(parsed(choice)) for choice in param.choices] == values
    assert [param.spelled(value) for value in values] == list(param.choices)


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize(
    ("line", "value", "text"),
    [
        ("x=true,false", True, "True"),
        ("x=0,1", True, None),
        ("x=null,1.0", 1, "1.0"),
        ("x=null,1.0", None, "null"),
        ("x=[0.9,0.99],[0.8]", [0.9, 0.99], "[0.9,0.99]"),
        ("x={a:1,b:[c]},{a:2}", {"a": 1, "b": ["c"]}, "{a:1,b:[c]}"),
        ("x='a b','c,d'", "c,d", "'c,d'"),
        ("x=int(interval(1,8))", 4.0, "4"),
        ("x=int(interval(1,8))", 4.5, None),
        ("x=interval(1,8)", "nan", None),
    ],
)
def test_a_trial_to_begin_with_has_the_values_and_not_their_spelling(line, value, text):
    (param,) = space_of(line)
    assert param.spelled(value) == text


@pytest.mark.needs("sweeps")
def test_the_check_looks_at_each_value_and_not_at_the_product():
    lines = [f"{key}={','.join(map(str, range(1, 6)))}" for key in ("seed", "data.batch_size", "trainer.max_epochs")]
    with Composer("train") as composer:
        check = Check(composer, sweep=True)
        problems = check.run(["sweep=optuna", "optimizer.lr=interval(-1,1)", *lines])
    assert [str(problem) for problem in problems] == ["optimizer.lr: given -1.0; allowed: 0 or more"]
    assert len(check.configs) == 1 + 3 * 4 + 1


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["-m", "sweep=optuna", "seed=0,1", "sweep.objectives=[val/loss]"],
            "sweep.objectives: given ..val/loss..; allowed: null, or such as {val/accuracy: max, parameters: min}",
        ),
        (
            ["-m", "sweep=optuna", "seed=0,1", "sweep.objectives={test/accuracy:max}"],
            "sweep.objectives.test/accuracy: given what no validation logs; allowed: parameters, seconds, val/acc",
        ),
        (
            ["-m", "sweep=optuna", "seed=0,1", "sweep.objectives={val/accuracy:min}"],
            "sweep.objectives.val/accuracy: given min; allowed: max",
        ),
        (
            ["-m", "sweep=optuna", "seed=0,1", "sweep.objectives={val/loss:min,seconds:min}", "sweep.pruner=median"],
            "sweep.pruner: given median with sweep.objectives=val/loss,seconds; allowed: null; a trial is only ended",
        ),
        (
            ["-m", "sweep=optuna", "seed=0,1", "callbacks=none"],
            "callbacks.best_checkpoint: given none in a sweep; allowed: one that is kept",
        ),
        (
            ["-m", "sweep=optuna", "seed=0,1", "logger=none", "sweep.pruner=asha"],
            "logger: given none that writes metrics.csv, which sweep.pruner reads; allowed: logger=csv or",
        ),
        (["-m", "sweep=optuna", "seed=0,1", "train=false"], "train: given false in a sweep; allowed: true"),
        (["sweep=optuna", "seed=0"], "sweep: given optuna; allowed: sweep=none for a single run, or -m"),
        (["-m", "sweep=optuna", "seed=0"], "sweep: given no setting with several values; allowed: seed=0,1,2, or an"),
        (["-m", "sweep=grid", "seed=interval(0,1)"], "seed: given interval.0,1.; allowed: values with commas"),
        (["-m", "sweep=optuna", "seed=0,1", "sweep.n_trials=null"], "sweep.n_trials: given null; allowed: a whole"),
        (["-m", "sweep=optuna", "seed=0,1", "sweep.pruner=medain"], "sweep.pruner: given medain; allowed: .*median"),
        (["-m", "sweep=grid", "seed=0,1", "monitor=null"], "monitor: given null in a sweep; allowed: a metric of val"),
        (
            ["-m", "sweep=grid", "sweep.params={seed:0}"],
            "sweep.params: given {seed:0}; allowed: the settings themselves",
        ),
        (
            ["-m", "sweep=grid", "seed=0,1", "sweep.name='../x'"],
            "sweep.name: given '../x'; allowed: a name of a folder",
        ),
        (["-m", "sweep=grid", "seed=0,1", "resume=/x"], "resume: given /x in a sweep; allowed: null; each trial"),
        (
            ["-m", "sweep=grid", "seed=0,1", "sweep.pruner=asha", "monitor=train/loss"],
            "monitor: given train/loss with sweep.pruner=asha; allowed: a metric of validation",
        ),
        (["-m", "sweep=grid", "seed=0,1", "trainer.fast_dev_run=true"], "fast_dev_run: given true in a sweep; allowed"),
        (["-m", "sweep=optuna", "optimizer.lr=interval(2,1)"], "lr: given interval.2,1.; allowed: interval.smaller"),
        (
            ["-m", "sweep=optuna", "seed=range(1,1)"],
            "range.1,1., which is nothing; allowed: at least one",
        ),
        (["-m", "sweep=grid", "seed=choice()"], "seed: given choice..; allowed: choice.a, b, .*of values such"),
        (["-m", "sweep=grid", "seed=sort(1,a)"], "seed: .* allowed: sort.*of numbers alone or texts alone"),
        (["-m", "sweep=random", "optimizer.lr=tag(log,0.1,0.2)"], "allowed: tag.log, interval.smaller, larger..$"),
        (
            ["-m", "sweep=random", "seed=int(tag(log,interval(1e-3,1e-1)))"],
            "allowed: an interval with whole numbers between its ends, such as int.interval.8, 64.., and not from 0 to",
        ),
        (["-m", "sweep=random", "seed=randint(1,9)"], "did you mean seed=int.interval.1,9..[?]"),
        (["-m", "sweep=grid", "seed=1,,2,"], "seed: given 1,,2,; allowed: a value on both sides .* mean seed=1,2[?]"),
        (["-m", "sweep=optuna", "seed=0,1", "sweep.start={seed:1}"], "sweep.start: given .*; allowed: a list, such"),
        (
            ["-m", "sweep=optuna", "optimizer=adamw,sgd", "optimizer.momentum=interval(0.5,0.9)"],
            "optimizer.momentum: given a setting that optimizer=adamw does not have; allowed: sweep.params of a "
            "recipe, with optimizer.momentum: {space: 'interval.0.5,0.9.', when: {optimizer: sgd}}$",
        ),
        (["-m", "optimizer=adamw,sgd", "optimizer.momentum=0.5"], "momentum: {space: 'choice.0.5.', when: {optimizer:"),
        (
            ["-m", "sweep=optuna", "optimizer=adamw,sgd", "+optimizer.momentum=0.5,0.9"],
            "^optimizer.momentum: given a setting that optimizer=adamw does not have; allowed: sweep.params of a "
            "recipe, with optimizer.momentum: {space: '0.5,0.9', when: {optimizer: sgd}}$",
        ),
        (
            ["-m", "optimizer=adamw,sgd", "+optimizer.amsgrad=true,false"],
            r"amsgrad: given .* optimizer=sgd does not have; .* with \+optimizer.amsgrad: {space: 'true,false'",
        ),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_by_name(arguments, said):
    is_sweep = "-m" in arguments
    with Composer("train") as composer:
        problems = Check(composer, sweep=is_sweep).run([each for each in arguments if each != "-m"])
    (line,) = [str(problem) for problem in problems if not getattr(problem, "warning", False)]
    assert re.search(said, line), line


RECIPE = """# @package _global_
defaults:
  - override /sweep: optuna
  - _self_
sweep:
  n_trials: 7
  params:
    optimizer: adamw, sgd
    optimizer.lr: tag(log, interval(1e-4, 1e-1))
    optimizer.momentum:
      space: [0.5, 0.9]
      when: {optimizer: sgd}
"""


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m"], []),
        (["-m", "optimizer=sgd", "sweep.n_trials=3"], []),
        (["sweep=none"], []),
        ([], ["sweep: given optuna; allowed: sweep=none for a single run, or -m for a sweep"]),
        (["-m", "sweep=null"], ["sweep: given null for a group; allowed: its options grid, none, optuna, random, see"]),
    ],
)
def test_a_recipe_may_have_a_sweep(arguments, said):
    file = project.current().configs / "experiment" / "a_sweep_of_a_test.yaml"
    file.write_text(RECIPE)
    try:
        with Composer("train") as composer:
            check = Check(composer, sweep="-m" in arguments)
            problems = check.run(["experiment=a_sweep_of_a_test", *(each for each in arguments if each != "-m")])
            tried = {(each.optimizer._target_, each.optimizer.lr) for each in check.configs}
    finally:
        file.unlink()
    assert [str(problem)[: len(one)] for problem, one in zip(problems, said, strict=True)] == said
    if arguments == ["-m"]:
        assert tried == {("torch.optim.AdamW", 1e-4), ("torch.optim.AdamW", 0.1), ("torch.optim.SGD", 1e-4)}


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("sweep: 5", "sweep: given 5; allowed: settings below it; an option is chosen by a defaults list"),
        ("sweep: optuna", "sweep: given 'optuna'; allowed: settings below it; an option is chosen by a defaults list"),
        ("sweep: {params: {seed: 'choice()'}}", "seed: given choice(); allowed: choice(a, b, ...)"),
        ("sweep: {params: [seed]}", "sweep.params: given a list; allowed: settings, such as name: value ("),
        ("optimizer: [adamw]\nsweep: {params: {}}", "optimizer: given a list; allowed: settings, such as name: "),
        ("data: {mean: {a: 1}}\nsweep: {params: {}}", "data.mean: given settings; allowed: a list, such as ["),
    ],
)
def test_a_recipe_that_gives_a_sweep_no_settings_is_refused(tmp_path, written, said):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "odd.yaml").write_text(f"# @package _global_\n{written}\n")
    given = ["experiment=odd", *["sweep=grid"] * ("params" in written)]
    with Composer("train", further=str(tmp_path)) as composer:
        assert [str(each)[: len(said)] for each in Check(composer, sweep=True).run(given)] == [said]
        assert "params" in written or [str(each)[: len(said)] for each in Check(composer).run(given)] == [said]


def test_jobs_whose_processes_would_each_run_the_whole_sweep_are_refused_before_the_first(monkeypatch):
    def said(sweep: str | None, **trainer: Any) -> list[str]:
        config = {
            "trainer": {"devices": 1, "num_nodes": 1, **trainer},
            "hydra": {"runtime": {"choices": {"sweep": sweep}}},
        }
        return [str(fault) for fault in of_processes([OmegaConf.create(config)])]

    assert said(None) == said("grid", devices=2) == []
    expected = (
        "trainer.devices: given 2 processes in a sweep of Hydra's; allowed: 1, or sweep=grid, which runs each job"
    )
    assert [each.startswith(expected) for each in said(None, devices=2)] == [True]
    assert said("none", devices=2) == said(None, devices=1, num_nodes=2) == said(None, devices=[0, 1]) != []
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert said("grid")[0].startswith("--multirun: given in several processes that torchrun or srun has started; ")

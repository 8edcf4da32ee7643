"""python runs.py confirm: a trial of a sweep against the defaults, over new seeds."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench_root import PROJECT
from kindling import runs
from kindling.config import project
from kindling.config.check.command_line import Check, refuse
from kindling.config.composition import Composer
from kindling.run_folders.trials import read_sweep, read_trials
from kindling.sweeps import confirmation
from kindling.sweeps.confirmation import Arm, compared, p_of
from kindling.testing.commands import Fork, wait_for
from kindling.testing.runs import FAST
from test_sweep_shown import some, write_sweep

BOTH = ("trial 3", "the defaults")


def confirm(capsys: Any, *arguments: object) -> tuple[int, list[str], str]:
    code = runs.main(str(PROJECT / "runs.py"), ["confirm", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def write_arm(arm: Arm, values: list[float | None], **metrics: float) -> None:
    """The runs of an arm, each with a value; None of one that has failed."""
    trials = []
    for number, value in enumerate(values):
        ended = ("failed", "RuntimeError: no") if value is None else ("finished", [value])
        trials.append(({"seed": 1_000_000 + number}, *ended))
    write_sweep(arm.folder, trials, overrides=sorted(arm.overrides))
    for file in arm.folder.glob("*/run.json"):
        facts = json.loads(file.read_text())
        file.write_text(json.dumps(facts | {"metrics": metrics}))


def arms(sweep: Path, *more: str) -> list[Arm]:
    settings, trials = read_sweep(sweep) or {}, read_trials(sweep)
    return confirmation.arms_of(sweep, settings, confirmation.winner_of(settings, trials, None), more)


@pytest.mark.parametrize(
    ("differences", "p"),
    # At t = 2.776, 12.706, 2.447 of 4, 1 and 6 degrees of freedom, by the tables.
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], 0.0132),
        ([0.0, 1.0], 0.5),
        ([0.1, 0.1], 0.0),
        ([0.0, 0.0], 1.0),
        ([-1.0, 1.0, 2.0, -2.0], 1.0),
    ],
)
def test_p_is_that_of_the_paired_t_test(differences, p):
    assert p_of(differences) == pytest.approx(p, abs=5e-5)
    assert p_of([-each for each in differences]) == p_of(differences)


@pytest.mark.parametrize(("t", "freedom"), [(2.776, 4), (12.706, 1), (4.303, 2), (2.447, 6), (2.365, 7), (2.045, 29)])
def test_a_twentieth_of_students_distribution_lies_beyond_the_values_of_the_tables(t, freedom):
    assert 1 - confirmation._within(t, freedom) == pytest.approx(0.05, abs=5e-5)


@pytest.mark.parametrize(
    ("pairs", "better", "said"),
    [
        (
            [(0.96, 0.957), (0.97, 0.955), (0.958, 0.96)],
            "max",
            "trial 3 0.9627 ± 0.0064 against the defaults 0.9573 ± 0.0025, better with 2 of 3 seeds, p=0.4: "
            "not distinguishable; 1 of 4 seeds have no pair of numbers",
        ),
        ([(1.0, 2.0), (1.1, 2.0), (1.0, 2.1), (1.1, 2.1)], "min", "better with 4 of 4 seeds, p=0.00015: better"),
        ([(1.0, 2.0), (1.1, 2.0), (1.0, 2.1), (1.1, 2.1)], "max", "better with 0 of 4 seeds, p=0.00015: worse"),
        ([(1.0, 2.0)], "min", "1 pairs of numbers tell nothing; 3 of 4 seeds have no pair of numbers"),
    ],
)
def test_what_is_said_of_a_difference_is_what_the_seeds_show(pairs, better, said):
    assert compared(BOTH, pairs, better, 4).endswith(said)


def test_runs_that_have_ended_are_compared_at_once_with_what_the_test_says(capsys, tmp_path):
    sweep = write_sweep(tmp_path / "s", some(), overrides=["experiment=cnn", "seed=3"])
    one, other = arms(sweep)
    assert (one.title, other.title, one.folder) == ("trial 3", "the defaults", sweep / "confirm" / "trial_3")
    assert one.overrides[0] == other.overrides[0] == "experiment=cnn"
    assert (one.overrides[1], other.overrides[1:]) == ("optimizer.lr=0.001", [])
    write_arm(one, [0.3, 0.31, 0.32], **{"test/loss": 0.5})
    write_arm(other, [0.4, 0.41, None], **{"test/loss": 0.6})
    code, lines, error = confirm(capsys, sweep, "seeds=3")
    assert (code, error) == (1, "")
    assert lines == [
        "val/loss: trial 3 (in the sweep it had 0.3) 0.305 ± 0.0071 against the defaults 0.405 ± 0.0071, "
        "better with 2 of 2 seeds, p<0.0001: better; 1 of 3 seeds have no pair of numbers",
        "test/loss: trial 3 0.5 ± 0 against the defaults 0.6 ± 0, better with 2 of 2 seeds, p<0.0001: better; "
        "1 of 3 seeds have no pair of numbers",
    ]


def test_more_seeds_are_not_taken_for_done_and_other_settings_are_refused_with_what_may_be_done(capsys, tmp_path):
    sweep = write_sweep(tmp_path / "s", some())
    for arm in arms(sweep, "test=false"):
        write_arm(arm, [0.3, 0.31])
    assert all(arm.is_done(2) for arm in arms(sweep, "test=false", "sweep.n_jobs=2", "sweep=none"))
    assert not any(arm.is_done(3) for arm in arms(sweep, "test=false"))
    code, _, error = confirm(capsys, sweep, "seeds=2", "trainer.max_epochs=3")
    assert (code, error) == (
        2,
        f"error: confirm: given trainer.max_epochs=3, no test=false, and {sweep}/confirm/trial_3 has runs of other "
        f"settings; allowed: the overrides of the call before, or remove {sweep}/confirm\n",
    )


def test_the_seeds_are_above_those_of_the_sweep(tmp_path):
    sweep = write_sweep(tmp_path / "s", some(), overrides=["model=mlp"])
    file = sweep / "0" / "run.json"
    assert confirmation.first_seed_of(read_trials(sweep)) == 1_000_000
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seed": 2_000_000}))
    assert confirmation.first_seed_of(read_trials(sweep)) == 2_000_001
    project.use(PROJECT)
    command = confirmation.command_of(arms(sweep)[0], 5, 2_000_001)
    assert {"seed=int(interval(2000001,1000000000))", "sweep.n_trials=5", "sweep=random"} < set(command)
    with Composer("train") as composer:
        check = Check(composer, sweep=True)
        refuse(check.run([*command[3:], f"paths.logs={tmp_path}"]))
    assert [config.seed for config in check.configs] == [2_000_001, 1_000_000_000]


def test_the_configs_of_a_sweep_are_those_of_its_confirmation_too(tmp_path):
    given = ["--config-dir=/more", "hydra.searchpath=[file:///other]", "--multirun"]
    sweep = write_sweep(tmp_path / "s", some(), overrides=["experiment=mine"], configs=given)
    project.use(PROJECT)
    for arm in arms(sweep):
        assert confirmation.command_of(arm, 5, 1)[2:6] == ["-m", *given[:2], "experiment=mine"]


@pytest.mark.needs("trackers")
@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (["seeds=1"], {}, "error: seeds: given 1; allowed: a whole number of 2 or more"),
        (["trial=1"], {}, "error: confirm: given trial=1, which has not finished; allowed: a finished one, such as 3"),
        (["trial=x"], {}, "error: trial: given x; allowed: a whole number of 0 or more"),
        (
            [],
            {"objectives": {"val/loss": "min", "parameters": "max"}},
            "error: confirm: given a sweep with several objectives; allowed: trial= one of 3, 0",
        ),
        (
            [],
            {"overrides": ["logger.wandb.api_key=<redacted>"]},
            "error: confirm: logger.wandb.api_key was given to the sweep, and is kept nowhere; "
            "give logger.wandb.api_key=... here too",
        ),
    ],
)
def test_what_cannot_be_confirmed_is_one_line(capsys, tmp_path, arguments, more, said):
    code, lines, error = confirm(capsys, write_sweep(tmp_path / "s", some(), **more), *arguments)
    assert (code, lines, error.strip()) == (2, [], said)


def test_the_defaults_are_not_confirmed_against_themselves(capsys, tmp_path):
    sweep = write_sweep(tmp_path / "s", [({"seed": 1}, "finished", [0.1])])
    code, _, error = confirm(capsys, sweep)
    assert code == 2
    assert error.startswith("error: confirm: trial 0 are the defaults; allowed: another trial")
    code, _, error = confirm(capsys, write_sweep(tmp_path / "t", []))
    assert error.startswith("error: confirm: given a sweep without a finished trial; run its command again")


@pytest.mark.slow
def test_a_confirmation_that_was_ended_goes_on_with_the_seeds_that_are_left(capsys, tmp_path):
    small = [*FAST, "model=mlp", "logger=csv", f"paths.logs={tmp_path}/logs", "trainer.max_epochs=2"]
    lr = "optimizer.lr=0.001,0.01"
    assert Fork(tmp_path, "train.py", "-m", *small, "sweep=grid", lr).result().returncode == 0
    sweep = tmp_path / "logs" / "sweeps" / "default_grid"
    command = [sys.executable, str(PROJECT / "runs.py"), "confirm", str(sweep), "seeds=3"]
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_for(sweep / "confirm", "1/run.json")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 143, (tmp_path / "output.txt").read_text()
    code, _, error = confirm(capsys, sweep, "seeds=3")
    assert (code, error) == (0, "")
    for arm in arms(sweep):
        trials = read_trials(arm.folder)
        assert [trial.state for trial in trials] == ["finished"] * 3
        assert len({trial.params["seed"] for trial in trials}) == 3
    seeds = [[trial.params["seed"] for trial in read_trials(arm.folder)] for arm in arms(sweep)]
    assert seeds[0] == seeds[1]

"""Sweeps whose trials are asked for: which they are, what came of them, and the same command again."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from lightning.fabric.utilities import registry
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from omegaconf import OmegaConf

import kindling.sweeps.pictures
import kindling.train  # noqa: F401  for the forked sweeps
from kindling.cli.entry import compose
from kindling.config import once, project
from kindling.config.check.command_line import Check
from kindling.config.composition import Composer, to_plain
from kindling.process import group
from kindling.run_folders.lock import CLAIM, RunLock
from kindling.run_folders.resumption import changed_settings
from kindling.run_folders.saved_run import saved_config
from kindling.run_folders.trials import Trial, Trials, read_trials, write_trial
from kindling.sweeps import shared
from kindling.sweeps.claims import Claims
from kindling.sweeps.jobs import death
from kindling.sweeps.objectives import front_of
from kindling.sweeps.pruners import is_worse
from kindling.sweeps.pruning import Pruning, pruned, pruning_of
from kindling.sweeps.recipe import recipe
from kindling.sweeps.sampling import ask
from kindling.sweeps.sweep import Sweep
from kindling.testing.commands import Done, Fork, wait_for
from kindling.testing.runs import FAST
from kindling.training.task import Task
from test_sweep_space import space_of

SETTINGS = {"sampler": "tpe", "seed": 0, "n_jobs": 1, "start": [], "monitor": "val/loss", "better": "min"}


class Unchanging(BoringModel):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", 1.0)

    def on_validation_epoch_end(self) -> None:
        pass


def trial_of(folder: Path, params: dict[str, str], *values: float, status: str = "finished") -> Trial:
    folder.mkdir(parents=True)
    rows = [f"{number},{value}" for number, value in enumerate(values)]
    (folder / "metrics.csv").write_text("\n".join(["step,val/loss", *rows, ""]))
    best = {"score": min(values, default=None)}
    return Trial(folder, params, facts={"status": status, "best": best})


def sweep(tmp_path: Path, *arguments: str) -> Done:
    small = ["model=mlp", "test=false", "logger=csv", "sweep.start=[]", f"paths.logs={tmp_path}/logs"]
    return Fork(tmp_path, "train.py", "-m", *FAST, *small, *arguments).result()


def test_a_parameter_is_there_only_under_its_condition(tmp_path):
    lines = ("optimizer=adamw,sgd", "optimizer.momentum=interval(0.5,0.9)")
    space = space_of(*lines, **{"optimizer.momentum": {"optimizer": "sgd"}})
    asked = [ask(SETTINGS | {"sampler": "random"}, space, number, []) for number in range(20)]
    assert {values["optimizer"] for values in asked} == {"adamw", "sgd"}
    assert all(("optimizer.momentum" in values) == (values["optimizer"] == "sgd") for values in asked)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_choice_is_asked_for_as_it_was_given(sampler):
    space = space_of("seed=1,2", "test=true,false", "model.hidden=[8],[16]", "experiment_name='1','a b'")
    asked = ask(SETTINGS | {"sampler": sampler}, space, 3, [])
    assert all(asked[param.key] in param.choices for param in space)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_what_is_asked_depends_on_the_number_the_seed_and_the_trials_before_alone(tmp_path, sampler):
    space = space_of(
        "optimizer.lr=tag(log,interval(1e-4,1))", "model.hidden=[8],[16]", "data.batch_size=int(interval(8,64))"
    )
    before = [
        trial_of(tmp_path / str(number), ask(SETTINGS | {"sampler": sampler}, space, number, []), 1 / (number + 1))
        for number in range(12)
    ]
    settings = SETTINGS | {"sampler": sampler}
    asked = ask(settings, space, 12, before)
    assert asked == ask(settings, space, 12, before)
    assert asked != ask(settings, space, 13, before)
    assert asked != ask(settings | {"seed": 1}, space, 12, before)
    assert (asked == ask(settings, space, 12, before[:3])) == (sampler == "random")
    assert asked["model.hidden"] in ("[8]", "[16]")
    assert 1e-4 <= float(asked["optimizer.lr"]) <= 1
    assert 8 <= int(asked["data.batch_size"]) <= 64


@pytest.mark.parametrize(
    ("pruner", "own", "expected"),
    [
        ("median", [1.0, 0.9], True),
        ("median", [1.0, 0.1], False),
        ("asha", [1.0, 0.9], True),
        ("asha", [1.0, 0.01], False),
        ("hyperband", [1.0, 0.9], True),
        ("hyperband", [1.0, 0.01], False),
        ("patience", [1.0, *[1.1] * 6], True),
        ("patience", [1.0, *[1.1] * 3], False),
    ],
)
@pytest.mark.parametrize("better", ["min", "max"])
def test_a_trial_that_is_worse_than_others_were_is_pruned(tmp_path, pruner, own, expected, better):
    sign = 1 if better == "min" else -1
    others = [trial_of(tmp_path / str(number), {}, sign * 1.0, sign * (0.1 + 0.1 * number)) for number in range(5)]
    values = [sign * value for value in own]
    assert is_worse(pruner, better, "val/loss", 5, values, others, 2) == expected


def test_hyperband_begins_later_for_some_trials_whatever_others_there_are(tmp_path):
    others = [trial_of(tmp_path / str(number), {}, 1.0, 0.1, 0.1, 0.1) for number in range(0, 40, 3)]
    numbers = [number for number in range(40) if number % 3]
    ended = {
        number: [is_worse("hyperband", "min", "val/loss", number, [1.0, 0.9, 0.9, 0.9][:k], others, 9) for k in (2, 4)]
        for number in numbers
    }
    assert {tuple(each) for each in ended.values()} == {(True, True), (False, True), (False, False)}
    again = [is_worse("hyperband", "min", "val/loss", number, [1.0, 0.9], others, 9) for number in numbers]
    assert again == [each[0] for each in ended.values()]


@pytest.mark.filterwarnings(
    "ignore:.*LeafSpec:FutureWarning", "ignore:.*does not have many workers", "ignore:.*litlogger"
)
def test_no_trial_is_ended_before_the_least_epochs_and_one_that_was_stays_so_if_it_is_killed(tmp_path):
    (tmp_path / "0").mkdir()
    pruning = Pruning(tmp_path / "0", "val/loss", "min", "median")
    asked_in = []
    pruning._is_worse = lambda trainer: not asked_in.append(trainer.current_epoch)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    few = {"limit_train_batches": 1, "limit_val_batches": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    trainer = Trainer(accelerator="cpu", min_epochs=3, max_epochs=5, callbacks=[pruning], **quiet, **few)
    trainer.fit(Unchanging())
    assert asked_in == [2]
    assert trainer.current_epoch == 3
    assert pruned(trainer) == "after validation 3: val/loss 1 is worse than others were (median)"
    resumed = Pruning(tmp_path / "0", "val/loss", "min", "median")
    resumed.load_state_dict(pruning.state_dict())
    assert resumed.reason == pruning.reason


def test_a_trial_has_each_objective_where_what_is_monitored_was_best(tmp_path):
    trial = trial_of(tmp_path / "0", {}, 0.5, 0.25, 0.3)
    (tmp_path / "0" / "metrics.csv").write_text("step,val/loss,val/f1\n0,0.5,0.9\n1,,\n1,0.25,0.7\n2,0.3,nan\n")
    earlier = [{"timings": {"total_s": 3.5}}, {"timings": {}}]
    trial.facts = {
        "status": "finished",
        "best": {"monitor": "val/loss", "score": 0.25},
        "num_parameters": 10,
        "timings": {"fit_s": 2.0, "total_s": 9},
        "earlier": earlier,
    }
    names = ("val/loss", "val/f1", "parameters", "seconds", "val/other")
    assert [trial.value(name) for name in names] == [0.25, 0.7, 10, 5.5, None]
    trial.outcome = {"state": "failed"}
    assert {trial.value(name) for name in names} == {None}


def test_the_front_holds_what_nothing_beats_in_all_objectives(tmp_path):
    values = [(3, 0.7), (1, 0.7), (2, 0.9), (1, 0.5), (5, 0.95), (1, 0.7)]
    trials = []
    for number, (size, accuracy) in enumerate(values):
        trials.append(trial_of(tmp_path / str(number), {}, accuracy))
        best = {"monitor": "val/accuracy", "score": accuracy}
        trials[-1].facts = {"status": "finished", "best": best, "num_parameters": size}
    trials.append(Trial(tmp_path / "6", {}, facts={"status": "failed"}))
    found = front_of(trials, {"val/accuracy": "max", "parameters": "min"})
    assert [trial.number for trial in found] == [4, 2, 1]
    assert [trial.number for trial in front_of(trials, {"val/accuracy": "max"})] == [4]
    assert [trial.number for trial in front_of(trials, {"parameters": "min"})] == [1]
    assert front_of(trials[6:], {"parameters": "min"}) == []


def test_what_is_asked_for_several_objectives_depends_on_all_of_them(tmp_path):
    space = space_of("optimizer.lr=interval(0,1)")
    settings = SETTINGS | {"objectives": {"val/loss": "min", "parameters": "min"}}
    before = [
        trial_of(tmp_path / str(number), {"optimizer.lr": str(number / 12)}, 0.1 + 0.5 * (number / 12))
        for number in range(12)
    ]

    def asked(size: int) -> list[float]:
        for number, trial in enumerate(before):
            (trial.facts or {})["num_parameters"] = size * number
        return [float(ask(settings, space, number, before)["optimizer.lr"]) for number in range(12, 20)]

    assert asked(0) == asked(0)
    assert sum(asked(0)) < sum(asked(-1))


def test_a_sweep_that_cannot_be_is_refused_in_one_line_before_it_has_a_folder(tmp_path):
    arguments = ("-m", "sweep=optuna", "seed=0,1", "sweep.objectives={test/accuracy:max}")
    done = Fork(tmp_path, "train.py", *arguments, f"paths.logs={tmp_path}/logs").result()
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "logs").exists()


def test_the_defaults_are_recorded_as_the_space_spells_them(tmp_path):
    (tmp_path / "0").mkdir()
    config = OmegaConf.create({"model": {"hidden": [128, 64], "norm": None}, "test": True, "seed": 1, "mode": "a b"})
    config.hydra = {"runtime": {"choices": {"optimizer": "sgd"}}}
    space = space_of(
        "model.hidden=[8],[128,64]", "model.norm=null,batch", "test=true,false", "optimizer=adamw,sgd", "mode='a b',c"
    )
    (seed,) = space_of("seed=1,2", seed={"optimizer": "sgd"})
    claims = Claims(Trials(tmp_path), config, SETTINGS | {"start": [{}]}, [*space, seed], 1)
    trial, claim = claims.next() or pytest.fail("nothing was left")
    claim.release()
    assert trial.params == {
        "model.hidden": "[128,64]",
        "model.norm": "null",
        "test": "True",
        "optimizer": "sgd",
        "mode": "'a b'",
        "seed": "1",
    }
    assert trial.overrides == []


def claim_until(end: Any, claimed: Any, folder: Path) -> None:
    RunLock(folder, CLAIM).acquire()
    claimed.set()
    end.wait(20)


def test_a_trial_of_another_process_is_waited_for_and_taken_up_if_that_dies(tmp_path):
    write_trial(trial_of(tmp_path / "0", {"seed": "1"}))
    trial_of(tmp_path / "1", {}, 0.5)
    (tmp_path / "1" / "trial.json").write_text('{"params": {}, "outcome": {"state": "failed"}}')
    (tmp_path / "2").mkdir()
    claims = Claims(Trials(tmp_path), OmegaConf.create(), SETTINGS | {"sampler": "grid"}, space_of("seed=0,1"), 2)
    context = multiprocessing.get_context("fork")
    end, claimed = context.Event(), context.Event()
    other = context.Process(target=claim_until, args=(end, claimed, tmp_path / "0"))
    other.start()
    assert claimed.wait(20)
    assert claims.next() is None
    assert claims.elsewhere() == [0]
    other.kill()
    other.join()
    trial, claim = claims.next() or pytest.fail("nothing was left")
    claim.release()
    assert (trial.number, trial.params) == (0, {"seed": "1"})


def test_a_run_that_outlives_its_sweep_is_waited_for_before_the_next_trial_is_asked_for(tmp_path):
    write_trial(trial_of(tmp_path / "0", {"seed": "0"}, status="running"))
    claims = Claims(Trials(tmp_path), OmegaConf.create(), SETTINGS | {"sampler": "grid"}, space_of("seed=0,1"), 2)
    run, claim = RunLock(tmp_path / "0"), RunLock(tmp_path / "0", CLAIM)
    run.acquire()
    assert claims.next() is None
    assert claims.elsewhere() == [0]
    claim.acquire()
    trial, other = claims.next() or pytest.fail("nothing was left")
    assert trial.number == 1
    for lock in (run, claim, other):
        lock.release()


def test_the_same_command_again_goes_on_and_another_space_is_refused(tmp_path):
    assert sweep(tmp_path, "sweep=random", "sweep.n_trials=1", "optimizer.lr=interval(0.001,0.01)").returncode == 0
    folder = tmp_path / "logs" / "sweeps" / "default_random"
    before = [(folder / str(number) / "run.json").read_bytes() for number in range(1)]
    more = sweep(tmp_path, "sweep=random", "sweep.n_trials=2", "optimizer.lr=interval(0.001,0.01)")
    assert more.returncode == 0, more.stderr
    assert [(folder / str(number) / "run.json").read_bytes() for number in range(1)] == before
    assert [trial.state for trial in read_trials(folder)] == ["finished"] * 2
    assert "1 finished" in more.stdout.splitlines()[0]
    other = sweep(tmp_path, "sweep=random", "optimizer.lr=interval(0.001,0.02)", "seed=3")
    assert other.returncode == 2
    assert "optimizer.lr=interval(0.001,0.02) (it has interval(0.001,0.01))" in other.stderr
    assert "seed=3 (it has not)" in other.stderr


def test_a_trial_that_fails_or_dies_is_recorded_with_its_reason_and_the_sweep_goes_on(tmp_path):
    raising = "+callbacks.raising={_target_:bench.raising.Raising,epoch:-1}"
    done = sweep(tmp_path, "sweep=grid", raising, "callbacks.raising.epoch=0,-9,-1", "sweep.max_failed=1")
    assert done.returncode == 1
    folder = tmp_path / "logs" / "sweeps" / "default_grid"
    trials = read_trials(folder)
    assert [trial.state for trial in trials] == ["failed", "failed", "finished"]
    assert [trial.reason for trial in trials] == [
        "RuntimeError: raised in epoch 0",
        "killed by SIGKILL; often the memory has run out",
        "",
    ]
    assert done.stderr.splitlines()[-1].startswith("error: sweep: 2 of 3 trials failed: 1 of ")
    assert "sweep: 2 failed, 1 finished" in done.stdout
    assert "best: trial 2" in done.stdout


@pytest.mark.slow
def test_a_trial_whose_weights_become_nan_has_failed_and_is_not_the_best(tmp_path):
    spoiling = "+callbacks.spoiling={_target_:bench.spoiling.Spoiling,hook:on_fit_end}"
    done = sweep(tmp_path, "sweep=grid", spoiling, "callbacks.spoiling.hook=on_fit_end,on_nothing")
    assert done.returncode == 1, done.stderr
    trials = read_trials(tmp_path / "logs" / "sweeps" / "default_grid")
    assert [trial.state for trial in trials] == ["failed", "finished"]
    assert "NaN" in trials[0].reason
    assert "best: trial 1" in done.stdout


@pytest.mark.slow
def test_a_trial_that_ignores_the_end_of_the_time_of_its_sweep_is_killed_and_can_be_gone_on_with(tmp_path, monkeypatch):
    def ignore(task: Task) -> None:
        if task.current_epoch == 1:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(100)

    lines = ["sweep=grid", "seed=0,1", "trainer.max_epochs=2", "callbacks.resume_checkpoint.every_n_steps=1"]
    with monkeypatch.context() as patch:
        patch.setattr(group, "GRACE_S", 0.5)
        patch.setattr(Task, "on_train_epoch_start", ignore)
        done = sweep(tmp_path, *lines, "sweep.hours=0.003")
    assert done.returncode == 143, done.stderr
    assert "sweep.hours=0.003 is over" in done.stdout
    assert "trial 0 did not end, and was killed" in done.stdout
    again = sweep(tmp_path, *lines)
    assert again.returncode == 0, again.stderr
    trials = read_trials(tmp_path / "logs" / "sweeps" / "default_grid")
    assert [trial.state for trial in trials] == ["finished"] * 2
    assert [[each["status"] for each in (trial.facts or {})["earlier"]] for trial in trials] == [["running"], []]


@pytest.mark.slow
def test_more_failures_than_may_be_end_the_sweep(tmp_path):
    raising = "+callbacks.raising={_target_:bench.raising.Raising,epoch:0}"
    done = sweep(tmp_path, "sweep=grid", raising, "seed=0,1,2,3,4,5", "sweep.n_trials=6", "sweep.max_failed=0.4")
    assert done.returncode == 1
    assert "3 of 3 trials failed, which is more than sweep.max_failed=0.4 of 6" in done.stderr


def test_a_sweep_that_is_ended_by_a_signal_goes_on_with_the_trial_that_ran(tmp_path):
    lines = ["sweep=grid", "seed=0,1", "trainer.max_epochs=500", f"paths.logs={tmp_path}/logs", "logger=csv"]
    fork = Fork(tmp_path, "train.py", "-m", *FAST, "model=mlp", "test=false", *lines)
    wait_for(tmp_path / "logs", "best.ckpt")
    os.kill(fork.process.pid or 0, signal.SIGTERM)
    done = fork.result()
    assert done.returncode == 143, done.stderr
    folder = tmp_path / "logs" / "sweeps" / "default_grid"
    facts = json.loads((folder / "0" / "run.json").read_text())
    assert facts["status"] == "interrupted"
    assert [trial.state for trial in read_trials(folder)] == ["open"]
    assert list(folder.rglob("step_*.ckpt"))


def test_a_trial_that_is_interrupted_twice_without_a_new_checkpoint_has_failed(tmp_path):
    sweep = object.__new__(Sweep)
    sweep.interrupted = {}
    trial = Trial(tmp_path / "0", {})
    assert [sweep._is_stuck(trial), sweep._is_stuck(trial)] == [False, True]
    saved = tmp_path / "0" / "checkpoints" / "last.ckpt"
    saved.parent.mkdir(parents=True)
    saved.touch()
    assert [sweep._is_stuck(trial), sweep._is_stuck(trial)] == [False, True]
    os.utime(saved, (1, 1))
    assert not sweep._is_stuck(trial)


def test_the_best_trial_is_an_experiment_that_composes_to_its_config(tmp_path):
    lines = ["experiment=mlp", "+optimizer.amsgrad=true", "scheduler=constant,linear"]
    done = sweep(tmp_path, "sweep=grid", *lines, "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "logs" / "sweeps" / "mlp_grid"
    number = min(read_trials(folder), key=lambda trial: trial.score or 0).number
    copied = project.current().configs / "experiment" / "best_of_a_test.yaml"
    shutil.copy(folder / "best.yaml", copied)
    try:
        found = to_plain(compose(["experiment=best_of_a_test", f"paths.logs={tmp_path}/logs", "resume=auto"]))
    finally:
        copied.unlink()
    differing = changed_settings(saved_config(folder / str(number)), found)
    assert [key for key in differing if not key.startswith(("paths", "experiment_name"))] == []


@pytest.mark.parametrize(
    ("content", "prunes"),
    [
        ({"monitor": "val/loss", "better": "min", "pruner": "median"}, True),
        ({"monitor": "val/loss", "better": "min", "pruner": None}, False),
        ({"pruner": "median"}, False),
        ({"monitor": ["val/loss"], "better": "min", "pruner": "median"}, False),
        ({"monitor": "val/loss", "better": "min", "pruner": "os.system"}, False),
        ({"monitor": "val/loss", "better": "down", "pruner": ["median"]}, False),
    ],
)
def test_only_a_sweep_that_names_a_pruner_prunes_whoever_wrote_its_file(tmp_path, content, prunes):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "trial.json").write_text('{"params": {}}')
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    assert bool(pruning_of({"paths": {"run": str(tmp_path / "0")}})) == prunes


@pytest.mark.slow
def test_a_sweep_killed_anywhere_has_the_trials_of_one_that_was_not(tmp_path):
    import sweeps

    assert sweeps.compare(tmp_path, sweeps=2, seed=5) == 0


@pytest.mark.slow
def test_what_stands_in_the_folder_of_a_sweep_is_not_taken_for_trials(tmp_path):
    arguments = ("sweep=random", "sweep.n_trials=2", "seed=0,1")
    folder = tmp_path / "logs" / "sweeps" / "default_random"
    for name in ("007", "other"):
        (folder / name).mkdir(parents=True)
    (folder / "1").write_text("")
    refused = sweep(tmp_path, *arguments)
    assert refused.returncode == 1
    assert "1: is no folder, and stands where a trial's is to be; move it away" in refused.stderr
    (folder / "1").unlink()
    (folder / "99999").mkdir()
    assert sweep(tmp_path, *arguments).returncode == 0
    assert [(trial.number, trial.state) for trial in read_trials(folder)] == [(0, "finished"), (1, "finished")]
    (folder / "sweep.json").unlink()
    refused = sweep(tmp_path, *arguments)
    assert refused.returncode == 2
    assert "holds 0, and no sweep.json" in refused.stderr


def test_a_trial_that_could_not_record_its_end_fails_with_what_it_said(tmp_path):
    assert death(1, tmp_path).startswith("ended without a result, exit code 1")
    (tmp_path / "output.txt").write_text("epoch 1\nerror: disk: full\n")
    assert death(1, tmp_path) == "disk: full"
    assert death(-9, tmp_path).startswith("killed by SIGKILL")


def test_what_is_imported_when_it_is_used_is_imported_before_trials_are_forked(config, monkeypatch):
    imported: list[str] = []
    monkeypatch.setattr(shared, "import_module", imported.append)
    # The process of the tests goes on.
    monkeypatch.setattr(shared.gc, "freeze", lambda: None)
    monkeypatch.setattr(registry, "entry_points", registry.entry_points)  # pyright: ignore[reportPrivateImportUsage]

    shared.share(config("logger=tensorboard"))

    assert imported == ["torch.utils.tensorboard", "tensorboard.plugins.hparams.metadata", *shared.ALWAYS_LATE]


def test_what_one_trial_does_to_its_config_is_not_in_that_of_another_with_the_same_settings():
    with Composer("train"):
        loader: Any = GlobalHydra.instance().config_loader()
        sweep = loader.load_configuration("train", overrides=[], run_mode=RunMode.MULTIRUN)
        # It is composed by the check, and then for the first trial.
        lines = ["seed=3", "trainer.max_epochs=2"]
        checked = loader.load_sweep_config(sweep, lines)
        first = once.compose_last(loader, sweep, lines)
        first.seed = 4
        assert once.compose_last(loader, sweep, lines) == checked != first


@pytest.mark.parametrize("chosen", ["  - override /sweep: optuna\n", ""])
def test_the_best_trial_of_a_recipe_that_has_a_space_is_a_single_run(tmp_path, chosen):
    (tmp_path / "experiment").mkdir()
    space = f"# @package _global_\ndefaults:\n{chosen}  - _self_\nsweep:\n  params:\n    seed: 1, 2\n"
    (tmp_path / "experiment" / "spacious.yaml").write_text(space)
    with Composer("train", further=str(tmp_path)) as composer:
        loader = GlobalHydra.instance().config_loader()
        text = recipe(loader, ["experiment=spacious", "seed=2", *["sweep=none"] * bool(chosen)], "The best")
        (tmp_path / "experiment" / "best.yaml").write_text(text)
        check = Check(composer)
        assert check.run(["experiment=best"]) == []
    assert check.configs[0].seed == 2

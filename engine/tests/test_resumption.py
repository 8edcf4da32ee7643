"""Which run `resume` means, what may differ, and the ways to start from another run."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule

from kindling.checkpoints import checkpoint, resume_files
from kindling.checkpoints.checkpoint import Saved
from kindling.cli.entry import compose
from kindling.config.crops import crops_differ
from kindling.config.renames import FORMAT
from kindling.errors import CheckpointError, ConfigError, DataError, Interrupted
from kindling.run_folders import resumption
from kindling.run_folders.lifecycle import recorded
from kindling.run_folders.lock import RunLock, is_held
from kindling.run_folders.record import RunRecord
from kindling.run_folders.resumption import changed_launch, newest_unfinished, refuse_changes
from kindling.testing.runs import rows_of, same_weights
from kindling.train import train
from kindling.training.fork import lr_factor
from kindling.training.initial_state import load_start
from kindling.training.start import starting_point
from kindling.training.task import StepOutput, Task
from long_run import some

SPEED = ["experiment=speed", "data=fake", "data.channels=3", "data.batch_size=32", "data.num_images=64"]
EVERY_STEP = "callbacks.resume_checkpoint.every_n_steps=1"


@pytest.fixture(autouse=True)
def told(caplog):
    caplog.set_level("INFO")


def status(folder) -> str:
    return json.loads((Path(folder) / "run.json").read_text())["status"]


def set_status(folder, given: str) -> None:
    record = json.loads((Path(folder) / "run.json").read_text())
    (Path(folder) / "run.json").write_text(json.dumps(record | {"status": given}))


@pytest.mark.parametrize(
    "recipe",
    [[], pytest.param([*SPEED, "model.channels=[8,16]"], marks=pytest.mark.slow)],
    ids=["default", "speed"],
)
def test_a_resumed_run_goes_on_in_its_folder_to_the_same_bits(train_run, stop_at, caplog, recipe):
    whole = train_run(*recipe, "trainer.max_epochs=4")
    step = 5 if recipe else 21
    stopped = stop_at(step, *recipe, "trainer.max_epochs=4", EVERY_STEP)
    assert status(stopped.paths.run) == "interrupted"
    resumed = train_run(*recipe, "trainer.max_epochs=4", f"resume={stopped.paths.run}")
    assert f"goes on at epoch 2, batch {step % 2 if recipe else 5} (step {step}) in {resumed.folder}" in caplog.text
    assert str(resumed.folder) == stopped.paths.run
    assert same_weights(whole.weights(), resumed.weights())
    assert rows_of(whole) == rows_of(resumed)


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_starts_over_in_its_folder(train_run, trained, stop_at, caplog):
    stopped = stop_at(5)
    resumed = train_run(f"resume={stopped.paths.run}")
    assert "has no checkpoint yet; it starts over" in caplog.text
    assert rows_of(resumed) == rows_of(trained)


@pytest.mark.parametrize("given", [pytest.param("last", marks=pytest.mark.slow), "auto"])
def test_resume_last_and_auto_take_the_newest_run_that_did_not_finish(train_run, stop_at, config, given):
    train_run()
    older, newer = stop_at(3, EVERY_STEP), stop_at(4, EVERY_STEP)
    for folder, started in ((older.paths.run, "2026-01-01"), (newer.paths.run, "2026-01-02")):
        record = json.loads((Path(folder) / "run.json").read_text())
        (Path(folder) / "run.json").write_text(json.dumps(record | {"started_at": started}))
    assert config(f"resume={given}").paths.run == newer.paths.run
    set_status(newer.paths.run, "finished")
    assert train_run(f"resume={given}").folder == Path(older.paths.run)


@pytest.mark.slow
def test_resume_last_without_an_unfinished_run_says_so_and_auto_starts_one(train_run, config, tmp_path):
    run = train_run("resume=auto")
    assert status(run.folder) == "finished"
    with pytest.raises(ConfigError, match=r"resume: given last; there is no unfinished run in .*default; resume=auto"):
        config("resume=last")
    assert config("resume=auto").paths.run != str(run.folder)


def test_the_newest_run_is_found_by_instants_and_a_clock_that_went_back_is_told(tmp_path, capsys):
    times = {
        "before": "2026-10-25T02:50:00+02:00",
        "after summer time": "2026-10-25T02:10:00+01:00",
        "no time": "9",
        "no text": 3,
    }
    for name, started_at in times.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"status": "failed", "started_at": started_at}))
    found = [folder.name for folder in newest_unfinished.__wrapped__(tmp_path)]
    assert found == ["after summer time", "before", "no time", "no text"]
    assert capsys.readouterr().err == ""
    (tmp_path / "before" / "run.json").write_text('{"status": "failed", "started_at": "2999-01-01T00:00:00+00:00"}')
    assert newest_unfinished.__wrapped__(tmp_path)[0].name == "before"
    line = f"warning: {tmp_path}/before: started later than now by the clock; if it is not the newest, resume=FOLDER\n"
    assert capsys.readouterr().err == line


@pytest.mark.slow
def test_resume_auto_takes_no_run_with_other_settings(stop_at, config):
    stopped = stop_at(3, EVERY_STEP, "seed=1")
    assert config("resume=auto").paths.run != stopped.paths.run
    assert config("resume=auto", "seed=1", "trainer.max_epochs=9").paths.run == stopped.paths.run


def test_resume_takes_only_runs_of_the_same_experiment(stop_at, config):
    stop_at(3, EVERY_STEP, "experiment=mlp")
    with pytest.raises(ConfigError, match="no unfinished run"):
        config("resume=last")


def test_a_finished_run_says_so_and_nothing_is_touched(train_run, finished, caplog):
    before = {file: file.read_bytes() for file in finished.folder.rglob("*") if file.is_file() and file.name != ".lock"}
    again = train_run(f"resume={finished.folder}", "logger=default")
    assert "has finished; nothing is left to do" in caplog.text
    assert again.metrics == finished.metrics
    after = {file: file.read_bytes() for file in finished.folder.rglob("*") if file.is_file() and file.name != ".lock"}
    assert before == after


def test_more_epochs_end_as_a_run_that_was_given_them_at_once(train_run):
    run = train_run("trainer.max_epochs=1", "scheduler=constant")
    more = train_run("trainer.max_epochs=2", "scheduler=constant", f"resume={run.folder}")
    record = json.loads((run.folder / "run.json").read_text())
    assert record["earlier"][0]["metrics"] == run.metrics
    whole = train_run("trainer.max_epochs=2", "scheduler=constant")
    assert same_weights(more.weights(), whole.weights())
    assert rows_of(more) == rows_of(whole)


@pytest.mark.slow
def test_more_steps_train_the_rest_of_an_epoch(train_run):
    given = ["scheduler=constant", "trainer.max_epochs=-1"]
    run = train_run("trainer.max_steps=11", *given)
    more = train_run("trainer.max_steps=16", *given, f"resume={run.folder}")
    assert same_weights(more.weights(), train_run("trainer.max_steps=16", *given).weights())


@pytest.mark.slow
def test_a_schedule_that_has_ended_refuses_more_epochs_by_name(train_run):
    given = ["scheduler=onecycle", "trainer.max_epochs=1"]
    run = train_run(*given)
    before = (run.folder / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(ConfigError, match="resume: given 16 steps; allowed: 8, at which OneCycleLR ends"):
        train_run("scheduler=onecycle", "trainer.max_epochs=2", f"resume={run.folder}")
    assert (run.folder / "checkpoints" / "last.ckpt").read_bytes() == before


@pytest.mark.slow
def test_a_patience_that_is_given_now_counts(train_run):
    given = ["optimizer.lr=0", "model=mlp", "scheduler=constant", "trainer.max_epochs=8"]
    run = train_run(*given, "callbacks.early_stopping.patience=1")
    steps = len(rows_of(run))
    more = train_run(*given, "callbacks.early_stopping.patience=3", f"resume={run.folder}")
    assert len(rows_of(more)) == steps + 2 * 8


@pytest.mark.parametrize(
    "override",
    ["optimizer.lr=0.5", "model.channels=[8]", "seed=1", "data.num_images=64", "trainer.accumulate_grad_batches=2"],
)
def test_a_resume_with_other_settings_is_refused_and_changes_nothing(train_run, finished, override):
    before = {name: (finished.folder / name).read_text() for name in ("run.json", "config.yaml")}
    with pytest.raises(ConfigError, match=rf"resume: given the settings .*{re.escape(override)} \(it has"):
        train_run(override, f"resume={finished.folder}", "logger=default")
    assert before == {name: (finished.folder / name).read_text() for name in before}


def test_what_changes_the_last_bits_warns_by_name_or_is_refused(train_run, stop_at, monkeypatch, caplog):
    stopped = stop_at(3, EVERY_STEP)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.raises(ConfigError, match=r"resume: given threads 7 \(it was 1\) with resume_strict=true"):
        train_run(f"resume={stopped.paths.run}", "resume_strict=true")
    with pytest.raises(ConfigError, match=r"resume: given the settings trainer.precision=bf16-mixed \(it has 32-true"):
        train_run(f"resume={stopped.paths.run}", "resume_strict=true", "trainer.precision=bf16-mixed")
    train_run(f"resume={stopped.paths.run}", "trainer.precision=bf16-mixed")
    assert "resume: threads 7 (it was 1), precision bf16-mixed (it was 32-true): the last bits" in caplog.text


@pytest.mark.slow
def test_images_that_were_added_since_are_named(train_run, make_tree, stop_at, tmp_path, caplog):
    given = ["data=image_folder", f"data.root={make_tree()}", "data.in_memory=false", "data.num_workers=0"]
    given += ["data.batch_size=4", f"data.cache_dir={tmp_path}/cache", "data.mean=[0.5]", "data.std=[0.5]"]
    stopped = stop_at(3, EVERY_STEP, *given)
    file = next((tmp_path / "tree" / "a").glob("*.png"))
    file.with_name("more.png").write_bytes(file.read_bytes())
    train_run(*given, f"resume={stopped.paths.run}")
    assert "resume: data " in caplog.text


@pytest.mark.slow
def test_a_moved_run_goes_on_and_keeps_its_best(train_run, tmp_path):
    run = train_run("scheduler=constant", "optimizer.lr=0.01")
    moved = tmp_path / "moved"
    run.folder.rename(moved)
    best = torch.load(moved / "checkpoints" / "best.ckpt", weights_only=True)["global_step"]
    (tmp_path / "logs" / "default").rmdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Task, "validation_step", lambda self, *_: self.kindling_sums["val"].add(StepOutput(torch.tensor(1e6), 2))
        )
        train_run("scheduler=constant", "optimizer.lr=0.01", "trainer.max_epochs=3", f"resume={moved}")
    assert torch.load(moved / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == best
    assert list((tmp_path / "logs").iterdir()) == []


def test_what_is_no_run_folder_is_refused_with_the_other_ways(finished, config):
    for given in ("nowhere", finished.folder / "checkpoints" / "last.ckpt"):
        with pytest.raises(ConfigError, match=r"resume: given .*, which is no run folder; allowed: .*fork= .*weights="):
            config(f"resume={given}")


# fork= and weights=


def test_a_fork_goes_on_in_a_new_run_and_leaves_the_other_alone(train_run, stop_at):
    stopped = stop_at(11, EVERY_STEP)
    before = (Path(stopped.paths.run) / "run.json").read_bytes()
    fork = train_run(f"fork={stopped.paths.run}")
    assert fork.folder != Path(stopped.paths.run)
    whole = train_run()
    assert same_weights(fork.weights(), whole.weights())
    assert same_weights(fork.weights("best"), whole.weights("best"))
    assert rows_of(fork) == rows_of(whole)
    assert (Path(stopped.paths.run) / "run.json").read_bytes() == before


@pytest.mark.slow
def test_a_fork_may_have_another_rate_and_other_data_settings(train_run, finished):
    fork = train_run(f"fork={finished.folder}", "optimizer.lr=0.0005", "task.criterion.label_smoothing=0.1", "seed=3")
    saved = torch.load(finished.folder / "checkpoints" / "last.ckpt", weights_only=True)
    now = torch.load(fork.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["lr_schedulers"][0]["base_lrs"] == [0.003, 0.003]
    assert now["lr_schedulers"] == saved["lr_schedulers"], "nothing was left to train"
    more = train_run(f"fork={finished.folder}", "optimizer.lr=0.0005", "trainer.max_epochs=3")
    now = torch.load(more.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert now["lr_schedulers"][0]["base_lrs"] == pytest.approx([0.0005, 0.0005])


@pytest.mark.slow
def test_a_fork_that_was_interrupted_is_resumed_from_where_it_came(train_run, trained, stop_at):
    origin = stop_at(5, EVERY_STEP)
    fork = stop_at(9, f"fork={origin.paths.run}")
    resumed = train_run(f"resume={fork.paths.run}")
    assert rows_of(resumed) == rows_of(trained)


def test_a_fork_of_another_model_is_refused(train_run, finished):
    with pytest.raises(ConfigError, match=r"fork: given the settings model\._target_=.*MLP.*weights= starts from"):
        train_run("model=mlp", f"fork={finished.folder}")
    with pytest.raises(ConfigError, match=r"fork: given .*best\.ckpt, which holds nothing to go on from"):
        train_run(f"fork={finished.folder}/checkpoints/best.ckpt")


@pytest.mark.parametrize(
    "given", some(["", "/checkpoints/best.ckpt", "/checkpoints/last.ckpt"], "/checkpoints/best.ckpt")
)
def test_weights_start_a_new_run_at_its_beginning(train_run, trained, finished, given):
    run = train_run(f"weights={finished.folder}{given}", "optimizer.lr=0", "optimizer.weight_decay=0", "seed=2")
    assert len(rows_of(run)) == len(rows_of(trained))
    name = "last" if "last" in given else "best"
    before, after = finished.weights(name), run.weights()
    assert all(torch.equal(before[key], after[key]) for key in before if "weight" in key)


@pytest.mark.slow
def test_weights_are_started_from_again_if_the_run_starts_over(train_run, stop_at, finished):
    given = f"weights={finished.folder}"
    stopped = stop_at(5, given)
    assert rows_of(train_run(f"resume={stopped.paths.run}")) == rows_of(train_run(given))
    assert train_run(given, "resume=auto", "seed=5").cfg.resume == "auto"


@pytest.mark.parametrize(
    "given", [["resume=last", "fork=a"], ["fork=a", "weights=b"], ["resume=auto", "fork=a", "weights=b"]]
)
def test_one_origin_is_given(given, tmp_path):
    with pytest.raises(ConfigError, match=r"given beside (resume|fork); allowed: one of resume, fork and weights"):
        compose([*given, f"paths.logs={tmp_path}"])


# One process at a time


def test_a_folder_that_another_process_works_in_is_refused_by_name(stop_at, train_run):
    stopped = stop_at(3, EVERY_STEP)
    ready, release = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        RunLock(Path(stopped.paths.run)).acquire()
        os.write(ready[1], b"x")
        os.read(release[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        assert is_held(Path(stopped.paths.run))
        with pytest.raises(ConfigError, match=rf"which process {pid} on .* is working in; allowed: one process"):
            train_run(f"resume={stopped.paths.run}")
        assert status(stopped.paths.run) == "interrupted"
        with pytest.raises(ConfigError, match="no unfinished run"):
            train_run("resume=last")
    finally:
        os.write(release[1], b"x")
        os.waitpid(pid, 0)
    assert not is_held(Path(stopped.paths.run))
    assert train_run(f"resume={stopped.paths.run}").metrics


def test_asking_who_holds_a_folder_does_not_give_it_away(tmp_path):
    lock = RunLock(tmp_path)
    lock.acquire()
    assert is_held(tmp_path)
    pid = os.fork()
    if pid == 0:
        os._exit(is_held(tmp_path))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    lock.release()
    assert not is_held(tmp_path)


@pytest.mark.slow
def test_what_a_killed_process_left_is_swept_out_at_the_next_start(stop_at, train_run):
    stopped = stop_at(3, EVERY_STEP)
    left = [Path(stopped.paths.run) / name for name in (".run.json.99.tmp", "checkpoints/.step_1.ckpt.99.tmp")]
    for file in left:
        file.write_text("half")
    train_run(f"resume={stopped.paths.run}")
    assert not any(file.exists() for file in left)


def test_a_record_that_is_refused_stays_as_it_was(config, finished):
    cfg = config()
    cfg.paths.run, cfg.resume = str(finished.folder), str(finished.folder)
    cfg.seed = 9
    with pytest.raises(ConfigError, match="seed=9"), recorded(cfg):
        pass
    assert status(finished.folder) == "finished"
    assert RunRecord(finished.folder, {}).saved_config is None


# Damage


def test_a_damaged_checkpoint_is_named_set_aside_and_the_one_before_is_taken(trained, stop_at, train_run, caplog):
    stopped = stop_at(7, EVERY_STEP)
    newest, before = resume_files.newest_first(Path(stopped.paths.run))[:2]
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = train_run(f"resume={stopped.paths.run}")
    assert f"{newest}, which is no whole checkpoint" in caplog.text
    assert "step 6" in caplog.text
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert rows_of(resumed) == rows_of(trained)
    assert before.name == "step_000000006.ckpt"


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_over(stop_at, train_run):
    stopped = stop_at(3, EVERY_STEP)
    for file in resume_files.newest_first(Path(stopped.paths.run)):
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is no whole checkpoint"):
        train_run(f"resume={stopped.paths.run}")


@pytest.mark.slow
def test_last_alone_is_enough_to_go_on(trained, stop_at, train_run):
    stopped = stop_at(5, EVERY_STEP)
    for file in resume_files.newest_first(Path(stopped.paths.run)):
        file.unlink()
    assert rows_of(train_run(f"resume={stopped.paths.run}")) == rows_of(trained)


@pytest.mark.slow
def test_a_run_of_an_older_version_is_refused_by_name_and_kept(finished, train_run):
    folder = finished.folder / "checkpoints"
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    del saved["progress"]
    saved["description"]["format"] = 1
    for file in resume_files.newest_first(finished.folder):
        file.unlink()
    torch.save(saved, folder / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last.ckpt, which an older version wrote .*; weights= starts"):
        train_run(f"resume={finished.folder}", "trainer.max_epochs=3", "logger=default")
    assert train_run(f"weights={folder}/last.ckpt", "trainer.max_epochs=1").metrics


@pytest.mark.slow
def test_three_checkpoints_are_kept_and_last_is_the_newest(stop_at):
    stopped = stop_at(9, EVERY_STEP)
    folder = Path(stopped.paths.run) / "checkpoints"
    steps = ["step_000000007", "step_000000008", "step_000000009"]
    files = ["best.ckpt", "last.ckpt", *(f"{step}.ckpt" for step in steps), "trained-on-tensors.npy"]
    assert sorted(file.name for file in folder.iterdir()) == [*(f".{step}.best" for step in steps), *files]
    assert checkpoint.load(folder / "last.ckpt")["global_step"] == 9


def test_checkpoints_by_time_wait_until_they_are_worth_it(train_run, monkeypatch):
    saves = []
    monkeypatch.setattr(resume_files, "name_last", saves.append)
    slow = time.sleep
    monkeypatch.setattr(checkpoint, "damaged_record", lambda _: slow(0.02))
    train_run("callbacks.resume_checkpoint.every_minutes=0", "trainer.max_epochs=1")
    assert len(saves) <= 2, "a save takes a fiftieth of the time at most, so one comes at the start and one at the end"


def test_max_time_ends_a_run_as_interrupted_and_the_next_one_has_as_much(trained, config, train_run):
    cfg = config("trainer.max_time=00:00:00:00")
    with pytest.raises(Interrupted, match="max_time") as ended:
        train(cfg)
    assert ended.value.exit_code == 128 + signal.SIGTERM
    assert status(cfg.paths.run) == "interrupted"
    assert resume_files.newest_first(Path(cfg.paths.run))
    resumed = train_run(f"resume={cfg.paths.run}", "trainer.max_time=00:01:00:00")
    assert rows_of(resumed) == rows_of(trained)


@pytest.mark.skipif(sys.platform != "linux", reason="hard links")
def test_a_file_system_without_hard_links_gets_a_relative_link(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    (tmp_path / "step_1.ckpt").write_text("x")
    for _ in range(2):
        resume_files.name_last(tmp_path / "step_1.ckpt")
    (tmp_path / "last.ckpt").rename(tmp_path / "moved.ckpt")
    assert (tmp_path / "moved.ckpt").read_text() == "x"
    assert os.readlink(tmp_path / "moved.ckpt") == "step_1.ckpt"


# What Lightning leaves out

LOGGING = "task._target_=bench.tasks.logging.Logging"


@pytest.mark.parametrize(
    "step",
    [*(pytest.param(each, marks=pytest.mark.slow) for each in (8, 11)), 15],
    ids=["first batch", "middle", "last batch"],
)
def test_what_a_module_of_ones_own_sums_up_over_an_epoch_survives(train_run, stop_at, step):
    whole = train_run(LOGGING)
    stopped = stop_at(step, LOGGING, EVERY_STEP)
    resumed = train_run(LOGGING, f"resume={stopped.paths.run}")
    assert {"train/mean", "train/max", "train/sum_epoch", "train/metric", "train/labels"} <= rows_of(whole)[-2].keys()
    assert rows_of(resumed) == rows_of(whole)


@pytest.mark.slow
def test_what_a_run_went_back_behind_is_not_its_best_checkpoint(train_run, config, monkeypatch):
    source = train_run(EVERY_STEP, "callbacks.resume_checkpoint.keep=30", "trainer.max_epochs=3")
    best = checkpoint.load(source.folder / "checkpoints" / "best.ckpt")["global_step"]
    assert best > 9
    start = source.folder / "checkpoints" / "step_000000009.ckpt"
    source_best = checkpoint.load(resume_files.best_then(start) / "best.ckpt")["state_dict"]
    fork = train_run(f"fork={start}", "optimizer.lr=1", EVERY_STEP, "trainer.max_epochs=3")
    kept = checkpoint.load(fork.folder / "checkpoints" / "best.ckpt")["global_step"]
    assert kept <= 9
    assert same_weights(fork.weights("best"), source_best)
    assert json.loads((fork.folder / "run.json").read_text())["best"]["score"] == pytest.approx(
        min(float(row["val/loss"]) for row in rows_of(source)[:10] if row["val/loss"])
    )


@pytest.mark.slow
@pytest.mark.parametrize("at", some([12, 16], 12))  # within the run, and at its end
def test_a_best_checkpoint_that_was_removed_is_sought_anew(train_run, stop_at, caplog, at):
    stopped = stop_at(at, EVERY_STEP) if at < 16 else train_run(EVERY_STEP).cfg
    folder = Path(stopped.paths.run)
    set_status(folder, "interrupted")
    for file in folder.rglob("best.ckpt"):
        file.unlink()
    run = train_run(f"resume={folder}", EVERY_STEP)
    assert "best.ckpt is gone; the best checkpoint is sought anew" in caplog.text
    assert "test/accuracy" in run.metrics


@pytest.mark.parametrize("key", some(["fork", "weights"], "weights"))
def test_a_mistyped_origin_leaves_nothing_that_later_runs_would_go_on_with(train_run, stop_at, config, tmp_path, key):
    stopped = stop_at(3, EVERY_STEP)
    with pytest.raises(ConfigError, match=f"^{key}: given .*typo, which does not exist; allowed: a run folder or"):
        train_run(f"{key}={tmp_path}/typo")
    assert config("resume=last").paths.run == stopped.paths.run
    with pytest.raises(ConfigError, match=f"^{key}: "):
        train_run(f"{key}={stopped.paths.run}/checkpoints/last.ckpt", "model.channels=[8]")
    assert config("resume=last").paths.run == stopped.paths.run


@pytest.mark.slow
def test_resume_auto_takes_only_a_run_of_the_same_origin(train_run, stop_at, config):
    stopped = stop_at(5, EVERY_STEP)
    given = f"fork={stopped.paths.run}"
    fork = train_run(given, "resume=auto", "trainer.max_epochs=3")
    assert str(fork.folder) != stopped.paths.run
    set_status(fork.folder, "interrupted")
    assert config("resume=auto", given).paths.run == str(fork.folder)
    assert config("resume=auto").paths.run == stopped.paths.run


@pytest.mark.slow
@pytest.mark.parametrize(
    "given", some(["callbacks.resume_checkpoint=null", "callbacks=none"], "callbacks.resume_checkpoint=null")
)
def test_a_run_is_not_taken_up_without_the_callback_that_does_it(stop_at, config, given):
    stopped = stop_at(5, EVERY_STEP)
    for key in ("resume", "fork"):
        with pytest.raises(ConfigError, match=f"callbacks.resume_checkpoint: given none with {key}; allowed: the cal"):
            config(f"{key}={stopped.paths.run}", given)
    with pytest.raises(ConfigError, match=r"enable_checkpointing: given false with resume"):
        config(f"resume={stopped.paths.run}", "trainer.enable_checkpointing=false")


@pytest.mark.slow
def test_a_refused_resume_leaves_the_run_as_it_was(train_run):
    run = train_run("scheduler=onecycle", EVERY_STEP)
    before = {name: (run.folder / name).read_bytes() for name in ("run.json", "config.yaml")}
    with pytest.raises(ConfigError, match=r"at which OneCycleLR ends"):
        train_run("scheduler=onecycle", f"resume={run.folder}", "trainer.max_epochs=5")
    assert {name: (run.folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(("limit", "least"), some([("max_steps=3", 5), ("max_epochs=0", 1)], ("max_steps=3", 5)))
def test_a_limit_that_a_run_has_passed_is_refused(train_run, stop_at, limit, least):
    stopped = stop_at(5, EVERY_STEP)
    for key in ("resume", "fork"):
        with pytest.raises(
            ConfigError, match=rf"trainer\.{limit[:9]}.*given . ?; allowed: . or more, which the run ha"
        ):
            train_run(f"{key}={stopped.paths.run}", f"trainer.{limit}")
    assert status(stopped.paths.run) == "interrupted"


@pytest.mark.slow
def test_a_refused_limit_leaves_the_best_checkpoint_that_came_after_the_last(train_run, stop_at):
    stopped = stop_at(25, "callbacks.resume_checkpoint.every_n_steps=9", "trainer.max_epochs=4")
    best = Path(stopped.paths.run) / "checkpoints" / "best.ckpt"
    assert checkpoint.load(best)["global_step"] == 24
    with pytest.raises(ConfigError, match=r"trainer\.max_steps: given 3; allowed: 18 or more"):
        train_run(f"resume={stopped.paths.run}", "trainer.max_epochs=4", "trainer.max_steps=3")
    assert checkpoint.load(best)["global_step"] == 24


def test_rates_of_a_fork_differ_by_one_factor_which_training_starts_with():
    def config(lr: float, max_lr: float) -> dict:
        rates = {"optimizer": {"lr": lr}, "scheduler": {"scheduler": {"max_lr": max_lr}}}
        return {"seed": 0, "rollback": {"skip_batch": False}, **rates}

    with pytest.raises(ConfigError, match=r"fork: given optimizer.lr=0.5 .*allowed: all rates times the same factor"):
        lr_factor(config(0.1, 0.2), config(0.5, 0.2))
    module = LightningModule()
    start = Saved(Path("x.ckpt"), {"state_dict": {}, "rollbacks": [], "description": {"config": config(0.1, 0.2)}})
    assert load_start(module, config(0.2, 0.4), start, []).lr_factor == 2


def test_a_checkpoint_without_what_it_takes_to_go_on_is_refused_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(resume_files, "newest_whole", lambda _: Saved(tmp_path / "last.ckpt", {}))
    with pytest.raises(CheckpointError, match=r"last.ckpt, which an older version wrote .*; weights= starts"):
        starting_point(SimpleNamespace(folder=tmp_path))  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_a_fork_changes_all_rates_by_one_factor(train_run, finished):
    one = train_run("scheduler=onecycle")
    with pytest.raises(ConfigError, match=r"fork: given optimizer.lr=0.5 .*allowed: all rates times the same factor"):
        train_run("scheduler=onecycle", f"fork={one.folder}", "optimizer.lr=0.5", "scheduler.scheduler.max_lr=0.1")
    still = train_run(f"fork={finished.folder}", "optimizer.lr=0", "trainer.max_epochs=4")
    before, after = finished.weights(), still.weights()
    learnt = [name for name in before if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(before[name], after[name]) for name in learnt)


@pytest.mark.parametrize("key", ["resume", "fork", "weights"])
def test_an_empty_origin_is_refused(config, key):
    with pytest.raises(ConfigError, match=f"{key}: given nothing; allowed: a path, or null for none"):
        config(f"{key}=")


def test_a_run_whose_record_is_unreadable_is_told_of(stop_at, config, capsys):
    stopped = stop_at(5, EVERY_STEP)
    file = Path(stopped.paths.run) / "run.json"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ConfigError, match="no unfinished run"):
        config("resume=last")
    assert f"warning: {file}: cannot be read; its run is left out" in capsys.readouterr().err


@pytest.mark.slow
def test_rows_that_were_lost_are_told_of_and_a_table_that_is_none_is_named(train_run, stop_at, caplog):
    stopped = stop_at(7, EVERY_STEP, "trainer.log_every_n_steps=1")
    table = Path(stopped.paths.run) / "metrics.csv"
    rows = table.read_text().splitlines(keepends=True)
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"metrics.csv: cannot be read as a table \(.*\); move it away"):
        train_run(f"resume={stopped.paths.run}", "trainer.log_every_n_steps=1")
    table.write_text("".join(rows[:3]))
    train_run(f"resume={stopped.paths.run}", "trainer.log_every_n_steps=1")
    assert "metrics.csv: has 2 of the " in caplog.text


@pytest.mark.parametrize("fork", [False, True])
def test_what_only_saves_memory_may_differ_in_a_run_that_goes_on(fork):
    saved = {"paths": {}, "init": None, "model": {"checkpoint_activations": False, "norm": "batch"}}
    thrifty = {**saved, "model": {"checkpoint_activations": True, "norm": "batch"}}
    refuse_changes(saved, thrifty, fork=fork, strict=True)
    with pytest.raises(ConfigError, match=r"model.norm=group \(it has batch\)"):
        refuse_changes(saved, {**saved, "model": {"norm": "group"}}, fork=fork)


def test_a_run_goes_on_without_the_doctor_that_a_project_has_left_out_since():
    doctor = {"_target_": "kindling.images.doctor.callback.Doctor"}
    refuse_changes({"paths": {}, "callbacks": {"doctor": doctor}}, {"paths": {}, "callbacks": {}}, strict=True)


def test_a_run_goes_on_with_the_initialisation_that_it_was_started_with():
    saved = {"paths": {}, "init": "orthogonal"}
    with pytest.raises(ConfigError, match=r"resume: given the settings init=None \(it has orthogonal\)"):
        refuse_changes(saved, {"paths": {}, "init": None})
    refuse_changes({"paths": {}}, {"paths": {}, "init": None})  # a run of before there was a choice


@pytest.mark.parametrize("given", some([99, 2.0, True, [3]], 99))
def test_a_run_of_another_format_is_left_out_with_a_word_and_refused_by_name(train_run, stop_at, capsys, given):
    stopped = stop_at(3, EVERY_STEP)
    file = Path(stopped.paths.run) / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": given}))
    with pytest.raises(ConfigError, match=re.escape(f"of format {given!r}; allowed: format {FORMAT} and older")):
        train_run(EVERY_STEP, f"resume={stopped.paths.run}")
    assert str(train_run(EVERY_STEP, "resume=auto").folder) != stopped.paths.run
    assert f"of format {given!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "words"),
    [("train.py experiment=cnn fork=a seed=1", "python train.py experiment=cnn seed=1 "), ("rm -rf x", "")],
)
def test_resume_alone_is_answered_with_the_command_of_the_run(tmp_path, said, words):
    (tmp_path / "run.json").write_text(f'{{"status": "failed", "command": "{said}"}}')
    command = resumption.command_to_resume(tmp_path, f"resume={tmp_path}")
    assert command == (words and f"{words}resume={tmp_path}")
    before = {"paths": {}, **{f"key_{number}": number for number in range(9)}}
    with pytest.raises(ConfigError) as caught:
        refuse_changes(before, {"paths": {}}, command=command)
    assert (
        f"and 8 others; allowed: those that the run was started with; repeat its command, {command}"
        if words
        else ("; allowed: those that the run was started with; repeat its command; fork= branches off")
    ) in str(caught.value)


def test_random_crops_go_on_from_what_they_were_cut_from():
    crop = {"_target_": "torchvision.transforms.v2.RandomResizedCrop"}
    several = {"_target_": "torchvision.transforms.v2.Compose", "transforms": [crop, {"_target_": "x"}]}

    def config(cache, transform=crop, decoding=4, **more) -> dict:
        return {"paths": {}, "data": {"cache": cache, "transform": transform, "decoding": decoding, **more}}

    with pytest.raises(
        ConfigError, match=r"resume: given the settings data.cache=none \(it has auto\); allowed: those"
    ):
        refuse_changes(config("auto"), config("none"))
    assert crops_differ(config("disk", several), config("auto", several))
    assert crops_differ(config("memory"), config("auto", in_memory=False))
    refuse_changes(config("disk"), config("memory"))
    refuse_changes(config("memory"), config("auto", in_memory=True))
    refuse_changes(config("auto", None), config("none", None))
    refuse_changes(config("auto", decoding=3), config("none", decoding=3))


def test_who_computes_may_change_at_a_resume_and_is_said():
    saved = {"paths": {"run": "a"}, "data": {"num_workers": 2}, "trainer": {"strategy": "ddp", "max_epochs": 1}}
    given = {"paths": {"run": "b"}, "data": {"num_workers": 0}, "trainer": {"strategy": "auto", "max_epochs": 2}}
    assert changed_launch(saved, given) == ["data.num_workers=0 (it was 2)", "trainer.strategy=auto (it was ddp)"]
    assert changed_launch(saved, saved) == []
    given["trainer"]["strategy"] = {"_target_": "kindling.training.fsdp2.FSDP2"}
    assert changed_launch(saved, given)[-1] == "trainer.strategy=kindling.training.fsdp2.FSDP2 (it was ddp)"


@pytest.mark.parametrize("given", ["FOLDER", "last"])
def test_a_run_is_not_begun_anew_in_another_folder_when_one_is_to_be_resumed(stop_at, train_run, tmp_path, given):
    resume = given.replace("FOLDER", str(stop_at(5).paths.run))
    other = tmp_path / "other"
    with pytest.raises(ConfigError, match=rf"resume: given {resume} with hydra.run.dir={other}; allowed: one of them"):
        train_run(f"resume={resume}", f"hydra.run.dir={other}")
    assert not other.exists()

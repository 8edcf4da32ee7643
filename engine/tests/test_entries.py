"""The commands as a user types them, each in a process of its own.

Importing torch takes seconds, so most runs are forked from this process, which has imported it already.
"""

import json
import math
import os
import pty
import re
import runpy
import secrets
import signal
import sys
import traceback
import warnings
from contextlib import suppress

import pytest

import kindling.train  # noqa: F401  for the forked runs
from bench_root import PROJECT
from kindling.cli import arguments
from kindling.errors import ConfigError, Interrupted
from kindling.process import signals
from kindling.testing.commands import Fork, only_run, run, wait_for
from kindling.testing.runs import ONE_BATCH
from long_run import some

FAST = ["data=fake", "trainer.accelerator=cpu", *ONE_BATCH]


ENDLESS = [
    *("data=fake", "trainer=cpu", "trainer.max_epochs=100000", "callbacks.early_stopping=null"),
    *("trainer.log_every_n_steps=8", "trainer.max_time=00:00:02:00"),
]


@pytest.mark.slow
def test_a_run_from_any_folder_into_a_path_with_spaces_and_umlauts(tmp_path):
    logs = tmp_path / "größe zwei"
    done = run("train.py", *FAST, "experiment=mlp", f"paths.logs='{logs}'", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = only_run(logs)
    assert folder.parent.name == "mlp"
    assert f"run folder: {folder}" in done.stdout
    assert "accuracy" in done.stdout
    assert "epoch 0" in (folder / "train.log").read_text()
    assert "warn" not in done.stderr.lower(), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"größe zwei"}, "nothing else is created"
    again = Fork(tmp_path, "evaluate.py", f"run='{folder}'").result()
    assert again.returncode == 0, again.stderr
    assert (folder / "evaluation" / "test" / "metrics.json").exists()


@pytest.mark.needs("sweeps")
def test_a_sweep_runs_each_job_in_its_folder_and_survives_a_failing_one(tmp_path):
    secret = secrets.token_hex(4)
    jobs = ["model.channels=[4],[],[8]", f"+hub.token={secret}l,{secret}m"]
    done = Fork(tmp_path, "train.py", "-m", *FAST, *jobs, f"paths.logs={tmp_path}").result()
    assert done.returncode == 2
    records = [json.loads((only / "run.json").read_text()) for only in sorted(tmp_path.glob("sweeps/*/[0-5]"))]
    assert [record["status"] for record in records] == ["finished"] * 2 + ["failed"] * 2 + ["finished"] * 2
    assert "allowed: the channels of at least one stage" in records[2]["reason"]
    files = [path for path in (tmp_path / "sweeps").rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    (failed,) = tmp_path.glob("sweeps/*/2/train.log")
    assert "at least one stage" in failed.read_text()
    assert "Traceback" not in done.stderr
    said, *lines = done.stderr.splitlines()[-3:]
    assert said == "error: sweep: 2 of 6 jobs failed"
    for number, line in zip("23", lines, strict=True):
        assert re.fullmatch(
            rf"error: job {number}: model.channels: .*at least one.*; with model.channels=\[\] .*", line
        ), line
    assert secret not in done.stderr
    assert done.stderr.count("best: val/loss") == 4, "a job is a line or two"
    assert "trainable" not in done.stdout + done.stderr
    assert "trainable" in (failed.parents[1] / "0" / "train.log").read_text()
    header, *rows, counts = done.stdout.splitlines()[-8:]
    assert header.split() == ["trial", "val/loss", "channels", "token"]
    assert [row.split()[0] for row in rows[4:]] == ["2", "3"], "those without a number come last"
    best = [record["best"]["score"] for record in records if record["status"] == "finished"]
    assert [row.split()[1] for row in rows[:4]] == [f"{score:.5g}" for score in sorted(best)]
    assert rows[4].split() == ["2", "[]", "<redacted>", "failed"]
    folder = failed.parent.parent
    assert counts == f"sweep: 4 finished, 2 failed; {folder}; the output of each is the train.log in its folder"


def test_two_processes_train_the_model_that_one_would_in_one_folder(tmp_path):
    """The gradients are means over the same images."""
    same = ["model=mlp", "model.dropout=0", *(f"trainer.limit_{stage}_batches=2" for stage in ("train", "val", "test"))]
    logs = {name: tmp_path / name for name in ("two", "one")}
    for name in logs:
        logs[name].mkdir()
    pair = ["trainer=ddp_cpu", "data.batch_size=32", f"paths.logs={logs['two']}"]
    two = Fork(tmp_path, "train.py", *FAST, *same, *pair).result()
    assert two.returncode == 0, two.stderr
    one = Fork(tmp_path, "train.py", *FAST, *same, "data.batch_size=32", f"paths.logs={logs['one']}").result()
    assert one.returncode == 0, one.stderr
    records = {name: json.loads((only_run(folder) / "run.json").read_text()) for name, folder in logs.items()}
    assert records["two"]["status"] == "finished"
    assert records["two"]["metrics"] == pytest.approx(records["one"]["metrics"], rel=1e-4)
    lines = (only_run(logs["two"]) / "train.log").read_text().splitlines()
    written = [line.split(" INFO ")[1][:6] for line in lines if " INFO " in line]
    assert [written.count(each) for each in ("settin", "data: ", "epoch ", "best: ")] == [1, 2, 1, 1], "of one process"


@pytest.mark.needs("sweeps")
@pytest.mark.slow
def test_several_processes_in_a_sweep_are_refused(tmp_path):
    done = Fork(tmp_path, "train.py", "-m", *FAST, "trainer=ddp_cpu", "seed=0,1", f"paths.logs={tmp_path}").result()
    assert done.returncode == 2
    assert "each of which would run the whole sweep; allowed: 1, or sweep=grid" in done.stderr


@pytest.mark.parametrize(("signum", "code"), some([(signal.SIGINT, 130), (signal.SIGTERM, 143)], (signal.SIGTERM, 143)))
def test_a_signal_ends_the_run_as_interrupted(tmp_path, signum, code):
    fork = Fork(tmp_path, "train.py", *ENDLESS, f"paths.logs={tmp_path}")
    wait_for(tmp_path, "best.ckpt")
    assert fork.process.pid is not None
    os.kill(fork.process.pid, signum)
    done = fork.result()
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert f"interrupted by {signum.name}" in done.stderr
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_a_run_whose_terminal_closes_ends_after_a_checkpoint(tmp_path, monkeypatch):
    folder, script = tmp_path / "logs", str(PROJECT / "train.py")
    # A terminal with a bar.
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    with warnings.catch_warnings():  # newer Pythons warn of forks in a process with threads
        warnings.simplefilter("ignore", DeprecationWarning)
        pid, terminal = pty.fork()
    if pid == 0:
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(each, mode) for each, mode in ((0, "r"), (1, "w"), (2, "w")))
        sys.argv = [script, *ENDLESS, f"paths.logs={folder}"]
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as ended:
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        except BaseException:
            (tmp_path / "error").write_text(traceback.format_exc())
        finally:
            os._exit(99)
    try:
        wait_for(folder, "best.ckpt")
    finally:
        os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 129, (tmp_path / "error").read_text()
    record = json.loads((only_run(folder) / "run.json").read_text())
    assert (record["status"], record["reason"]) == ("interrupted", "Interrupted: SIGHUP")
    assert list(folder.rglob("step_*.ckpt"))


def test_what_is_ignored_by_the_shell_stays_ignored(monkeypatch):
    before = {signum: signal.getsignal(signum) for signum in signals.ENDING}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signals.install()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signals._handle
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@pytest.mark.parametrize("becomes", [None, ImportError("numpy failed")], ids=["nothing", "another error"])
def test_a_signal_that_an_import_swallows_ends_the_command_after_it(monkeypatch, becomes):
    monkeypatch.setattr(signals._State, "ended_by", None)
    monkeypatch.setattr(signals._State, "received_at", -math.inf)

    def swallow() -> None:
        with suppress(Interrupted):
            signals._handle(signal.SIGTERM, None)
        if becomes:
            raise becomes

    with pytest.raises(Interrupted, match="SIGTERM"), signals.not_swallowed():
        swallow()
    with pytest.raises(ImportError, match="missing"), signals.not_swallowed():
        raise ImportError("missing")


@pytest.mark.parametrize("becomes", [ConfigError("defaults: given nothing"), TypeError("of the check")], ids=repr)
def test_a_signal_that_the_check_of_the_config_turns_into_an_error_ends_the_command(monkeypatch, becomes):
    monkeypatch.setattr(signals._State, "ended_by", None)
    monkeypatch.setattr(signals._State, "received_at", -math.inf)

    def swallow(name: str, given: list[str]) -> None:
        with suppress(Interrupted):
            signals._handle(signal.SIGTERM, None)
        raise becomes

    monkeypatch.setattr(arguments, "check_command_line", swallow)
    with pytest.raises(Interrupted, match="SIGTERM"):
        arguments.checked_arguments("train", [])


@pytest.mark.needs("sweeps")
@pytest.mark.slow
def test_a_sweep_goes_on_with_its_jobs_in_the_folder_that_is_named(tmp_path):
    sweep = ["-m", *FAST, "seed=0,1", f"paths.logs={tmp_path}", "resume=auto"]
    done = Fork(tmp_path, "train.py", *sweep).result()
    assert done.returncode == 2
    assert "resume: given auto in a sweep; allowed: auto with hydra.sweep.dir=" in done.stderr
    named = f"hydra.sweep.dir={tmp_path}/sweep"
    assert Fork(tmp_path, "train.py", *sweep, named).result().returncode == 0
    again = Fork(tmp_path, "train.py", *sweep, named).result()
    assert again.returncode == 0
    assert again.stderr.count("has finished; nothing is left to do") == 2
    assert len(list((tmp_path / "sweep").glob("*/run.json"))) == 2


@pytest.mark.slow
def test_a_relative_origin_is_of_the_folder_that_the_command_was_given_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Fork(tmp_path, "train.py", *FAST, "hydra.run.dir=first").result().returncode == 0
    for key in ("fork", "weights"):
        given = ["hydra.job.chdir=true", f"hydra.run.dir={key}", f"{key}=first", "trainer.max_epochs=2"]
        done = Fork(tmp_path, "train.py", *FAST, *given).result()
        assert done.returncode == 0, done.stderr


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize(
    ("arguments", "code", "starts"),
    [
        (["optimzer.lr=1", "experiment=nothing", "model._target_=os.system"], 2, ["optim", "exper", "model"]),
        (["--multirn", "seed=x"], 2, ["--multirn: given an unknown flag", "seed: given 'x'"]),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (["--cfg", "job", "optimizer.lr=-1"], 2, ["optimizer.lr: given -1; allowed: 0 or more"]),
                (["-m", "seed=0,1", "optimizer.lr=0.1,-1"], 2, ["optimizer.lr: given -1; allowed: 0 or more"]),
                (["--cfg", "jbo"], 2, ["argument --cfg/-c: invalid choice: 'jbo'"]),
                (["data=image_folder", "data.root=nowhere"], 1, ["data.root: given nowhere, which does not exist"]),
            )
        ),
    ],
)
def test_each_mistake_is_one_line_before_torch_is_imported_and_nothing_is_created(tmp_path, arguments, code, starts):
    done = run("train.py", *FAST, *arguments, f"paths.logs={tmp_path}/logs", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert "| torch\n" not in done.stderr
    assert done.returncode == code, done.stderr
    assert len(lines) == len(starts), lines
    for start, line in zip(sorted(starts), sorted(lines), strict=True):
        assert line.startswith(f"error: {start}")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_log_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("train.py", *FAST, f"paths.logs={tmp_path}/file")
    assert done.returncode == 1
    assert f"{tmp_path}/file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_that_needs_the_model_is_one_line_too(tmp_path):
    done = Fork(tmp_path, "train.py", *FAST, "model=vit", "model.patch_size=5", f"paths.logs={tmp_path}").result()
    assert done.returncode == 2
    first, *lines = done.stderr.splitlines()
    assert first.startswith("vit on fake, seed 0 → ")
    assert lines == ["error: model.patch_size: given 5; allowed: a divisor of data.image_size, 28"]
    assert list(tmp_path.rglob("run.json")) == [], "a run that was refused leaves nothing"


def test_a_bug_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr("kindling.train.final_metrics", None)
    done = Fork(tmp_path, "train.py", *FAST, f"paths.logs={tmp_path}").result()
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "'NoneType' object is not callable" in done.stderr
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "failed"
    assert "Traceback" in (only_run(tmp_path) / "train.log").read_text()


@pytest.mark.needs("serving", "exporting", "predicting")
@pytest.mark.parametrize(
    "script", some(["train.py", "evaluate.py", "predict.py", "export.py", "serve.py"], "train.py", "predict.py")
)
@pytest.mark.parametrize("flags", [["--help"], ["hydra.run.dir=a", "--cfg", "job", "hydra.run.dir=b"]])
def test_help_and_config_are_shown_without_importing_torch(tmp_path, script, flags):
    done = run(script, *flags, cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "torchvision", "torchmetrics", "numpy", "PIL"}
    assert list(tmp_path.iterdir()) == []


def test_a_shell_completes_groups_and_options(tmp_path):
    done = run("train.py", "-sc", "query=bash", cwd=tmp_path, COMP_LINE="python train.py model=", COMP_POINT="22")
    assert done.stdout.split() == [
        f"model={name}" for name in ("bigram", "cnn", "lazy", "linear", "mlp", "none", "pretrained", "vit")
    ]


def test_help_shows_groups_with_their_options_and_examples():
    done = run("train.py", "--help")
    assert done.stdout.count("python train.py") >= 5
    assert "optimizer: adam, adamw, muon, none, sgd" in done.stdout
    assert "--cfg job" in done.stdout

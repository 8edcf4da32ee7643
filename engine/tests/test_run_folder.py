import errno
import json
import os
import secrets
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from kindling.config import project
from kindling.config.plain import as_yaml
from kindling.errors import ConfigError, Interrupted
from kindling.files.whole_file import overwrite
from kindling.loggers.csv import MetricsCSV
from kindling.run_folders import record
from kindling.run_folders.lifecycle import recorded
from kindling.run_folders.lock import is_held
from kindling.run_folders.provenance import DIFF_LIMIT, git_state

STATUS_AFTER = {KeyboardInterrupt: "interrupted", Interrupted: "interrupted"}


def test_a_run_that_is_on_says_running(config, tmp_path):
    cfg = config()
    with recorded(cfg) as run:
        assert json.loads((run.folder / "run.json").read_text())["status"] == "running"
    assert json.loads((run.folder / "run.json").read_text())["status"] == "finished"


def test_secrets_reach_neither_config_nor_record(config, monkeypatch):
    secret = f"s{secrets.token_hex(4)}"  # no number
    comet = ["+logger.comet._target_=lightning.pytorch.loggers.CometLogger", f"+logger.comet.api_key={secret}"]
    monkeypatch.setattr("sys.argv", ["train.py", *comet])
    with pytest.raises(RuntimeError), recorded(config(*comet)) as run:
        raise RuntimeError(f"login with token={secret} failed")
    for file in ("run.json", "config.yaml"):
        text = (run.folder / file).read_text()
        assert secret not in text
        assert "<redacted>" in text


def test_earlier_attempts_stay_in_the_record(config):
    cfg = config()
    with pytest.raises(ZeroDivisionError), recorded(cfg):
        raise ZeroDivisionError
    cfg.resume = cfg.paths.run
    with pytest.raises(Interrupted), recorded(cfg):
        raise Interrupted("SIGTERM")
    with recorded(cfg) as run:
        pass
    record = json.loads((run.folder / "run.json").read_text())
    assert record["status"] == "finished"
    assert [attempt["status"] for attempt in record["earlier"]] == ["failed", "interrupted"]


def test_the_record_inside_a_record_is_the_same(config):
    with recorded(config()) as outer, recorded(config()) as inner:
        assert inner is outer
    assert json.loads((outer.folder / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Interrupted, SystemExit])
def test_an_error_in_a_nested_run_ends_it_once_and_the_next_run_has_a_record_of_its_own(config, error):
    with pytest.raises(error), recorded(config()) as failed, recorded(config()):
        raise error("the reason")
    with recorded(config()) as following:
        assert following is not failed
        assert not is_held(failed.folder)
    runs = [json.loads((run.folder / "run.json").read_text()) for run in (failed, following)]
    assert [run["status"] for run in runs] == [STATUS_AFTER.get(error, "failed"), "finished"]
    assert runs[0]["reason"] == f"{error.__name__}: the reason"


def test_an_inner_run_leaves_the_outer_one_open(config):
    with recorded(config()) as outer:
        with pytest.raises(ZeroDivisionError), recorded(config()):
            raise ZeroDivisionError
        with recorded(config()) as another:
            assert another is outer
        assert json.loads((outer.folder / "run.json").read_text())["status"] == "running"


def test_two_runs_in_two_threads_do_not_share_a_record(config):
    with recorded(config()) as outer, ThreadPoolExecutor() as pool:
        assert pool.submit(folder_of_a_run, config()).result() != outer.folder


def folder_of_a_run(cfg):
    with recorded(cfg) as run:
        return run.folder


def test_a_run_that_is_refused_before_it_starts_leaves_no_record_open(config):
    cfg = config()
    with recorded(cfg) as first:
        pass
    with pytest.raises(ConfigError, match="which holds a run"), recorded(cfg):
        pass
    with recorded(config()) as following:
        assert following.folder != first.folder


def test_a_run_that_is_refused_after_its_first_files_has_failed(config):
    def refuse(file: str) -> None:
        with recorded(config()) as run:
            (run.folder / file).touch()
            raise ConfigError(str(run.folder))

    with pytest.raises(ConfigError) as used:
        refuse("metrics.csv")
    facts = json.loads((Path(str(used.value)) / "run.json").read_text())
    assert (facts["status"], facts["reason"]) == ("failed", f"ConfigError: {used.value}")
    with pytest.raises(ConfigError) as unused:
        refuse("train.log")
    assert not Path(str(unused.value)).exists()


def test_only_the_first_process_writes(config, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with recorded(config()) as run:
        run.update(metrics={"x": 1.0})
    assert not (run.folder / "run.json").exists()


def test_git_tells_commit_and_a_capped_redacted_diff(tmp_path, monkeypatch):
    monkeypatch.setattr(project, "_current", project.Project(tmp_path, "bench"))
    assert git_state() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    (tmp_path / "file").write_text("a\n")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "file").write_text("a\napi_key = 'S3CRET'\n" + "line\n" * 100_000)
    state = git_state()
    assert state is not None
    assert len(state["commit"]) == 40
    assert "api_key" in state["diff"]
    assert "S3CRET" not in state["diff"]
    assert len(state["diff"]) < DIFF_LIMIT + 100


def test_metrics_csv_continues_where_a_resumed_run_goes_on(tmp_path):
    first = MetricsCSV(str(tmp_path))
    first.log_metrics({"loss": 0.5, "epoch": 0}, 1)
    state = first.state_dict()
    first.log_metrics({"loss": 1.0, "epoch": 0}, 2)
    first.log_metrics({"loss": 1.5, "epoch": 0}, 3)
    resumed = MetricsCSV(str(tmp_path))
    resumed.load_state_dict(state)
    resumed.log_metrics({"loss": 9.0, "epoch": 1}, 2)
    resumed.log_metrics({"val": 1.0, "epoch": 1}, 2)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,epoch,loss,val",
        "1,0,0.5,",
        "2,1,9.0,1.0",
    ]


def test_a_config_is_written_as_omegaconf_writes_it():
    config = {
        "text": ["1e3", "on", "a: b", "", "null", "ü", "two\nlines"],
        "none": None,
        "empty": [{}, []],
        "real": 1e-5,
    }
    assert as_yaml(config) == OmegaConf.to_yaml(OmegaConf.create(config))
    # A name of a file that is no UTF-8.
    config["text"].append("\udcff")
    assert as_yaml(config) == OmegaConf.to_yaml(OmegaConf.create(config))


def test_config_yaml_is_plain_yaml(config):
    with recorded(config("seed=5")) as run:
        pass
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["seed"] == 5


def test_metrics_csv_is_on_disk_after_each_call_and_grows_new_columns(tmp_path):
    logger = MetricsCSV(str(tmp_path))
    expected = []
    for step in range(3):
        logger.log_metrics({"loss": 0.5, "epoch": 0}, step)
        expected.append(f"{step},0,0.5")
        assert (tmp_path / "metrics.csv").read_text().splitlines() == ["step,epoch,loss", *expected]
    logger.log_metrics({"accuracy": 1.0, "epoch": 0}, 2)
    rows = ["0,0,,0.5", "1,0,,0.5", "2,0,1.0,0.5"]
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["step,epoch,accuracy,loss", *rows]


def test_a_signal_that_cuts_off_a_write_is_an_interruption(config):
    """torch.save raises an error of its own when a signal's exception passes through it."""
    error = RuntimeError("unexpected pos")
    error.__context__ = Interrupted("SIGTERM")
    with pytest.raises(RuntimeError), recorded(config()) as run:
        raise error
    assert json.loads((run.folder / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize(
    ("error", "says"),
    [(None, ("finished", None)), ("x", ("failed", "RuntimeError: x")), ("x" * 900, ("failed", None))],
    ids=["finished", "failed", "failed with many words"],
)
def test_a_run_that_ends_on_a_full_disk_says_so(config, monkeypatch, error, says):
    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with suppress(RuntimeError), recorded(config()) as run:
        monkeypatch.setattr(record, "write_whole", full)
        if error:
            raise RuntimeError(error)
    found = json.loads((run.folder / "run.json").read_text())
    assert (found["status"], found["reason"]) == says


def test_a_file_of_two_names_is_not_written_over(tmp_path):
    file = tmp_path / "run.json"
    file.write_text("long enough")
    os.link(file, tmp_path / "copy")
    with pytest.raises(OSError, match="No space left"):
        overwrite(file, b"short")
    assert file.read_text() == "long enough"

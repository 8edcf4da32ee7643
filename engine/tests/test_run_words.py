"""What a run says at its beginning, and how it can go on when something ended it."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kindling import testing
from kindling.console import set_up_logging
from kindling.errors import ConfigError, DivergedError, Interrupted, KindlingError
from kindling.run_folders import words
from kindling.run_folders.record import RunRecord


@pytest.fixture
def record(tmp_path, monkeypatch) -> Any:
    monkeypatch.setattr(HydraConfig, "initialized", staticmethod(lambda: True))
    monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: None))
    monkeypatch.setattr(words, "shown", str)
    monkeypatch.setattr(words, "in_sweep", lambda: False)
    return record_in(tmp_path / "cnn" / "run")


def record_in(folder: Path, status: str = "failed", command: str = "train.py experiment=cnn") -> RunRecord:
    (folder / "checkpoints").mkdir(parents=True)
    facts = {"status": status, "command": command, "started_at": "2026-01-01T00:00:00+00:00"}
    (folder / "run.json").write_text(json.dumps(facts))
    return RunRecord(folder, {"paths": {"logs": str(folder.parents[1])}, "experiment_name": "cnn", "seed": 0})


def notes(error: BaseException, record: RunRecord) -> list[str]:
    words.add_what_to_do(error, record)
    return getattr(error, "__notes__", [])


def test_an_interrupted_run_says_where_it_was_saved_and_what_goes_on_with_it(record):
    assert notes(Interrupted("SIGINT"), record) == ["nothing was saved yet"]
    for step in (9, 63):
        (record.folder / "checkpoints" / f"step_{step:09}.ckpt").touch()
    said = "saved at step 63; go on with: python train.py experiment=cnn resume=last"
    assert notes(Interrupted("SIGINT"), record) == [said]
    error = RuntimeError("cut off")
    error.__context__ = Interrupted("SIGTERM")
    assert notes(error, record) == []
    assert error.__context__.__notes__ == [said]


def test_a_run_that_is_not_the_newest_is_named_by_its_folder(record):
    (record.folder / "checkpoints" / "step_000000009.ckpt").touch()
    record_in(record.folder.parent / "run 2")
    (said,) = notes(Interrupted("SIGINT"), record)
    assert said.endswith(f"resume={record.folder}")
    record = record_in(record.folder.parent / "run 3", command="python -m pytest")
    (record.folder / "checkpoints" / "step_000000009.ckpt").touch()
    record_in(record.folder.parent / "run 4")
    (said,) = notes(Interrupted("SIGINT"), record)
    assert said == f"saved at step 9; go on with: \"resume='{record.folder}'\"", "of no command, the setting alone"


def test_a_failure_says_what_to_try(record):
    assert notes(ValueError("a bug"), record) == [f"its log: {record.folder}/train.log", words.TO_TRY]
    assert notes(KindlingError("which says it itself"), record) == []
    assert notes(ConfigError("which says it itself"), record) == []
    assert notes(DivergedError("which says it itself"), record) == []
    (record.folder / "checkpoints" / "step_000000009.ckpt").touch()
    assert notes(OSError("full"), record) == [
        "saved at step 9; once that is mended, go on with: python train.py experiment=cnn resume=last"
    ]


def test_the_first_line_says_what_runs_where_and_the_log_has_the_settings(tmp_path, caplog, monkeypatch):
    log = tmp_path / "train.log"
    handler = logging.FileHandler(log)
    logging.getLogger().addHandler(handler)
    caplog.set_level(logging.INFO)
    nodes = {"model": {"_target_": "m.CNN"}, "data": {"_target_": "d.MNIST"}, "task": None, "seed": 3}
    config = {**nodes, "paths": {"logs": str(tmp_path)}, "password": "hunter22"}
    monkeypatch.chdir(tmp_path)
    try:
        words.say_beginning(RunRecord(tmp_path / "cnn" / "run", config))
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert caplog.messages == ["CNN on MNIST, seed 3 → cnn/run"]
    assert "settings: {model: {_target_: m.CNN}, data: " in log.read_text()
    assert "hunter22" not in log.read_text()
    set_up_logging()


def test_what_a_command_in_this_process_leaves_is_gone_after_its_test():
    HydraConfig.instance().cfg = DictConfig({"hydra": {}})
    testing.pytest_runtest_teardown()
    assert not HydraConfig.initialized()

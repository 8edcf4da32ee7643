"""Run folders that anybody may have written: each file is read within bounds, and nothing leads out of the folder."""

import json
import os
import re
from pathlib import Path

import pytest

from kindling.cli.resolvers import log_file
from kindling.errors import ConfigError
from kindling.run_folders.lock import is_held
from kindling.run_folders.own_files import refuse_foreign_files
from kindling.run_folders.resumption import newest_unfinished
from kindling.run_folders.saved_run import run_of, saved_config


def run_in(folder: Path, config: str = "paths: {}\n") -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": "failed", "format": 4}))
    (folder / "config.yaml").write_text(config)
    return folder


def in_place_of(file: Path, kind: str) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file) if kind == "pipe" else file.symlink_to("/dev/zero")


MERGES = "\n".join(f"a{n + 1}: &a{n + 1}\n  <<: [*a{n}, *a{n}]" for n in range(24))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (f"a0: &a0 {{x: 1}}\n{MERGES}\npaths: {{}}\n", r"the alias \*a0"),
        ("paths: &a {}\nb: *a\n", r"the alias \*a"),
        ("x: " + "[" * 900_000, "nodes that lie more than 50 deep|maximum nesting depth"),  # from PyYAML 6.0.4 on
        ("x: " + ":".join(["1"] * 100_000), "a number of 199999 characters"),
        ("x: " + " " * 1_000_001, "holds more than 1,000,000 bytes"),
    ],
    ids=["merges", "an alias", "900,000 lists", "base 60", "spaces"],
)
def test_a_config_that_grows_when_it_is_read_is_refused(tmp_path, config, reason):
    with pytest.raises(ConfigError, match=r"whose config\.yaml holds no config") as refused:
        saved_config(run_in(tmp_path / "run", config))
    assert re.search(reason, str(refused.value))


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_in_a_run_folder_are_not_read(tmp_path, kind):
    folder = run_in(tmp_path / "run")
    in_place_of(folder / "config.yaml", kind)
    with pytest.raises(ConfigError, match="is no regular file"):
        saved_config(folder)
    in_place_of(folder / "run.json", kind)
    in_place_of(folder / ".lock", kind)
    assert run_of(folder) is None
    assert not is_held(folder)


def test_a_record_that_is_too_large_is_not_read(tmp_path):
    folder = run_in(tmp_path / "run")
    (folder / "run.json").write_text('{"status": "failed", "x": "' + "x" * 16_000_000 + '"}')
    assert run_of(folder) is None


def test_a_folder_that_cannot_be_read_does_not_hide_the_other_runs(tmp_path):
    whole = run_in(tmp_path / "default" / "whole")
    for kind in ("pipe", "device"):
        in_place_of(run_in(tmp_path / "default" / kind) / "run.json", kind)
    assert newest_unfinished(tmp_path / "default") == [whole]


@pytest.mark.parametrize("name", ["checkpoints", "evaluation", "metrics.csv", "run.json", "tensorboard/x"])
def test_a_link_that_leads_out_of_a_run_folder_is_refused(tmp_path, name):
    folder = run_in(tmp_path / "run")
    (folder / name).unlink(missing_ok=True)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=f"whose {name} is a link that leads out of it; allowed: files and folders"):
        refuse_foreign_files(folder)


def test_a_table_that_is_too_large_to_be_read_is_refused(tmp_path):
    folder = run_in(tmp_path / "run")
    (folder / "metrics.csv").touch()
    os.truncate(folder / "metrics.csv", 20_000_000_000)
    with pytest.raises(
        ConfigError, match=r"whose metrics\.csv has 20,000,000,000 bytes; allowed: 500,000,000; move it"
    ):
        refuse_foreign_files(folder)


def test_what_is_added_to_a_copy_by_hard_links_does_not_show_in_the_original(tmp_path):
    original, copy = run_in(tmp_path / "original"), run_in(tmp_path / "copy")
    for name in ("timings.csv", "metrics.csv", "train.log"):
        (original / name).write_text("before\n")
        os.link(original / name, copy / name)
    log_file(str(copy))
    refuse_foreign_files(copy)
    for name in ("timings.csv", "metrics.csv", "train.log"):
        assert (copy / name).read_text() == "before\n"
        with (copy / name).open("a") as stream:
            stream.write("after\n")
        assert (original / name).read_text() == "before\n"


@pytest.mark.needs("trackers")
def test_a_link_within_a_run_folder_and_those_of_a_tracker_are_allowed(tmp_path):
    folder = run_in(tmp_path / "run")
    (folder / "latest.json").symlink_to("run.json")
    (folder / "wandb").mkdir()
    (folder / "wandb" / "core.log").symlink_to("/var/log/core.log")
    refuse_foreign_files(folder)


def test_a_pipe_is_refused_wherever_it_lies(tmp_path):
    folder = run_in(tmp_path / "run")
    (folder / "checkpoints").mkdir()
    os.mkfifo(folder / "checkpoints" / "step_1.ckpt")
    with pytest.raises(ConfigError, match=r"whose checkpoints/step_1\.ckpt is a pipe or a device"):
        refuse_foreign_files(folder)


def test_a_log_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "train.log")
    with pytest.raises(ConfigError, match=r"whose train\.log is no file"):
        log_file(str(tmp_path))

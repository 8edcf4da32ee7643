"""python runs.py: runs as a table, whatever lies in their folders."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attacks import SMALL, World, attacks_through
from bench_root import PROJECT
from kindling import runs
from kindling.cli.entry import compose
from kindling.run_folders.listing import rows_of
from kindling.run_folders.lock import RunLock


def write_run(folder: Path, status: str = "finished", **more) -> Path:
    folder.mkdir(parents=True)
    facts = {"status": status, "started_at": "2026-01-02T03:04:05+00:00", "reason": None, **more}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for number, lr in enumerate([0.1, 0.01, 0.001]):
        more = {"settings": {"optimizer.lr": lr, "model._target_": "a.B"}, "metrics": {"val/loss": 3.0 - number}}
        write_run(tmp_path / "logs" / "cnn" / str(number), best={"monitor": "val/loss", "score": 3.0 - number}, **more)
    write_run(tmp_path / "logs" / "cnn" / "3", "failed", reason="RuntimeError: of\nmany lines")
    write_run(tmp_path / "logs" / "sweeps" / "cnn_grid" / "0", "running")
    broken = tmp_path / "logs" / "old" / "broken"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{")
    return tmp_path / "logs"


def listed(capsys, *arguments: object) -> tuple[int, list[str], str]:
    code = runs.main(str(PROJECT / "runs.py"), [str(each) for each in arguments])
    out, err = capsys.readouterr()
    return code, [line.rstrip() for line in out.splitlines()], err


def test_each_run_is_listed_with_its_status_and_what_is_broken_is_listed_as_such(capsys, logs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, lines, _ = listed(capsys, "ls", logs)
    assert code == 0
    assert [line.split()[:2] for line in lines[1:-1]] == [
        *(["cnn/0", "finished"], ["cnn/1", "finished"], ["cnn/2", "finished"], ["cnn/3", "failed"]),
        *(["old/broken", "unreadable"], ["sweeps/cnn_grid/0", "killed"]),
    ]
    assert lines[4].endswith("RuntimeError: of…")
    assert lines[-1].startswith(f"6 runs in {logs}")


@pytest.mark.parametrize("instead", ["nothing", "folder"])
def test_a_run_whose_run_json_is_lost_is_listed_as_such(tmp_path, instead):
    folder = tmp_path / "lost"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").touch()
    if instead == "folder":
        (folder / "run.json").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "config.yaml").touch()
    (row,) = rows_of(tmp_path)
    assert (row["run"], row["status"], row["reason"]) == ("lost", "unreadable", "there is no file run.json")


def test_a_run_that_a_process_works_in_is_running(capsys, logs):
    lock = RunLock(logs / "sweeps" / "cnn_grid" / "0")
    lock.acquire()
    assert [row["status"] for row in rows_of(logs / "sweeps")] == ["running"]
    lock.release()


def test_runs_are_filtered_and_sorted_by_settings_and_metrics(capsys, logs):
    columns = ["--columns", "optimizer.lr,val/loss"]
    code, lines, _ = listed(capsys, "ls", logs, *columns, "--where", "optimizer.lr<0.1", "--sort", "val/loss")
    assert code == 0
    assert [line.split()[0] for line in lines[1:-1]] == ["cnn/2", "cnn/1"]
    assert lines[1].split()[-2:] == ["0.001", "1"]
    assert lines[-1].endswith("2 runs in " + str(logs) + "; 4 left out by --where")
    _, lines, _ = listed(capsys, "ls", logs, "--sort", "val/loss", "--reverse", "--where", "status!=failed")
    assert [line.split()[0] for line in lines[1:4]] == ["cnn/0", "cnn/1", "cnn/2"]


def test_json_has_all_settings_and_metrics(capsys, logs):
    code, lines, _ = listed(capsys, "ls", logs, "--json", "--where", "run=cnn/1")
    (row,) = json.loads("\n".join(lines))
    assert code == 0
    assert (row["status"], row["optimizer.lr"], row["val/loss"]) == ("finished", 0.01, 2.0)


@pytest.mark.needs("sweeps")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["ls", "{logs}/nowhere"],
            "error: folder: given {logs}/nowhere, which is no folder; allowed: one with runs in",
        ),
        (["ls", "{logs}", "--sort", "vall/loss"], "error: --sort: given vall/loss; "),
        (["ls", "{logs}", "--columns", "optimiser.lr"], "did you mean optimizer.lr?"),
        (["ls", "{logs}", "--where", "status"], "error: --where: given status; allowed: a column, one of >= <= != = >"),
        (["sweep", "{logs}"], "error: folder: given {logs}, which holds no sweep; allowed: a folder below logs/sweeps"),
        (["lst"], "error: argument ls|sweep|confirm: invalid choice: 'lst'"),
        ([], "error: the following arguments are required: ls|sweep|confirm; see python runs.py --help"),
    ],
)
def test_what_cannot_be_listed_is_one_line(capsys, logs, arguments, said):
    code, lines, error = listed(capsys, *(each.format(logs=logs) for each in arguments))
    assert (code, lines, len(error.splitlines())) == (2, [], 1)
    assert said.format(logs=logs) in error


def test_a_reason_cannot_move_the_cursor(capsys, tmp_path):
    write_run(tmp_path / "logs" / "a", "failed", reason="\x1b[2Jgone \x07")
    _, lines, _ = listed(capsys, "ls", tmp_path / "logs")
    assert "\x1b" not in "".join(lines)
    assert "gone" in lines[1]


def test_a_table_fits_eighty_columns_and_says_what_has_no_room(capsys, logs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = f"2026-11-27_{'0' * 40}"
    write_run(logs / "cnn" / name, settings={f"k{number}": number for number in range(10_000)})
    columns = ["--columns", ",".join(f"k{number}" for number in range(10_000))]
    _, lines, _ = listed(capsys, "ls", logs, *columns, "--where", f"run=cnn/{name}")
    assert max(map(len, lines[:-1])) <= 80
    assert "".join(line.split()[0] for line in lines[1:-1]) == f"cnn/{name}"
    assert "no room for k10, k11, k12 and 9989 more, which --json has" in lines[-1]
    _, lines, _ = listed(capsys, "ls", logs, "--where", "status=failed")
    assert lines[:-1] == [
        "run    status  started           reason",
        "cnn/3  failed  2026-01-02 03:04  RuntimeError: of…",
    ]


def test_numbers_of_any_size_are_sorted_and_compared(capsys, tmp_path):
    for name, value in {"a": 10**400, "b": float("nan"), "c": 2, "d": float("inf"), "e": -1.5}.items():
        write_run(tmp_path / name, metrics={"x": value}, settings={"hidden": [1, 2], "run": "no"})
    _, lines, _ = listed(capsys, "ls", tmp_path, "--sort", "x")
    assert [line.split()[0] for line in lines[1:-1]] == ["e", "c", "a", "d", "b"]
    _, lines, _ = listed(capsys, "ls", tmp_path, "--where", "x>1", "--where", "hidden=[1,2]", "--json")
    assert [row["run"] for row in json.loads("\n".join(lines))] == ["a", "c", "d"]


def test_a_list_of_runs_waits_for_no_heavy_import():
    heavy = "hydra", "omegaconf", "torch", "optuna", "matplotlib"
    code = f"import sys, kindling.runs; print([each for each in {heavy} if each in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.slow
def test_the_folders_of_all_attacks_are_listed_and_nothing_of_them_is_executed(capsys, tmp_path):
    from kindling.train import train

    cfg = compose([*SMALL, "trainer.max_epochs=1", f"paths.logs={tmp_path}/honest"])
    train(cfg)
    capsys.readouterr()
    attacks = attacks_through("train.py resume")
    for number, attack in enumerate(attacks.values()):
        attack.do(World(tmp_path / "logs" / str(number), Path(cfg.paths.run), "train.py resume"))
    code, lines, error = listed(capsys, "ls", tmp_path / "logs")
    assert (code, error) == (0, "")
    assert len(lines) > len(attacks) / 2
    assert not list(tmp_path.rglob("executed"))


def test_a_link_in_a_circle_is_not_followed(capsys, logs):
    os.symlink(logs, logs / "cnn" / "again")
    _, lines, _ = listed(capsys, "ls", logs)
    assert lines[-1].startswith("6 runs")

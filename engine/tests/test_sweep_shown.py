"""What a person sees of a sweep: the table of its trials, their pictures, the study for a dashboard."""

import json
import sqlite3
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench_root import PROJECT
from kindling import runs
from kindling.run_folders.lock import RunLock
from kindling.run_folders.trials import Trial, read_sweep, read_trials
from kindling.sweeps import ending, table, words

SPACE = {
    "optimizer.lr": "tag(log,interval(1e-4,1e-1))",
    "optimizer": "adamw,sgd",
    "optimizer.momentum": "interval(0.5,0.99) when optimizer=sgd",
    "model.hidden": "[8],[16,8]",
}


def test_the_line_of_a_trial_has_the_first_digits_of_drawn_numbers(tmp_path):
    given = ["optimizer.lr=0.08311303692128176", "model.dropout=0.25", "data.root=v1.2345678"]
    trial = Trial(tmp_path / "1", {}, given, {"state": "failed", "reason": "killed\nby 9"})
    line = words.line(trial, [trial], {"monitor": "val/loss", "better": "min"}, 12)
    assert line == "trial 1: optimizer.lr=0.08311 model.dropout=0.25 data.root=v1.2345678: failed, killed; 12 s left"


def write_sweep(folder: Path, trials: list[tuple[dict[str, Any], str, Any]], **more: Any) -> Path:
    """A sweep with a trial for each (settings, status, values at each validation, or the reason of a failure)."""
    folder.mkdir(parents=True)
    settings = {"params": SPACE, "overrides": [], "monitor": "val/loss", "better": "min", **more}
    (folder / "sweep.json").write_text(json.dumps(settings))
    for number, (params, status, values) in enumerate(trials):
        trial = folder / str(number)
        trial.mkdir()
        texts = {key: str(value) for key, value in params.items()}
        overrides = [f"{key}={value}" for key, value in texts.items()]
        (trial / "trial.json").write_text(json.dumps({"params": texts, "overrides": overrides, "outcome": {}}))
        if status == "claimed":
            continue
        facts: dict[str, Any] = {"status": status, "started_at": "2026-01-02T03:04:05+00:00", "reason": None}
        if isinstance(values, str):
            facts["reason"] = values
        else:
            facts |= {"best": {"monitor": "val/loss", "score": min(values)}, "num_parameters": 1000 - number}
            rows = [f"{step},{value}" for step, value in enumerate(values)]
            (trial / "metrics.csv").write_text("\n".join(["step,val/loss", *rows, ""]))
        (trial / "run.json").write_text(json.dumps(facts))
    return folder


def some(**more: Any) -> list[tuple[dict[str, Any], str, Any]]:
    first = {"optimizer.lr": 0.0123456789, "optimizer": "adamw", "model.hidden": "[16,8]", **more}
    second = {"optimizer.lr": 0.001, "optimizer": "sgd", "optimizer.momentum": 0.9, "model.hidden": "[8]", **more}
    return [
        (first, "finished", [0.5, 0.4]),
        (second, "failed", "OutOfMemoryError: no memory\nat all"),
        (second, "pruned", [3.0]),
        (second, "finished", [0.3, 0.35]),
        (first, "running", [0.9]),
        (first, "failed", "OutOfMemoryError: no memory"),
        (first, "claimed", []),
        (first, "interrupted", [0.2]),
    ]


def shown(capsys: Any, *arguments: object) -> tuple[int, list[str], str]:
    code = runs.main(str(PROJECT / "runs.py"), ["sweep", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, [line.rstrip() for line in out.splitlines()], err


def test_a_table_has_the_best_first_then_those_without_a_number_and_why(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder = write_sweep(tmp_path / "s", some())
    lock = RunLock(folder / "4")
    lock.acquire()
    code, lines, _ = shown(capsys, folder)
    lock.release()
    assert code == 0
    assert lines[0].split() == ["trial", "val/loss", "lr", "optimizer", "momentum", "hidden"]
    assert lines[1].split() == ["3", "0.3", "0.001", "sgd", "0.9", "[8]"]
    assert lines[2].split() == ["0", "0.4", "0.01235", "adamw", "[16,8]"]
    assert [(line.split()[0], line.split()[-1]) for line in lines[3:9]] == [
        *(("4", "running"), ("7", "interrupted"), ("6", "begun"), ("2", "pruned"), ("1", "failed"), ("5", "failed"))
    ]
    assert lines[9] == "failed: trials 1, 5: OutOfMemoryError: no memory"
    assert lines[10].startswith("best: trial 3, val/loss 0.3: optimizer.lr=0.001 optimizer=sgd")


def test_a_line_of_a_trial_has_short_numbers_and_the_best_has_exact_ones(tmp_path):
    trials = read_trials(write_sweep(tmp_path / "s", some()))
    settings = {"monitor": "val/loss", "better": "min"}
    said = "optimizer.lr=0.01235 optimizer=adamw model.hidden=[16,8]: val/loss 0.4; best 0.3, trial 3; 9 s left"
    assert words.line(trials[0], trials, settings, 9) == f"trial 0: {said}"
    assert words.chosen(trials[0]).startswith("optimizer.lr=0.0123456789 ")


def test_what_cannot_be_read_of_a_trial_is_said_and_the_others_are_shown(capsys, tmp_path):
    folder = write_sweep(tmp_path / "s", some())
    (folder / "0" / "run.json").write_text('{"status": "finished", "best": [0.1]}')
    (folder / "2" / "run.json").write_bytes(b"\xff\xfe{")
    (folder / "7" / "run.json").write_text(
        f'{{"status": "finished", "best": {{"monitor": {{}}, "score": 1{"0" * 400}}}}}'
    )
    (folder / "4" / "trial.json").write_text('{"params": ')
    code, lines, _ = shown(capsys, folder)
    states = {line.split()[0]: line.split()[-1] for line in lines[2:8]}
    assert code == 0
    assert lines[1].split()[:2] == ["3", "0.3"]
    assert [states[trial] for trial in "0267"] == ["unreadable", "unreadable", "begun", "number"]
    assert "left out: trial 4, whose trial.json cannot be read" in lines
    assert runs.main(str(PROJECT / "runs.py"), ["ls", str(folder)]) == 0


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("num_settings", [4, 8, 12])
def test_a_table_fits_the_terminal_and_loses_no_setting(tmp_path, columns, num_settings):
    more = {f"callbacks.some_callback.setting_{number}": f"value-{number}-{'x' * 9}" for number in range(num_settings)}
    folder = write_sweep(tmp_path / "s", some(**more), params=SPACE | dict.fromkeys(more, "a,b"))
    console = Console(width=columns, record=True, file=StringIO())
    console.print(table.table(read_trials(folder), read_sweep(folder) or {}, columns=columns))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= columns
    assert all(text.count(value) == 8 for value in more.values())


def test_a_setting_is_called_by_the_shortest_end_that_no_other_has():
    keys = ["optimizer.lr", "scheduler.lr", "optimizer", "+model.optimizer", "model.hidden"]
    short = ["optimizer.lr", "scheduler.lr", "optimizer", "model.optimizer", "hidden"]
    assert list(table.short_names(keys).values()) == short


def test_of_several_objectives_the_front_is_marked_and_comes_first(capsys, tmp_path):
    trials = [*some(), (some()[0][0], "finished", [0.9])]
    folder = write_sweep(tmp_path / "s", trials, objectives={"val/loss": "min", "parameters": "min"})
    _, lines, _ = shown(capsys, folder)
    assert lines[0].split()[:3] == ["trial", "val/loss", "parameters"]
    assert [(line.split()[:3], line.split()[-1]) for line in lines[1:4]] == [
        *((["3", "0.3", "997"], "front"), (["8", "0.9", "992"], "front"), (["0", "0.4", "1000"], "[16,8]"))
    ]
    assert lines[-2] == "none is better in all than trials 3, 8"


def test_of_seeds_none_is_the_best_and_the_spread_is_said(capsys, tmp_path):
    trials = [({"seed": number}, "finished", [loss]) for number, loss in enumerate([0.1, 0.2, 0.3])]
    _, lines, _ = shown(capsys, write_sweep(tmp_path / "s", trials, params={"seed": "0,1,2"}))
    assert lines[-2:] == ["mean ± standard deviation: val/loss 0.2 ± 0.1", f"3 finished; {tmp_path / 's'}"]


def test_json_has_all_trials_with_all_settings(capsys, tmp_path):
    _, lines, _ = shown(capsys, write_sweep(tmp_path / "s", some()), "--json")
    trials = json.loads("\n".join(lines))
    assert [trial["trial"] for trial in trials] == [3, 0, 7, 4, 6, 2, 1, 5]
    assert (trials[0]["values"], trials[0]["params"]["optimizer.lr"]) == ({"val/loss": 0.3}, "0.001")


@pytest.mark.parametrize(
    "more",
    [{"params": None}, {"better": "up"}, {"monitor": 1}, {"objectives": []}, {"objectives": {"a": "x"}}],
)
def test_a_file_that_describes_no_sweep_is_refused(capsys, tmp_path, more):
    code, lines, error = shown(capsys, write_sweep(tmp_path / "s", some(), **more))
    assert (code, lines) == (2, [])
    assert "holds no sweep; allowed: a folder below logs/sweeps" in error
    (tmp_path / "sweep.json").write_text("{")
    code, _, error = shown(capsys, tmp_path)
    assert code == 2
    assert "; allowed: the file as its sweep wrote it; put it back, or remove the folder and run the sweep a" in error


def test_a_sweep_without_results_has_words_instead_of_pictures(capsys, tmp_path):
    code, lines, error = shown(capsys, write_sweep(tmp_path / "s", []), "--plots")
    assert (code, error) == (0, "")
    assert lines == [
        f"no trial yet; {tmp_path / 's'}",
        "pictures: none; fewer than two trials have finished with a number",
    ]


@pytest.mark.slow
def test_whatever_the_trials_hold_is_drawn_and_is_a_study(capsys, tmp_path):
    odd = {
        "a\x1b[2J$x^": "1,2",
        "few": "tag(log,interval(0.1,1))",
        "many": ",".join(map(str, range(300))),
        "none": None,
    }
    values = [("1", "-5"), ("2", "nan"), ("3", "0.0"), ("$", "0.5"), ("\x1b[31m", "1e999"), ("1", "x")]
    trials = [
        ({"a\x1b[2J$x^": text, "few": number, "many": 7}, "finished", [float(place)])
        for place, (text, number) in enumerate(values)
    ]
    folder = write_sweep(tmp_path / "s", [*trials, ({}, "finished", [10**400])], params=odd)
    code, lines, error = shown(capsys, folder, "--plots", "--db", tmp_path / "a.db")
    assert (code, error) == (0, "")
    assert "\x1b" not in "".join(lines)
    code, lines, _ = shown(capsys, write_sweep(tmp_path / "t", trials, params={}), "--plots")
    assert (code, lines[-1].split(": ")[-1]) == (0, "history.png")


def test_a_default_outside_of_the_space_is_no_parameter_for_optuna(tmp_path):
    from kindling.sweeps.sampling import frozen
    from kindling.sweeps.study import space_of

    params = {"optimizer.weight_decay": "tag(log,interval(1e-6,1))"}
    folder = write_sweep(tmp_path / "s", [({"optimizer.weight_decay": 0.0}, "finished", [1.0])], params=params)
    (trial,) = read_trials(folder)
    assert frozen(trial, space_of({"params": params}, []), {"val/loss": "min"}).params == {}


def many(num: int) -> list[tuple[dict[str, Any], str, Any]]:
    eights = product(range(num // 8), some())
    return [(params | {"optimizer.lr": 0.01 / (1 + eight)}, status, found) for eight, (params, status, found) in eights]


@pytest.mark.slow
@pytest.mark.parametrize(("num", "has_importance"), [(8, False), (64, True)])
def test_pictures_lie_in_the_folder_of_the_sweep(capsys, tmp_path, num, has_importance):
    code, lines, _ = shown(capsys, write_sweep(tmp_path / "s", many(num)), "--plots")
    files = {file.name for file in (tmp_path / "s" / "plots").iterdir()}
    assert code == 0
    assert files == {"history.png", "slices.png", "parallel.png"} | ({"importance.png"} if has_importance else set())
    assert lines[-1].count(".png") == len(files)


@pytest.mark.slow
def test_a_study_has_each_trial_with_its_state_values_and_story(capsys, tmp_path):
    import optuna

    folder, file = write_sweep(tmp_path / "s", some()), tmp_path / "a b%20#?.db"
    assert shown(capsys, folder, "--db", file)[0] == 0
    # Again, and whole.
    assert shown(capsys, folder, "--db", file)[0] == 0
    assert list(tmp_path.glob(".*")) == []
    assert shown(capsys, write_sweep(tmp_path / "other", []), "--db", file)[0] == 2
    database = sqlite3.connect(":memory:")
    database.deserialize(file.read_bytes())
    assert database.execute("select study_name from studies").fetchall() == [("s",)]
    storage = optuna.storages.RDBStorage(f"sqlite:///{file.rename(tmp_path / 'plain.db')}")
    trials = optuna.load_study(study_name="s", storage=storage).trials
    states = ["COMPLETE", "FAIL", "PRUNED", "COMPLETE", "RUNNING", "FAIL", "RUNNING", "RUNNING"]
    assert [trial.state.name for trial in trials] == states
    assert (trials[3].value, trials[3].intermediate_values, trials[2].value) == (0.3, {0: 0.3, 1: 0.35}, 3.0)
    assert (trials[3].params["optimizer.momentum"], trials[0].params["model.hidden"]) == (0.9, "[16,8]")
    assert trials[1].user_attrs["reason"].startswith("OutOfMemoryError")
    storage.engine.dispose()


def test_a_study_replaces_no_file_of_somebody_else(capsys, tmp_path):
    one, other = write_sweep(tmp_path / "one", []), write_sweep(tmp_path / "other", [])
    foreign = tmp_path / "sweep.db"
    foreign.write_bytes(b"precious")
    for folder in (one, other):
        code, _, error = shown(capsys, folder, "--db", foreign)
        assert (code, foreign.read_bytes()) == (2, b"precious")
        assert f"--db: given {foreign}, which is not of this sweep; allowed: a new file" in error


def test_what_was_among_the_best_and_is_no_more_leaves_no_recipe_behind(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(ending, "recipe", lambda loader, overrides, title: f"# @package _global_\n# {title}\n")
    sweep = write_sweep(tmp_path / "a b" / "s", some(), objectives={"val/loss": "min", "parameters": "min"})
    own = ["best.yaml", "best_0.yaml", "best_7.yaml"]
    for name in (*own, "best_mine.yaml"):
        (sweep / name).write_text("# @package _global_\n# The best of s: trial 7, val/loss 1\n")
    (sweep / "best_9.yaml").write_text("# @package _global_\n# written by hand\n")
    ending._write_best(sweep, read_sweep(sweep) or {}, read_trials(sweep), None, [])
    assert sorted(file.name for file in sweep.glob("best*")) == ["best_3.yaml", "best_9.yaml", "best_mine.yaml"]
    assert f"cp '{sweep}/best_3.yaml' " in capsys.readouterr().out

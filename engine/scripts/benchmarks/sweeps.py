"""What `runs.py ls` takes over many runs, and what pruning saves in a sweep."""

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.commands import TRAIN, wall
from benchmarks.measured import PROJECT
from benchmarks.table import Row, least
from kindling.run_folders.trials import Trial, read_trials

RUNS = 500
# Of a run.json as a run leaves it: its settings, versions and hardware.
BYTES = 8_000
SWEEP = (
    *("experiment=cnn", "sweep=optuna", "sweep.n_trials=32", "sweep.n_jobs=2", "trainer.max_epochs=4", "test=false"),
    *("optimizer.lr=tag(log,interval(1e-5,1e-1))", "model.dropout=interval(0,0.6)"),
    "optimizer.weight_decay=tag(log,interval(1e-4,1))",
)


def runs() -> list[Row]:
    """500 run folders, listed, sorted and filtered."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(RUNS):
            write_run(Path(folder) / "cnn" / str(number), number)
        command = (str(PROJECT / "runs.py"), "ls", folder)
        further = ("--columns", "setting_3", "--where", "val/loss<0.5", "--sort", "val/loss")
        seconds = least({"all": lambda: wall(*command), "some": lambda: wall(*command, *further)})
    return [
        Row(f"{RUNS} runs listed, with the start of Python", seconds["all"], "s", "<= 1"),
        Row("the same, filtered and sorted by a metric", seconds["some"], "s", "<= 1"),
    ]


def write_run(folder: Path, number: int) -> None:
    """A run.json of the size that runs leave."""
    settings = {f"setting_{each}": number * each for each in range(200)}
    facts = {"status": "finished", "started_at": "2026-01-02T03:04:05+00:00", "reason": None, "settings": settings}
    metrics = {"val/loss": number / RUNS, "val/accuracy": 1 - number / RUNS}
    text = json.dumps(facts | {"metrics": metrics}, indent=2)
    folder.mkdir(parents=True)
    folder.joinpath("run.json").write_text(text[:-2] + f',\n  "git": "{"x" * max(0, BYTES - len(text))}"\n}}')


def pruning() -> list[Row]:
    """32 trials of experiment=cnn, two at a time, with the median pruner and without; once each."""
    rows = []
    for pruner in ("null", "median"):
        with tempfile.TemporaryDirectory() as folder:
            seconds = wall(TRAIN, "-m", *SWEEP, f"sweep.pruner={pruner}", f"paths.logs={folder}", code=None)
            # Their metrics.csv is read when it is asked for.
            found = outcome(pruner, read_trials(Path(folder) / "sweeps" / "cnn_optuna"))
        rows += [Row(f"pruner {pruner}: whole sweep", seconds, "s"), *found]
    rows.append(Row("with the pruner, against without", rows[len(rows) // 2].value / rows[0].value, "times"))
    return rows


def outcome(pruner: str, trials: list[Trial]) -> list[Row]:
    if not any(trial.score is not None for trial in trials):
        sys.exit(f"pruner {pruner}: no trial has finished")
    finished = [trial for trial in trials if trial.score is not None]
    accuracies = [value for trial in finished if (value := trial.value("val/accuracy")) is not None]
    return [
        Row(f"pruner {pruner}: best val/accuracy", max(accuracies)),
        Row(f"pruner {pruner}: finished", len(finished), "trials"),
        Row(f"pruner {pruner}: pruned", sum(trial.state == "pruned" for trial in trials), "trials"),
        Row(f"pruner {pruner}: epochs", sum(len(trial.reports("val/loss")) for trial in trials)),
    ]

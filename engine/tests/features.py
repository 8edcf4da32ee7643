"""Every feature with recipes of the project and with modules that know nothing of the engine: works, or refused why.

    python engine/tests/features.py cnn diabetes gpt          recipes of the project, and the foreign modules of bench/
    python engine/tests/features.py --only doctor find_lr     features whose names hold one of the words
    python engine/tests/features.py --foreign GAN             foreign modules whose names hold one of the words

Each run is forked from this process, which has imported everything. A run that ends well must also have left what its
feature leaves; one that is refused must say so in one line, before it trains.
"""

import argparse
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import bench_root
from feature_list import FEATURES, Evidence, Feature, Left, finished
from kindling.config import project
from kindling.testing.commands import Done, Fork

# By name: the class of the task, and of the data with its settings.
FOREIGN: dict[str, tuple[str, dict[str, Any]]] = {
    "boring": ("foreign.boring_classes.BoringModel", {"_target_": "foreign.boring_classes.BoringDataModule"}),
    "GAN": ("adapters.GAN(size=4)", {"_target_": "adapters.Numbers", "num": 24, "size": 4, "batch_size": 4}),
    "several loaders": ("adapters.OfSeveral", {"_target_": "foreign.boring_classes.IterableBoringDataModule"}),
    "every hook": (
        "adapters.LogsInEveryHook(size=4)",
        {"_target_": "adapters.Numbers", "num": 24, "size": 4, "batch_size": 4},
    ),
    "stream": ("foreign.boring_classes.BoringModel", {"_target_": "foreign.boring_classes.BoringDataModuleNoLen"}),
}


LONGEST_S = 400


class Subject(NamedTuple):
    """What a feature is tried with: a project, and the overrides that name the task and the data."""

    name: str
    root: Path
    overrides: list[str]


def foreign(name: str) -> Subject:
    """A foreign module as its owner would train it: a recipe of bench/ with its task and its data."""
    target, _, settings = FOREIGN[name][0].partition("(")
    task = [f"+task.{each}" for each in settings.rstrip(")").split(",") if each]
    data = FOREIGN[name][1]
    file = f"foreign_{name.replace(' ', '_')}"
    lines = [f"{key}: {'bench.' if key == '_target_' else ''}{value}" for key, value in data.items()]
    (bench_root.CONFIGS / "data" / f"{file}.yaml").write_text("\n".join([*lines, ""]))
    none = [f"{group}=none" for group in ("model", "optimizer", "scheduler")]
    # What several loaders of validation log has the loader's number.
    monitor = ["monitor=val_loss/dataloader_idx_0"] if name == "several loaders" else []
    lines = ["task=plain", f"task._target_=bench.{target}", *task, f"data={file}", *none, *monitor]
    return Subject(name, bench_root.PROJECT, lines)


def run(subject: Subject, feature: Feature, folder: Path, base: Path) -> tuple[Done, Path]:
    """One run, in a process of its own."""
    folder.mkdir(parents=True)
    asked = [each.format(base=base) for each in feature.overrides]
    own = [each for each in subject.overrides if each.partition("=")[0] not in {a.partition("=")[0] for a in asked}]
    project.use(subject.root)

    class Patched(Fork):
        def _run(self, script: str, arguments: tuple[str, ...]) -> None:
            if feature.patch:
                feature.patch()
            super()._run(script, arguments)

    fork = Patched(folder, "train.py", *own, *feature.tiny, *asked, f"paths.logs={folder}")
    try:
        # The first compilation of a net takes its time.
        fork.process.join(timeout=LONGEST_S)
        if fork.process.is_alive():
            return Done(-1, "", f"still running after {LONGEST_S} s"), folder
        done = fork.result()
    finally:
        fork.process.kill()
    runs = [file.parent for file in folder.rglob("run.json")]
    return done, runs[0] if runs else folder


# What a run says of every plain module, whatever is asked of it.
SAID_ANYWAY = "callbacks.early_stopping: given no metric"


def verdict(done: Done, left: Left, leaves: Evidence) -> str:
    """`works`, the line of what is refused or left out, or what is wrong."""
    lines = [line for line in done.stderr.splitlines() if line.strip() and SAID_ANYWAY not in line]
    last = lines[-1] if lines else ""
    if "Traceback" in done.stderr or done.returncode not in (0, 1, 2):
        return f"WRONG: exit {done.returncode}: {last}"
    if done.returncode:
        refusals = [line for line in lines if line.startswith("error: ")] or [last]
        if done.returncode == 1 or any(left.folder.glob("checkpoints/*.ckpt")):
            return f"WRONG: exit {done.returncode}, perhaps after training: {' | '.join(refusals)}"
        return f"refused: {' | '.join(refusals)}"
    left_out = [line for line in lines if "left out: " in line or ": left out" in line]
    is_there = False
    with suppress(Exception):
        is_there = leaves(left)
    if is_there:
        return "works" + "".join(f"; {line}" for line in left_out)
    return left_out[0] if left_out else f"WRONG: nothing is left of it; {last}"


def tried(subject: Subject, feature: Feature, folder: Path, base: Path) -> str:
    done, run_folder = run(subject, feature, folder, base)
    return verdict(done, Left(run_folder, done.stdout + done.stderr, base), feature.leaves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="of the project, by name")
    parser.add_argument("--only", nargs="+", default=[""], help="features whose names hold one of the words")
    parser.add_argument("--foreign", nargs="*", default=[""], help="foreign modules whose names hold one of the words")
    parser.add_argument("--keep", help="a folder for the runs")
    given = parser.parse_args()
    import kindling.train  # noqa: F401  forked runs have it then

    sys.path.insert(0, str(bench_root.REPOSITORY / "src"))
    subjects = [Subject(name, bench_root.REPOSITORY, [f"experiment={name}"]) for name in given.recipes]
    subjects += [foreign(name) for name in FOREIGN if any(word in name for word in given.foreign)]
    features = {name: each for name, each in FEATURES.items() if any(word in name for word in given.only)}
    folder = Path(given.keep or tempfile.mkdtemp(prefix="features-"))
    wrong = 0
    for subject in subjects:
        _, base = run(subject, Feature([], finished), folder / subject.name.replace(" ", "_") / "base", folder)
        for name, feature in features.items():
            place = folder / subject.name.replace(" ", "_") / name.replace("=", "_")
            found = tried(subject, feature, place, base)
            wrong += found.startswith("WRONG")
            print(f"{subject.name:16} {name:24} {found}", flush=True)
    if not given.keep:
        shutil.rmtree(folder)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

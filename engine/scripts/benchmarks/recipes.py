"""Recipes from command to exit: accuracy and seconds over seeds, the same bits twice, answers to mistakes."""

import hashlib
import statistics
import sys
import tempfile

from benchmarks.commands import TRAIN, Record, ratio, trained
from benchmarks.table import Row
from compare_mistakes import MISTAKES


def seeds(overrides: list[str]) -> list[Row]:
    """Test accuracy and wall seconds of one run for each of five seeds, or of --seeds=N."""
    num_seeds, settings = seeds_of(overrides)
    accuracies, walls = [], []
    for seed in range(num_seeds):
        run = trained(*settings, f"seed={seed}")
        accuracies.append(run.facts["metrics"]["test/accuracy"])
        walls.append(run.wall_s)
        print(f"seed {seed}: test/accuracy {accuracies[-1]:.4f}  {run.wall_s:.1f} s", file=sys.stderr)
    return [
        Row(f"test accuracy, mean over {num_seeds} seeds", statistics.mean(accuracies)),
        Row("test accuracy, standard deviation", statistics.stdev(accuracies)),
        Row("from command to exit, mean", statistics.mean(walls), "s"),
        Row("from command to exit, standard deviation", statistics.stdev(walls), "s"),
    ]


def seeds_of(arguments: list[str]) -> tuple[int, list[str]]:
    """How many seeds --seeds= asks for, five by default, and the other arguments."""
    flags = [argument for argument in arguments if argument.startswith("--seeds=")]
    given = flags[-1].removeprefix("--seeds=") if flags else "5"
    if not given.isdecimal() or int(given) < 2:
        sys.exit(f"error: given --seeds={given}; allowed: 2 or more, for a standard deviation")
    return int(given), [argument for argument in arguments if argument not in flags]


def bits(overrides: list[str]) -> list[Row]:
    """The same command twice, and, for sets that decode files, with 0 and 2 workers."""
    decodes = "data.cache=none" in overrides
    variants = [[f"data.num_workers={n}"] for n in (0, 2)] if decodes else [[], []]
    hashes = [hash_of(trained(*overrides, *variant)) for variant in variants]
    print(*hashes, file=sys.stderr)
    return [Row("different weights from two runs", len(set(hashes)) - 1, "", "<= 0")]


def answers() -> list[Row]:
    """Each mistake's answer against `import hydra`; one that needs the class against `import lightning`."""
    needs_class = ["model=vit", "model.patch_size=5"]
    ratios = []
    for mistake in MISTAKES:
        ratios.append(ratio([TRAIN, *mistake], ["-c", "import hydra"]))
        print(f"{ratios[-1]:.2f} times `import hydra`: {' '.join(mistake)}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as logs:
        built = ratio([TRAIN, *needs_class, f"paths.logs={logs}"], ["-c", "import lightning.pytorch"])
    return [
        Row(
            f"the answer to {len(ratios)} mistakes, median, against `import hydra`", statistics.median(ratios), "times"
        ),
        Row("the slowest of them", max(ratios), "times"),
        Row(f"{' '.join(needs_class)}, against `import lightning.pytorch`", built, "times"),
    ]


def hash_of(run: Record) -> str:
    """Of the last checkpoint's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(run.weights.items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]

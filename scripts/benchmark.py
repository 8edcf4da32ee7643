"""Measure what docs/benchmarks.md states.

    python scripts/benchmark.py seeds experiment=cnn        accuracy and seconds over 5 seeds (--seeds=3 for 3)
    python scripts/benchmark.py bits experiment=cnn         the same command twice: are the weights the same bits?
    python scripts/benchmark.py answers                     time to the answer to a mistake, against `import hydra`

Further arguments are overrides of train.py. Each run is a process of its own, timed from command to exit.
"""

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from compare_mistakes import MISTAKES

PROJECT = Path(__file__).resolve().parents[1]


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in BENCHMARKS:
        sys.exit(f"{__doc__}\nerror: given {sys.argv[1:2]}; allowed: {', '.join(BENCHMARKS)}")
    BENCHMARKS[sys.argv[1]](sys.argv[2:])


def seeds(overrides: list[str]) -> None:
    """One run for each seed; test accuracy and wall seconds as mean and standard deviation."""
    num_seeds = 5
    for flag in [override for override in overrides if override.startswith("--seeds=")]:
        overrides = [override for override in overrides if override != flag]
        num_seeds = int(flag.removeprefix("--seeds="))
    accuracies, walls = [], []
    for seed in range(num_seeds):
        record, wall_s, _ = train([*overrides, f"seed={seed}"])
        accuracies.append(record["metrics"]["test/accuracy"])
        walls.append(wall_s)
        print(
            f"seed {seed}: test/accuracy {accuracies[-1]:.4f}  {wall_s:.1f} s  fit {record['timings']['fit_s']:.1f} s"
        )
    print(f"test/accuracy {spread(accuracies)}  seconds {spread(walls, 1)}  {hardware()}")


def bits(overrides: list[str]) -> None:
    """The same command twice, and, for sets that decode files, with 0 and 2 workers."""
    decodes = "data.in_memory=false" in overrides
    variants = [[f"data.num_workers={n}"] for n in (0, 2)] if decodes else [[], []]
    hashes = []
    for variant in variants:
        record, wall_s, weights = train([*overrides, *variant])
        hashes.append(weights)
        print(f"{' '.join(variant) or 'run'}: weights {weights}  loss {record['metrics']['test/loss']}  {wall_s:.1f} s")
    print("the same bits" if len(set(hashes)) == 1 else "DIFFERENT BITS")


def answers(overrides: list[str]) -> None:
    """Each mistake's answer against `import hydra`; one that needs the class against `import lightning`."""
    train = str(PROJECT / "train.py")
    needs_class = ["model=vit", "model.patch_size=5", *overrides]
    ratios = {}
    for mistake in (*MISTAKES, ["--cfg", "job"]):
        ratios[" ".join(mistake)] = ratio([train, *mistake, *overrides], ["-c", "import hydra"])
        print(f"{ratios[' '.join(mistake)]:.2f} times `import hydra`: {' '.join(mistake)}", flush=True)
    shown = ratios.pop("--cfg job")
    median, worst = statistics.median(ratios.values()), max(ratios.values())
    print(f"median {median:.2f}, worst {worst:.2f} of {len(ratios)} mistakes; --cfg job {shown:.2f}  {hardware()}")
    with tempfile.TemporaryDirectory() as logs:
        command = [train, *needs_class, f"paths.logs={logs}"]
        built = ratio(command, ["-c", "import lightning.pytorch"])
    print(f"{built:.2f} times `import lightning.pytorch`: {' '.join(needs_class)}")


def ratio(command: list[str], reference: list[str], rounds: int = 5) -> float:
    """The least seconds of a Python command over those of another, run in turns."""
    least = [float("inf"), float("inf")]
    for _ in range(rounds):
        for index, arguments in enumerate((command, reference)):
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True)
            least[index] = min(least[index], time.perf_counter() - started)
    return least[0] / least[1]


def train(overrides: list[str]) -> tuple[dict[str, Any], float, str]:
    """Run train.py; returns run.json, the wall seconds, and a hash of the last checkpoint's weights."""
    with tempfile.TemporaryDirectory() as logs:
        command = [sys.executable, str(PROJECT / "train.py"), *overrides, f"paths.logs={logs}"]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        wall_s = time.perf_counter() - started
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        (file,) = Path(logs).rglob("run.json")
        saved = torch.load(file.parent / "checkpoints" / "last.ckpt", weights_only=True)
        return json.loads(file.read_text()), wall_s, hash_of(saved["state_dict"])


def hash_of(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def spread(values: list[float], digits: int = 4) -> str:
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f} over {len(values)}"


def hardware() -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU cores"
    return f"({device}, torch {torch.__version__})"


BENCHMARKS = {"seeds": seeds, "bits": bits, "answers": answers}

if __name__ == "__main__":
    main()

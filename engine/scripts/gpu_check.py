"""What only a machine with a CUDA GPU can show. Each step has a limit of its own; a failure never stops the rest.

    python engine/scripts/gpu_check.py                                all steps, some of them at once
    python engine/scripts/gpu_check.py tests use                      these alone
    python engine/scripts/gpu_check.py --data=CIFAR10 --out=out.json  CIFAR10 is a folder of images; `speed` needs it

It prints a line a step, and at its end what failed. `--out` is one JSON object of all that the steps printed.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
BENCHMARK = [PYTHON, "engine/scripts/benchmark.py"]
TRAIN = [PYTHON, "train.py"]
CNN = [*TRAIN, "experiment=cnn", "trainer=gpu"]
ACCURACY = 0.97


class Outcome(NamedTuple):
    passed: bool
    seconds: float
    told: str


class Step(NamedTuple):
    """What is run, for how many seconds at most, and whether others may run beside it."""

    check: Callable[[float], str]
    limit_s: float
    alone: bool = False


class CheckError(Exception):
    pass


def run(*command: str, limit_s: float) -> str:
    """What a command prints.

    Raises:
        CheckError: its exit code is not 0, or it took too long.
    """
    # Named, since the engine's tests hide all GPUs otherwise.
    seen = os.environ | {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=seen, stdout=out, stderr=out, start_new_session=True)
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        text = out.read()
    if process.returncode:
        raise CheckError(f"{' '.join(command[1:4])} ended with {process.returncode}\n{text[-6000:]}")
    return text


def command(*arguments: str) -> Callable[[float], str]:
    return lambda limit_s: run(*arguments, limit_s=limit_s)


def gpu_tests(limit_s: float) -> str:
    told = run(PYTHON, "-m", "pytest", "-n", "3", "-m", "gpu", "-rs", "engine/tests/test_gpu.py", limit_s=limit_s)
    if "skipped" in told:
        raise CheckError(told[-2000:])
    return told[-300:]


def suite(folder: str) -> Callable[[float], str]:
    """All quick tests, with a GPU that is there and seen."""
    workers = str(min(8, os.cpu_count() or 1))
    return command(PYTHON, "-m", "pytest", "-n", workers, "--maxfail=60", "--tb=short", folder)


def accuracy(precision: str) -> Callable[[float], str]:
    def check(limit_s: float) -> str:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            text = run(*CNN, f"trainer.precision={precision}", f"hydra.run.dir={folder}", limit_s=limit_s)
            facts = json.loads(Path(folder, "run.json").read_text())
        reached = facts["metrics"]["test/accuracy"]
        if reached < ACCURACY or facts["precision"] != precision:
            raise CheckError(f"test/accuracy {reached}; {text[-3000:]}")
        seconds = time.perf_counter() - started
        return f"test/accuracy {reached:.4f}, {seconds:.1f} s in all, fit {facts['timings']['fit_s']} s"

    return check


KILLED = {
    "fp32": [],
    "fp16": ["trainer.precision=16-mixed"],
    "graphs": ["trainer.precision=bf16-mixed", "callbacks=ema", "compile=reduce-overhead"],
}


def killed(further: list[str], limit_s: float) -> str:
    """A run that is killed in the middle and resumed has the bits of one that never was."""
    settings = [*CNN, *further, "trainer.deterministic=true", "trainer.max_epochs=6", "test=false"]
    settings += ["callbacks.resume_checkpoint.every_n_steps=7", "callbacks.resume_checkpoint.every_minutes=null"]
    with tempfile.TemporaryDirectory() as place:
        run(*settings, f"hydra.run.dir={place}/whole", limit_s=limit_s)
        broken = Path(place, "broken")
        process = subprocess.Popen(
            [*settings, f"hydra.run.dir={broken}"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.perf_counter() + limit_s
        while newest_step(broken) < 50:
            if process.poll() is not None or time.perf_counter() > until:
                raise CheckError(f"ended with {process.poll()} before it was killed")
            time.sleep(0.005)
        process.kill()
        process.wait()
        at = newest_step(broken)
        text = run(*settings, f"resume={broken}", limit_s=limit_s)
        if "goes on at" not in text:
            raise CheckError(f"began anew\n{text[-3000:]}")
        hashes = [hash_of(Path(place, each)) for each in ("whole", "broken")]
        if hashes[0] != hashes[1]:
            raise CheckError(f"killed after step {at}, other bits\n{text[-3000:]}")
    return f"killed after step {at}, the same bits {hashes[0]}"


def newest_step(folder: Path) -> int:
    steps = [re.search(r"step_(\d+)", each.name) for each in (folder / "checkpoints").glob("step_*.ckpt")]
    return max((int(each[1]) for each in steps if each), default=0)


def hash_of(folder: Path) -> str:
    """Of the weights and of what was logged."""
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    digest = hashlib.sha256((folder / "metrics.csv").read_bytes())
    for name, value in sorted(saved["state_dict"].items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def use(limit_s: float) -> str:
    """A trained run is evaluated, predicts, is exported in each format and answers from a GPU."""
    told = []
    with tempfile.TemporaryDirectory() as place:
        trained, digits = f"{place}/run", Path(place, "digits")
        run(*CNN, "trainer.max_epochs=3", f"hydra.run.dir={trained}", limit_s=limit_s)
        told.append(run(PYTHON, "evaluate.py", f"run={trained}", limit_s=limit_s)[-400:])
        run(PYTHON, "-c", DIGITS, str(digits), limit_s=limit_s)
        for device in ("cuda:0", "cpu"):
            run(PYTHON, "predict.py", f"run={trained}", f"input={digits}", f"output={place}/{device[:4]}.csv",
                f"device={device}", limit_s=limit_s)  # fmt: skip
        rows = [Path(place, f"{each}.csv").read_text().splitlines() for each in ("cuda", "cpu")]
        classes = [[line.split(",")[1] for line in each] for each in rows]
        if classes[0] != classes[1]:
            raise CheckError(f"predict: other classes on the GPU\n{rows[0][:5]}\n{rows[1][:5]}")
        told.append(f"predict: the same {len(rows[0]) - 1} classes on both devices")
        formats = [f"format={each}" for each in ("onnx", "pt2", "torchscript", "int8", "safetensors")]
        told += [run(PYTHON, "export.py", f"run={trained}", each, limit_s=limit_s)[-300:] for each in formats]
        told.append(run(PYTHON, "-c", LOADED, trained, limit_s=limit_s))
    return "\n".join(told)


DIGITS = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from kindling.cli.entry import compose
from kindling.config import project
from kindling.config.composition import instantiate
project.use(Path.cwd())
data = instantiate(compose(["data=mnist_5k"]).data, "data")
data.setup("test")
folder = Path(sys.argv[1])
folder.mkdir()
for number, image in enumerate(data.splits.test.images[:100]):
    Image.fromarray(image.squeeze(-1).numpy()).save(folder / f"{number:03}.png")
"""
LOADED = """
import sys, kindling
from pathlib import Path
from kindling.config import project
project.use(Path.cwd())
for device in ("cuda", "cpu"):
    model = kindling.load(sys.argv[1], device=device)
    print("kindling.load", device, type(model).__name__)
"""


def speed(data: str) -> Callable[[float], str]:
    source = ["data=image_folder", f"data.root={data}", "data.val_fraction=0.02", "--seeds=5", "compile=default"]
    return command(*BENCHMARK, "speed", *source)


def steps(data: str) -> dict[str, Step]:
    found = {
        "tests": Step(gpu_tests, 150),
        **{f"cnn in {each}": Step(accuracy(each), 120) for each in ("32-true", "bf16-mixed", "16-mixed")},
        "bits": Step(command(*BENCHMARK, "bits", "experiment=cnn", "trainer.deterministic=true"), 120),
        **{f"kill {name}": Step(partial(killed, further), 150) for name, further in KILLED.items()},
        "use": Step(use, 150),
        "suite of the project": Step(suite("tests"), 150),
        "suite of the engine": Step(suite("engine/tests"), 240, alone=True),
        "step": Step(command(*BENCHMARK, "step", "--json"), 90, alone=True),
        "cnn": Step(command(*BENCHMARK, "cnn", "--json"), 60, alone=True),
        "data": Step(command(*BENCHMARK, "data", "--json"), 60, alone=True),
        "large": Step(command(*BENCHMARK, "large", "--json"), 200, alone=True),
    }
    return found | ({"speed": Step(speed(data), 200, alone=True)} if data else {})


def tried(name: str, step: Step) -> Outcome:
    started = time.perf_counter()
    try:
        passed, told = True, step.check(step.limit_s)
    except Exception as error:  # whatever it is, the other steps go on
        passed, told = False, f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    print(f"{'passed' if passed else 'FAILED'} {name} {seconds:.0f} s", flush=True)
    return Outcome(passed, seconds, told)


def main() -> None:
    flags = dict(each[2:].split("=", 1) for each in sys.argv[1:] if each.startswith("--") and "=" in each)
    names = [each for each in sys.argv[1:] if not each.startswith("--")]
    every = steps(flags.get("data", ""))
    if "--help" in sys.argv or set(flags) - {"data", "out"} or set(names) - set(every):
        sys.exit(f"{__doc__}\nsteps: {', '.join(every)}")
    if not torch.cuda.is_available():
        sys.exit("error: torch sees no CUDA GPU, and all of this is about one")
    chosen = {name: step for name, step in every.items() if not names or name in names}
    found: dict[str, Outcome] = {}
    together = {name: step for name, step in chosen.items() if not step.alone}
    with ThreadPoolExecutor(len(together) or 1) as pool:
        found |= zip(together, pool.map(tried, together, together.values()), strict=True)
        keep(found, flags.get("out"))
    for name, step in chosen.items():
        if step.alone:
            found[name] = tried(name, step)
            keep(found, flags.get("out"))
    for name, outcome in found.items():
        print(f"\n== {name}: {'passed' if outcome.passed else 'FAILED'}\n{outcome.told[-1500:]}")
    sys.exit(not all(outcome.passed for outcome in found.values()))


def keep(found: dict[str, Outcome], path: str | None) -> None:
    if path:
        machine = {"torch": torch.__version__, "python": sys.version, "cuda": torch.version.cuda}
        if torch.cuda.is_available():
            machine["gpu"] = torch.cuda.get_device_name()
        every = {name: outcome._asdict() for name, outcome in found.items()}
        Path(path).write_text(json.dumps({"machine": machine, "steps": every}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

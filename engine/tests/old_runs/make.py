"""Made the runs that lie here, each with the code of its commit, in the venv of then.

A run is what `python train.py` wrote, without train.log, without further names of its checkpoints, and with /project
for where the project lay. What is made with later code is no old run, so nothing here is to be made anew.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import odd_images  # noqa: E402  it lies above

SMALL = "logger=csv trainer=cpu trainer.max_epochs=3 trainer.log_every_n_steps=5 trainer.enable_progress_bar=false"
FAKE = "data=fake data.image_size=8 data.num_images=256 data.batch_size=8"
AUGMENTED = "transform=trivial trainer.limit_train_batches=20"
MIXED = "criterion.label_smoothing=0.1 mix=mixup transform=trivial"
EMA = "callbacks=ema callbacks.ema.decay=0.9"
# Commit, arguments of train.py, checkpoints that are kept. last.ckpt is another name of the last of them.
RUNS = {
    "format_1": ("75426b7", f"model=cnn model.channels=[4] optimizer=sgd {FAKE} {SMALL}", ["best"]),
    "unfinished": (
        "3eb932f",
        f"model=mlp model.hidden=[2] optimizer=adamw optimizer.lr=0.001 {EMA} {FAKE} {AUGMENTED} {SMALL}",
        ["best", "step_000000030"],
    ),
    "finished": (
        "3eb932f",
        f"model=cnn model.channels=[4] model.dropout=0 optimizer=muon scheduler=linear {MIXED} {FAKE} {SMALL}",
        ["best", "step_000000096"],
    ),
    "format_3": (
        "e8d8488",
        f"model=mlp model.hidden=[2] optimizer=adamw optimizer.lr=0.001 views=flip {MIXED} {FAKE} {AUGMENTED} {SMALL}",
        ["best", "step_000000030"],
    ),
    "format_4": (
        "f0f3b56",
        "model=mlp model.hidden=[2] optimizer=adamw optimizer.lr=0.01 scheduler=none data=image_folder "
        "data.root={project}/odd data.image_size=8 data.channels=1 data.batch_size=4 data.val_fraction=0.2 "
        "data.test_fraction=0.2 "
        f"data.cache_dir={{project}}/cache {SMALL}",
        ["best", "step_000000027"],
    ),
    # Of the last commit whose val/loss was the loss that is minimised.
    "format_5": (
        "63f55ba",
        "model=mlp model.hidden=[2] optimizer=adamw optimizer.lr=0.001 task.criterion.label_smoothing=0.2 "
        f"task.criterion.focal_gamma=1 {FAKE} {AUGMENTED} {SMALL}",
        ["best", "step_000000030"],
    ),
    # Of the last commit whose data.batch_size was that of each process.
    "format_6": (
        "d548aed",
        f"model=mlp model.hidden=[2] optimizer=adamw optimizer.lr=0.001 {FAKE} {AUGMENTED} {SMALL} trainer=ddp_cpu",
        # The two agree on where to stop a few steps later.
        ["best", "step_*"],
    ),
    # Of the last commit whose random crops were cut from the square of an image.
    "format_7": (
        "193939a",
        "model=mlp model.hidden=[2] optimizer=adamw optimizer.lr=0.01 scheduler=none data=image_folder "
        "data.root={project}/odd data.image_size=8 data.channels=3 data.batch_size=4 data.val_fraction=0.2 "
        "data.test_fraction=0.2 data.white=4095 transform=[resized_crop,color_jitter] "
        f"data.cache_dir={{project}}/cache {SMALL}",
        ["best", "step_*"],
    ),
}
# Runs that are stopped, and where their LightningModule lay.
UNFINISHED = {
    "unfinished": ("kindling.classifier", "Classifier"),
    "format_3": ("kindling.images.classifier", "Classifier"),
    "format_5": ("kindling.training.task", "Task"),
    "format_6": ("kindling.training.task", "Task"),
}
# SIGTERM comes in the middle of the second of three epochs.
STOPPED = """
import runpy, signal, sys
from {} import {} as Owner
step = Owner.training_step
def stopping(self, *batch):
    if self.global_step == 29:
        signal.raise_signal(signal.SIGTERM)
    return step(self, *batch)
Owner.training_step = stopping
sys.argv[0] = "train.py"
runpy.run_path("train.py", run_name="__main__")
"""


def make(name: str) -> None:
    commit, arguments, kept = RUNS[name]
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        subprocess.run(["git", "clone", "--quiet", HERE.parents[2], project], check=True)
        subprocess.run(["git", "-C", project, "checkout", "--quiet", commit], check=True)
        program = ["-c", STOPPED.format(*UNFINISHED[name])] if name in UNFINISHED else ["train.py"]
        source = f"{project}/engine/src:{project}/src"
        settings = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        odd_images.write(project / "odd")
        command = [sys.executable, *program, *arguments.format(project=project).split()]
        subprocess.run(command, cwd=project, env=settings, check=name not in UNFINISHED)
        (run,) = (project / "logs").glob("*/*/")
        shutil.rmtree(HERE / name, ignore_errors=True)
        (HERE / name / "checkpoints").mkdir(parents=True)
        for pattern in ("config.yaml", "metrics.csv", "run.json", *(f"checkpoints/{each}.ckpt" for each in kept)):
            for file in run.glob(pattern):
                write(file, HERE / name / file.relative_to(run), str(project))


def write(file: Path, copy: Path, project: str) -> None:
    """Copy a file of a run without names of the machine."""
    if file.suffix == ".ckpt":
        torch.save(scrubbed(torch.load(file, weights_only=True), project), copy)
        return
    text = file.read_text().replace(project, "/project")
    if file.name == "run.json":
        machine = {"host": "a host", "platform": "a platform", "cores": 1}
        text = json.dumps(json.loads(text) | {"pid": 1, "hardware": machine}, indent=2)
    copy.write_text(text)


def scrubbed(value: Any, project: str) -> Any:
    if isinstance(value, str):
        return value.replace(project, "/project")
    if isinstance(value, dict):  # in place, since a state_dict has attributes of its own
        items = [(scrubbed(key, project), scrubbed(each, project)) for key, each in value.items()]
        value.clear()
        value.update(items)
    if isinstance(value, list):
        value[:] = [scrubbed(each, project) for each in value]
    return value


if __name__ == "__main__":
    for each in sys.argv[1:] or RUNS:
        make(each)

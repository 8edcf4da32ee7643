"""Every config that is shipped composes, is what the golden files say, and trains."""

import csv
import inspect
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Trainer

from bench_root import CONFIGS
from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.config.extras import has_room
from kindling.images.datamodule import ImageDataModule
from long_run import some

# In test_processor.py and test_evaluate.py.
OF_NO_IMAGES = ("letters", "table", "bigram", "linear", "foreign", "none", "next", "sign", "silent", "sum")
GOLDEN = Path(__file__).parent / "golden"
GROUPS = {
    "data": ["coloured", "fake", "foreign", "image_folder", "letters", "none", "patterns", "plain", "table"],
    "model": ["bigram", "cnn", "lazy", "linear", "mlp", "none", "pretrained", "vit"],
    "optimizer": ["adam", "adamw", "muon", "none", "sgd"],
    "scheduler": ["constant", "cosine", "linear", "none", "onecycle", "plateau", "step"],
    "transform": ["color_jitter", "none", "photos", "rand", "resized_crop", "trivial"],
    "mix": ["cutmix", "mixup", "mixup_cutmix", "none"],
    "metrics": [
        *(
            "auroc",
            "average_precision",
            "calibration_error",
            "f1",
            "kappa",
            "mae",
            "mcc",
            "mean_average_precision",
            "mse",
            "none",
        ),
        *("pearson", "precision", "r2", "recall", "top5"),
    ],
    "task": ["classification", "next", "plain", "sign", "silent", "sum"],
    "trainer": ["cpu", "ddp", "ddp_cpu", "default", "fsdp", "fsdp2", "gpu"],
    "callbacks": ["default", "ema", "finetune", "monitor", "none", "periodic", "swa", "tensorboard"],
    "logger": ["csv", "default", "mlflow", "none", "tensorboard", "wandb"],
    "debug": [
        "anomaly",
        "data",
        "fast",
        "find_batch_size",
        "find_lr",
        "gradcheck",
        "limit",
        "memory",
        "overfit",
        "profile",
        "shapes",
    ],
    "sweep": ["grid", "none", "optuna", "random"],
    "experiment": ["cnn", "mlp", "next", "sign", "silent", "speed", "sum"],
}

# What goes with a part of the engine that a project does without.
OF_PARTS = {
    "debug": [f"debug={name}" for name in GROUPS["debug"]],
    "sweeps": [f"sweep={name}" for name in GROUPS["sweep"]],
    "loggers.mlflow_run": ["logger=mlflow", "logger=wandb"],
}


def options() -> dict[str, list[str]]:
    return {
        folder.name: sorted(file.stem for file in folder.glob("[!_]*.yaml"))
        for folder in CONFIGS.iterdir()
        if folder.is_dir()
    }


def test_the_groups_hold_the_promised_options():
    gone = {each for room, names in OF_PARTS.items() if not has_room(room) for each in names}
    left = {group: [name for name in names if f"{group}={name}" not in gone] for group, names in GROUPS.items()}
    assert options() == {group: names for group, names in left.items() if names}


def test_every_flag_of_the_trainer_is_listed():
    listed = yaml.safe_load((CONFIGS / "trainer" / "default.yaml").read_text())
    passed_by_train = {"callbacks", "logger", "plugins"}
    flags = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert set(listed) - {"_target_"} == flags - passed_by_train


@pytest.mark.parametrize("name", [n for n in GROUPS["data"] if n not in ("image_folder", "plain", *OF_NO_IMAGES)])
def test_each_data_config_builds_a_datamodule(name):
    data = instantiate(compose([f"data={name}"]).data, "data")
    assert isinstance(data, ImageDataModule)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in GROUPS["model"] if n not in ("none", *OF_NO_IMAGES)])
def test_each_model_trains(train_run, name):
    assert train_run(f"model={name}", "trainer.max_epochs=1", "data.num_images=32").metrics["test/loss"] > 0


@pytest.mark.parametrize("name", some([n for n in GROUPS["optimizer"] if n != "none"], "adamw", "muon"))
def test_each_optimizer_lowers_the_loss(train_run, name):
    assert train_run(f"optimizer={name}", "optimizer.lr=0.01").metrics["train/loss"] < 2.0


@pytest.mark.parametrize("name", some(GROUPS["scheduler"], "cosine", "plateau"))
def test_each_schedule_trains(train_run, name):
    assert train_run(f"scheduler={name}", "trainer.max_epochs=1").metrics["train/loss"] > 0


@pytest.mark.needs("trackers")
@pytest.mark.parametrize("name", [n for n in GROUPS["logger"] if n not in ("mlflow", "wandb")])  # in test_loggers.py
def test_each_logger_writes_what_it_promises(train_run, name):
    files = {path.name for path in train_run(f"logger={name}", "trainer.max_epochs=1").folder.iterdir()}
    assert ("metrics.csv" in files) == (name in ("csv", "default"))
    assert ("tensorboard" in files) == (name in ("tensorboard", "default"))


@pytest.mark.parametrize("name", some(GROUPS["callbacks"], "default", "none"))  # the others have tests of their own
def test_each_callbacks_config_trains(train_run, name):
    run = train_run(f"callbacks={name}", "trainer.max_epochs=1")
    assert (run.folder / "checkpoints").exists() == (name != "none")


@pytest.mark.needs("debug")
@pytest.mark.parametrize("name", some(["fast", "limit", "anomaly"], "fast"))
def test_each_debug_config_runs(train_run, name):
    data = ["data=patterns", "data.image_size=28"] if name == "limit" else []
    assert "test/loss" in train_run(*data, f"debug={name}").metrics


@pytest.mark.needs("debug")
@pytest.mark.parametrize(
    ("name", "files"),
    some([("profile", {"profile.txt", "profile"}), ("memory", set()), ("shapes", set())], ("shapes", set())),
)
def test_each_look_at_a_few_steps_ends_without_a_test(train_run, name, files):
    run = train_run(f"debug={name}", "trainer.max_epochs=9", "data.batch_size=16")
    assert "test/loss" not in run.metrics
    assert {path.name for path in run.folder.glob("*profile*")} == files


@pytest.mark.needs("debug")
@pytest.mark.slow
def test_debug_overfit_learns_one_batch_by_heart(train_run):
    run = train_run("debug=overfit", "trainer.max_epochs=100", "optimizer.lr=0.01", "data.batch_size=16")
    with (run.folder / "metrics.csv").open() as stream:
        first = next(csv.DictReader(stream))
    assert run.metrics["train/loss"] < 0.1 * float(first["train/loss_step"])
    assert run.metrics["train/accuracy"] == 1.0


@pytest.mark.needs("debug")
@pytest.mark.parametrize("name", some([n for n in GROUPS["experiment"] if n not in OF_NO_IMAGES], "mlp", "speed"))
def test_each_experiment_runs_one_batch_of_everything(train_run, name):
    small = ["data=patterns", "data.image_size=28", "data.batch_size=32"]
    assert train_run(f"experiment={name}", *small, "debug=fast").metrics["test/loss"] > 0

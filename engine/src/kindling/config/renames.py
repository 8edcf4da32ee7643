"""What older formats of checkpoints and of run folders called things, by the format that still did so."""

from typing import Any, NamedTuple

# The format that is written today.
FORMAT = 8
# The format of a run folder that names none.
UNNAMED = 2


class Renames(NamedTuple):
    """What the next format calls otherwise.

    Args:
        targets: modules, classes or functions; those of format 2 and before begin at the dot after the package.
        keys: of the config, dotted.
        callbacks: keys of their states, or what these start with.
        weights: what the keys of a state_dict start with.
        added: by a key that a config has, keys that it has beside and their values; keys are dotted, and targets begin
            at the dot after the package.
        nodes: by the place and the target of a node, what it holds today; None for what it holds no more.
    """

    targets: dict[str, str] = {}  # noqa: RUF012  read, never written
    keys: dict[str, str] = {}  # noqa: RUF012
    callbacks: dict[str, str] = {}  # noqa: RUF012
    weights: dict[str, str] = {}  # noqa: RUF012
    added: dict[str, dict[str, Any]] = {}  # noqa: RUF012
    nodes: dict[tuple[str, str], dict[str, Any]] = {}  # noqa: RUF012


# Format 1 lacks what it takes to resume, and differs in no name.
RENAMES = {
    2: Renames(
        targets={
            ".callbacks.averages": "kindling.callbacks.averages",
            ".callbacks.doctor": "kindling.images.doctor.callback",
            ".callbacks.find_batch_size": "kindling.debug.find_batch_size",
            ".callbacks.find_lr": "kindling.debug.find_lr",
            ".callbacks.finetuning": "kindling.callbacks.finetuning",
            ".callbacks.gradient_check": "kindling.debug.gradient_check",
            ".callbacks.gradient_norm": "kindling.callbacks.gradient_norm",
            ".callbacks.graph": "kindling.callbacks.graph",
            ".callbacks.histograms": "kindling.callbacks.histograms",
            ".callbacks.memory": "kindling.debug.memory",
            ".callbacks.monitor": "kindling.callbacks.monitor",
            ".callbacks.progress": "kindling.callbacks.progress",
            ".callbacks.resume_checkpoint": "kindling.checkpoints.resume_checkpoint",
            ".callbacks.shapes": "kindling.debug.shapes",
            ".callbacks.summary": "kindling.callbacks.summary",
            ".callbacks.timings": "kindling.callbacks.timings",
            ".callbacks.training_images": "kindling.images.training_images",
            ".callbacks.validation_pictures": "kindling.images.validation_pictures",
            ".criterion": "kindling.images.criterion",
            ".csv_logger": "kindling.loggers.csv",
            ".data.augment": "kindling.images.augment",
            ".data.fake": "kindling.images.fake",
            ".data.image_folder": "kindling.images.image_folder",
            ".data.transform": "kindling.images.transform",
            ".loggers.mlflow": "kindling.loggers.mlflow_run",
            ".loggers.wandb": "kindling.loggers.wandb_run",
            ".muon": "kindling.training.muon",
            ".optimization": "kindling.training.optimization",
            ".profiling.profiler": "kindling.debug.profiler",
        }
    ),
    3: Renames(
        keys={"criterion": "task.criterion", "views": "task.views"},
        added={"model": {"task._target_": ".tasks.classification.Classification"}},
    ),
    4: Renames(
        added={
            "data.channels": {
                "data.decoding": 1,
                "data.white": None,
                "data.background": [255, 255, 255],
                "data.max_pixels": 178_956_970,
            }
        }
    ),
    5: Renames(
        nodes={
            ("callbacks.best_checkpoint", "lightning.pytorch.callbacks.ModelCheckpoint"): {
                "_target_": "kindling.callbacks.best.BestCheckpoint",
                "save_weights_only": True,
                "enable_version_counter": None,
            },
            ("task.criterion", "kindling.images.criterion.CrossEntropy"): {"version": 1},
            ("callbacks.early_stopping", "lightning.pytorch.callbacks.EarlyStopping"): {
                "_target_": "kindling.callbacks.deciding.EarlyStopping"
            },
        }
    ),
    7: Renames(
        added={
            "data.cache_dir": {
                "data.crop": None,
                "data.resize": None,
                "data.interpolation": "bilinear",
                "data.cache": "auto",
                "data.faulty": "refuse",
            }
        }
    ),
}

"""What older formats of checkpoints and of run folders called things, by the format that still did so."""

from typing import NamedTuple

FORMAT = 3  # of what is written today
UNNAMED = 2  # of a run folder that does not name its format


class Renames(NamedTuple):
    """What the next format calls otherwise.

    Args:
        targets: modules, classes or functions; those of format 2 and before begin at the dot after the package.
        keys: of the config, dotted.
        callbacks: keys of their states, or what these start with.
        weights: what the keys of a state_dict start with.
    """

    targets: dict[str, str] = {}  # noqa: RUF012  read, never written
    keys: dict[str, str] = {}  # noqa: RUF012
    callbacks: dict[str, str] = {}  # noqa: RUF012
    weights: dict[str, str] = {}  # noqa: RUF012


# Format 1 lacks what it takes to resume, and differs in no name.
RENAMES = {
    2: Renames(
        targets={
            ".callbacks.averages": "kindling.callbacks.averages",
            ".callbacks.doctor": "kindling.callbacks.doctor",
            ".callbacks.find_batch_size": "kindling.callbacks.find_batch_size",
            ".callbacks.find_lr": "kindling.callbacks.find_lr",
            ".callbacks.finetuning": "kindling.callbacks.finetuning",
            ".callbacks.gradient_check": "kindling.callbacks.gradient_check",
            ".callbacks.gradient_norm": "kindling.callbacks.gradient_norm",
            ".callbacks.graph": "kindling.callbacks.graph",
            ".callbacks.histograms": "kindling.callbacks.histograms",
            ".callbacks.memory": "kindling.callbacks.memory",
            ".callbacks.monitor": "kindling.callbacks.monitor",
            ".callbacks.progress": "kindling.callbacks.progress",
            ".callbacks.resume_checkpoint": "kindling.callbacks.resume_checkpoint",
            ".callbacks.shapes": "kindling.callbacks.shapes",
            ".callbacks.summary": "kindling.callbacks.summary",
            ".callbacks.timings": "kindling.callbacks.timings",
            ".callbacks.training_images": "kindling.callbacks.training_images",
            ".callbacks.validation_pictures": "kindling.callbacks.validation_pictures",
            ".criterion": "kindling.criterion",
            ".csv_logger": "kindling.csv_logger",
            ".data.augment": "kindling.data.augment",
            ".data.fake": "kindling.data.fake",
            ".data.image_folder": "kindling.data.image_folder",
            ".data.transform": "kindling.data.transform",
            ".loggers.mlflow": "kindling.loggers.mlflow",
            ".loggers.wandb": "kindling.loggers.wandb",
            ".muon": "kindling.muon",
            ".optimization": "kindling.optimization",
            ".profiling.profiler": "kindling.profiling.profiler",
        }
    )
}

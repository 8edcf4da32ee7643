"""Runs of the modules of bench/foreign through the front door: their command lines, and the files that they read."""

from pathlib import Path

import torch

CLASSES, ADAPTERS = "bench.foreign.boring_classes", "bench.adapters"
TEXT = "path=data/wikitext-2.txt"
DATA: dict[str, list[str]] = {
    "boring": [f"{CLASSES}.BoringDataModule"],
    "stream": [f"{CLASSES}.BoringDataModuleNoLen"],
    "several": [f"{CLASSES}.IterableBoringDataModule"],
    "digits": [
        "bench.foreign.mnist_datamodule.MNISTDataModule",
        *("data_dir=./data", "val_split=8", "num_workers=0", "batch_size=2"),
    ],
    "numbers": [f"{ADAPTERS}.Numbers", "num=24", "size=4", "batch_size=4"],
    "words": [f"{ADAPTERS}.Text", TEXT],
    "sequence": [f"{ADAPTERS}.Text", TEXT, "sequence=true"],
}
# The module, its data, and what it logs of each stage.
RUNS: dict[str, tuple[list[str], str, set[str]]] = {
    "boring": ([f"{CLASSES}.BoringModel"], "boring", set()),
    "stream": ([f"{CLASSES}.BoringModel"], "stream", set()),
    "several loaders": (
        [f"{ADAPTERS}.OfSeveral"],
        "several",
        {f"{stage}_loss/dataloader_idx_{index}" for stage in ("val", "test") for index in (0, 1)},
    ),
    "manual optimization": ([f"{CLASSES}.ManualOptimBoringModel"], "boring", set()),
    "autoencoder": (["bench.foreign.autoencoder.LitAutoEncoder"], "digits", {"train_loss"}),
    "GAN": (
        [f"{ADAPTERS}.GAN", "size=4"],
        "numbers",
        {"generator_loss", "discriminator_loss", "val_gap", "test_gap"},
    ),
    "GAN with closures": (
        [f"{ADAPTERS}.GANWithClosures", "size=4"],
        "numbers",
        {"generator_loss", "discriminator_loss", "val_gap", "test_gap"},
    ),
    "transformer": (["bench.foreign.transformer.LightningTransformer", "vocab_size=20"], "words", set()),
    "LSTM": (["bench.foreign.lstm.LightningLSTM", "vocab_size=20"], "sequence", {"train_loss"}),
    "log in every hook": (
        [f"{ADAPTERS}.LogsInEveryHook", "size=4"],
        "numbers",
        {"training_step_mean", "on_train_epoch_end_sum", "validation_step_sum", "test_step_mean"},
    ),
}
SMALL = [
    *("task=plain", "data=foreign", "trainer=cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=6"),
    *("trainer.limit_val_batches=2", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false"),
    *("trainer.enable_model_summary=false", "logger=csv"),
]


def lines(name: str, *further: str) -> list[str]:
    """The command line of a small run."""
    (task, *settings), data, _ = RUNS[name]
    (kind, *of_data) = DATA[data]
    nodes = [f"task._target_={task}", *(f"+task.{each}" for each in settings)]
    nodes += [f"data._target_={kind}", *(f"+data.{each}" for each in of_data)]
    return [*SMALL, *nodes, *further]


def write_files(folder: Path) -> None:
    """Write what the demos would download: digits as tensors, and words."""
    digits = folder / "data" / "MNIST" / "complete"
    digits.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for name in ("training.pt", "test.pt"):
        pixels = torch.randint(0, 256, (24, 28, 28), dtype=torch.uint8, generator=generator)
        torch.save((pixels, torch.arange(24) % 10), digits / name)
    (folder / "data" / "wikitext-2.txt").write_text(" ".join(f"word{index % 17}" for index in range(100)))

"""What each format of export.py computes and costs, against PyTorch: cnn, resnet and vit, one thread."""

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.table import Row
from kindling.cli.entry import compose
from kindling.export import export as export_model
from kindling.inference.model_folder import FILES
from kindling.train import train

MODELS = ("cnn", "resnet", "vit")
NUM_EPOCHS = 6
# Aims at batch 1, in times PyTorch's speed.
BARS = {("cnn", "onnx"): ">= 2", ("cnn", "int8"): ">= 4"}
SETTINGS = ("data=mnist_5k", "logger=none", "trainer=cpu", f"trainer.max_epochs={NUM_EPOCHS}")


def export() -> list[Row]:
    """Of the recipes after six epochs: how much results differ, and how many times faster they come."""
    rows = []
    for model in MODELS:
        with tempfile.TemporaryDirectory() as logs:
            cfg = compose([f"experiment={model}", *SETTINGS, f"paths.logs={logs}"])
            train(cfg)
            for format in FILES:
                rows += figures(model, format, exported(Path(cfg.paths.run), format))
    return rows


def exported(run: Path, format: str) -> dict[str, Any]:
    """What model.json says about it."""
    export_model(compose([f"run={run}", f"format={format}", "threads=1"], "export"))
    return json.loads((run / "export" / format / "model.json").read_text())["about"]


def figures(model: str, format: str, about: dict[str, Any]) -> list[Row]:
    parity, times = about["parity"], dict(about["benchmark"])
    eager = times.pop("PyTorch")
    (ours,) = [each for name, each in times.items() if name.startswith("model.")]
    name = f"{model}, {format}"
    if format == "int8":
        lost = 100 * (parity["accuracy"]["pytorch"] - parity["accuracy"]["exported"])
        rows = [Row(f"{name}: accuracy lost", lost, "points", "<= 1")]
    else:
        rows = [Row(f"{name}: largest difference of a logit", 1e6 * parity["max_difference"], "millionths", "<= 100")]
    rows += [
        Row(f"{name}: batch {size} against PyTorch's {1e3 * eager[key]:.2f} ms", eager[key] / ours[key], "times", bar)
        for size, key, bar in ((1, "batch_1_s", BARS.get((model, format), "")), (64, "batch_64_s", ""))
    ]
    return [*rows, Row(f"{name}: file against weights", ours["bytes"] / eager["bytes"], "times")]

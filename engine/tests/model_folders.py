"""Exported folders of images, rows and texts, made without torch."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.own_processors import Masks
from kindling.data.processor import Column, Processor
from kindling.data.rows_processor import RowsProcessor
from kindling.data.text_processor import TextProcessor
from kindling.images.processor import ImageProcessor
from kindling.inference.model_folder import ModelFolder, sha256_of

CLASSES = ["zero", "one", "two"]
SIZE = 4
ABOUT = {"name": "small", "metrics": {"test/loss": 0.5, "test/accuracy": 0.875}}


def write_model(folder: Path, seed: int = 0, channels: int = 1, size: int = SIZE) -> Path:
    """An exported folder: a linear model of the mean pixel value of each row, made without torch."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(size * size * channels, len(CLASSES))).astype(np.float32)
    shape = np.array([-1, size * size * channels], dtype=np.int64)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {"scale": np.array(255, dtype=np.float32), "shape": shape, "weights": weights}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", size, size, channels])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(CLASSES)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    numbers = [0.5] * channels
    return describe(folder, ImageProcessor(CLASSES, size, channels, numbers, numbers), preprocessing=True)


def describe(folder: Path, processor: Processor, *, preprocessing: bool = False) -> Path:
    checksum = sha256_of(folder / "model.onnx")
    ModelFolder("onnx", processor.as_dict(), preprocessing, checksum, ABOUT | {"path": str(folder)}).write(folder)
    return folder


ROWS = RowsProcessor(
    [
        Column("age", "integer", "years", low=0, high=120),
        Column("bmi", unit="kg / m²"),
        Column("smoker", choices=("no", "yes")),
    ],
    ["progression"],
    mean=[50.0, 20.0, 0.0],
    std=[10.0, 5.0, 1.0],
)
TEXT = TextProcessor("abcd\n", block=6)


def write_masks(folder: Path) -> Path:
    """An exported folder of a processor of the project: images (N, 1, S, S) -> logits of two classes (N, 2, S, S)."""
    nodes = [
        helper.make_node("Neg", ["images"], ["less"]),
        helper.make_node("Concat", ["images", "less"], ["outputs"], axis=1),
    ]
    takes, gives = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, SIZE, SIZE])
        for name, channels in (("images", 1), ("outputs", 2))
    )
    graph = helper.make_graph(nodes, "masks", [takes], [gives])
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return describe(folder, Masks(["light", "dark"], SIZE, 1, [0.5], [0.5]))


def write_lookup(folder: Path, processor: Processor, operator: str, weights: np.ndarray) -> Path:
    """An exported folder of one operation: rows times weights, or a row of weights for each id."""
    is_text = processor.kind == "text"
    takes, gives = ("ids", "logits") if is_text else ("rows", "outputs")
    shape = ["n", "t"] if is_text else ["n", weights.shape[0]]
    kind = TensorProto.INT64 if is_text else TensorProto.FLOAT
    named = ["weights", takes] if is_text else [takes, "weights"]
    graph = helper.make_graph(
        [helper.make_node(operator, named, [gives])],
        "small",
        [helper.make_tensor_value_info(takes, kind, shape)],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return describe(folder, processor)


def write_rows(folder: Path) -> Path:
    """One that gives 1 * age + 10 * bmi + 4 * smoker, each scaled."""
    return write_lookup(folder, ROWS, "MatMul", np.array([[1], [10], [4]], dtype=np.float32))


def write_text(folder: Path) -> Path:
    """One that goes on by the last character alone."""
    rng = np.random.default_rng(0)
    return write_lookup(folder, TEXT, "Gather", rng.normal(size=(5, 5)).astype(np.float32))

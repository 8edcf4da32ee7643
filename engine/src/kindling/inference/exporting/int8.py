"""ONNX in integers of 8 bits, by ONNX Runtime's static quantisation (arXiv 1712.05877)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kindling.config.extras import optional
from kindling.inference.exporting.formats import quiet

# Sums, norms and attention's softmax lose too much.
QUANTISED = ("Conv", "MatMul", "Gemm", "MaxPool", "Relu")
# Their results stay float, the logits among them.
UNROUNDED = ("MatMul", "Gemm")


class Reader:
    """Gives ONNX Runtime the batches, one by one, up to a number of inputs."""

    def __init__(self, name: str, batches: Iterator[np.ndarray], most: int):
        self.name = name
        self.batches = batches
        self.most = most
        self.given = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None) if self.given < self.most else None
        if batch is None:
            return None
        batch = batch[: self.most - self.given]
        self.given += len(batch)
        return {self.name: batch}


def quantise(file: Path, batches: Iterator[np.ndarray], most: int) -> int:
    """Replace an ONNX model by one of unsigned activations and signed weights, these by channel (U8S8).

    Weights have 7 bits, since x86 processors without VNNI add two products of 8 bits in 16 and cut off what
    exceeds them (ONNX Runtime's page on quantisation): the model is the same on every processor.

    Returns how many inputs it was calibrated with, at most `most`.
    """
    onnx: Any = optional("onnx")
    quantization: Any = optional("onnxruntime.quantization")
    shapes: Any = optional("onnxruntime.quantization.shape_inference")
    prepared, quantised = file.with_name("prepared.onnx"), file.with_name("quantised.onnx")
    name = onnx.load(file, load_external_data=False).graph.input[0].name
    reader = Reader(name, batches, most)
    with quiet():
        shapes.quant_pre_process(str(file), str(prepared))
        quantization.quantize_static(
            str(prepared),
            str(quantised),
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            reduce_range=True,
            extra_options={"OpTypesToExcludeOutputQuantization": list(UNROUNDED)},
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    prepared.unlink()
    quantised.replace(file)
    return reader.given

"""Model folders that somebody hostile might hand on: each is an honest one, changed to make a marker if it can."""

import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from kindling.inference.model_folder import DESCRIPTION, FILES, sha256_of
from model_folders import SIZE

MARKER = "executed"
SECRET = "what no model may read"


class Evil:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


class Small(nn.Module):
    """Pixels to probabilities, as in `serving.write_model`."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE * SIZE, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.linear(pixels.float().reshape(pixels.shape[0], -1) / 255).softmax(1)


# Descriptions


def described(folder: Path, **changes: Any) -> None:
    """Change model.json, with the checksum that its file has."""
    file = folder / DESCRIPTION
    told = json.loads(file.read_text()) | changes
    model = folder / FILES.get(told["format"], "model.onnx") if isinstance(told["format"], str) else file
    told["sha256"] = sha256_of(model) if model.is_file() and model.stat().st_size < 2**20 else told["sha256"]
    file.write_text(json.dumps(told))


def of_processor(**changes: Any) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        told = json.loads((folder / DESCRIPTION).read_text())["processor"]
        described(folder, processor={**told, **changes})

    return do


def text(content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / DESCRIPTION).write_text(content)


def link(name: str, to: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    return do


def pipe(name: str) -> Callable[[Path], None]:
    """Whoever reads it waits without end."""

    def do(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return do


def sparse(name: str, num_bytes: int) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        with (folder / name).open("wb") as stream:
            stream.truncate(num_bytes)

    return do


# Programs


def pt2(change: Callable[[str, bytes, Path], bytes | None], **more: bytes) -> Callable[[Path], None]:
    """A .pt2 of which each record may be changed, with more records."""

    def do(folder: Path) -> None:
        dynamic = ({0: torch.export.Dim("batch", min=1)},)
        example = torch.zeros(2, SIZE, SIZE, 1, dtype=torch.uint8)
        stream = io.BytesIO()
        torch.export.save(torch.export.export(Small(), (example,), dynamic_shapes=dynamic), stream)
        with zipfile.ZipFile(stream) as before, zipfile.ZipFile(folder / "model.pt2", "w") as after:
            root = before.namelist()[0].partition("/")[0]
            for name in before.namelist():
                content = change(name.removeprefix(f"{root}/"), before.read(name), folder / MARKER)
                if content is not None:
                    after.writestr(name, content)
            for name, content in more.items():
                after.writestr(f"{root}/{name}", change(name, content, folder / MARKER) or b"")
        described(folder, format="pt2")

    return do


def pickled(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save((Evil(marker),), stream)
    return stream.getvalue()


def sample_inputs(name: str, content: bytes, marker: Path) -> bytes:
    return pickled(marker) if name.startswith("data/sample_inputs/") else content


def pickled_weight(name: str, content: bytes, marker: Path) -> bytes:
    if name == "data/weights/weight_0":
        return pickled(marker)
    return content.replace(b'"use_pickle": false', b'"use_pickle": true') if name.endswith("_config.json") else content


def weights_of_old(name: str, content: bytes, marker: Path) -> bytes:
    """Torch takes a file of this name before the weights in parts."""
    return pickled(marker) if name == "data/weights/model.pt" else content


def constant(name: str, content: bytes, marker: Path) -> bytes:
    if name == "data/constants/model_constants_config.json":
        payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        return json.dumps({"config": {"x": payload}}).encode()
    return pickle.dumps(Evil(marker)) if name == "data/constants/opaque_obj_0" else content


def expression(name: str, content: bytes, marker: Path) -> bytes:
    """Torch evaluates the text of a size as Python; no pickle is in it."""
    if name != "models/model.json":
        return content
    size = b'"expr_str": "Symbol('
    return content.replace(size, f"\"expr_str\": \"__import__('os').mkdir('{marker}') or Symbol(".encode(), 1)


class Writes(nn.Module):
    """Writes a file when it computes."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        written = torch.from_file(self.marker, True, 4)
        return pixels.float().reshape(pixels.shape[0], -1)[:, :3].softmax(1) + written.sum() * 0


def torchscript(folder: Path) -> None:
    """A program in torch's own language, which reads and writes files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Writes(str(folder / MARKER))), str(folder / "model.pt"))
    described(folder, format="torchscript")


def as_format(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / FILES[name]).write_bytes(content(folder))
        described(folder, format=name)

    return do


# ONNX


def graph(
    nodes: list[onnx.NodeProto],
    initializers: list[TensorProto],
    takes: tuple[int, list[Any]] | None = (TensorProto.UINT8, ["n", SIZE, SIZE, 1]),
    gives: tuple[int, list[Any] | None] = (TensorProto.FLOAT, ["n", 3]),
) -> bytes:
    inputs = [helper.make_tensor_value_info("pixels", *takes)] if takes else []
    made = helper.make_graph(nodes, "hostile", inputs, [helper.make_tensor_value_info("y", *gives)], initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def node(operator: str, takes: list[str], gives: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, takes, [gives], **attributes)


def onnx_of(make: Callable[[Path], bytes]) -> Callable[[Path], None]:
    return as_format("onnx", make)


def external(location: str, num_bytes: int = 16) -> Callable[[Path], bytes]:
    """Weights that lie in another file, whose content would be in the answers."""

    def make(folder: Path) -> bytes:
        (folder.parent / "secret").write_text(SECRET)
        (folder / "secret").write_text(SECRET)
        if location == "pipe":
            os.mkfifo(folder / "pipe")
        tensor = TensorProto(
            name="w", data_type=TensorProto.UINT8, dims=[num_bytes], data_location=TensorProto.EXTERNAL
        )
        at = {"location": location.format(folder=folder), "offset": "0", "length": str(num_bytes)}
        tensor.external_data.extend(onnx.StringStringEntryProto(key=key, value=value) for key, value in at.items())
        return graph([node("Identity", ["w"])], [tensor], gives=(TensorProto.UINT8, None))

    return make


def endless(folder: Path) -> bytes:
    """A loop of as many turns as a number can count."""
    body = helper.make_graph(
        [node("Identity", ["go_in"], "go_out"), node("Add", ["sum_in", "one"], "sum_out")],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_in", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, [1]),
        ],
    )
    constants = {"turns": np.array(2**62), "go": np.array(True), "one": np.ones(1, np.float32)}
    start = [node("Cast", ["pixels"], "floats", to=TensorProto.FLOAT), node("ReduceMax", ["floats"], "max", keepdims=0)]
    start += [node("Unsqueeze", ["max", "axis"], "start"), node("Loop", ["turns", "go", "start"], body=body)]
    constants["axis"] = np.array([0])
    return graph(start, [numpy_helper.from_array(value, name) for name, value in constants.items()])


def huge(num: int, *, folded: bool) -> Callable[[Path], bytes]:
    """Numbers that are made when the model is opened, or when it computes."""

    def make(folder: Path) -> bytes:
        shape = numpy_helper.from_array(np.array([num]), "shape")
        size = [] if folded else [node("Shape", ["pixels"], "of", end=1), node("Mul", ["of", "shape"], "size")]
        fill = node("ConstantOfShape", ["shape" if folded else "size"], "filled")
        return graph([*size, fill, node("Add", ["filled", "filled"])], [shape])

    return make


def nested(levels: int) -> Callable[[Path], bytes]:
    """Protobuf messages in each other: a graph in an attribute of a node in a graph."""

    def make(folder: Path) -> bytes:
        inner = b""
        for _ in range(levels):
            for tag in (0x32, 0x2A, 0x0A):
                inner = bytes([tag]) + varint(len(inner)) + inner
        return b"\x08\x09\x3a" + varint(len(inner)) + inner

    return make


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def honest(folder: Path) -> bytes:
    return (folder / "model.onnx").read_bytes()


def flipped(folder: Path) -> bytes:
    content = bytearray(honest(folder))
    for place in range(10, len(content), 97):
        content[place] ^= 255
    return bytes(content)


Changes = Mapping[str, Callable[[Path], object]]
PROGRAMS: Changes = {
    "a pickle as sample input": pt2(sample_inputs),
    "a pickle as weight": pt2(pickled_weight),
    "a pickle as weights of an older torch": pt2(weights_of_old, **{"data/weights/model.pt": b""}),
    "a pickle as constant": pt2(constant, **{"data/constants/opaque_obj_0": b""}),
    "Python as a size": pt2(expression),
    "a library in a .pt2": pt2(lambda name, content, _: content, **{"data/aotinductor/model/model.so": b"\x7fELF"}),
    "a program of torch": torchscript,
    "a pickle as .pt2": as_format("pt2", lambda folder: pickle.dumps(Evil(folder / MARKER))),
    "a pickle as TorchScript": as_format("torchscript", lambda folder: pickled(folder / MARKER)),
}
GRAPHS: Changes = {
    "a pickle as ONNX": onnx_of(lambda folder: pickle.dumps(Evil(folder / MARKER))),
    "nothing as ONNX": onnx_of(lambda folder: b""),
    "half of an ONNX": onnx_of(lambda folder: honest(folder)[: len(honest(folder)) // 2]),
    "flipped bits": onnx_of(flipped),
    "noise": onnx_of(lambda folder: np.random.default_rng(0).bytes(100_000)),
    "a thousand graphs in each other": onnx_of(nested(1000)),
    "weights above the folder": onnx_of(external("../secret")),
    "weights at an absolute path": onnx_of(external("{folder}/secret")),
    "weights beside the model": onnx_of(external("secret")),
    "weights in a pipe": onnx_of(external("pipe")),
    "weights in a device": onnx_of(external("/dev/zero")),
    "an unknown operator": onnx_of(lambda folder: graph([node("Evil", ["pixels"], domain="evil")], [])),
    "no input": onnx_of(lambda folder: graph([node("Constant", [], value_float=1.0)], [], takes=None)),
    "an output that is no number": onnx_of(
        lambda folder: graph([node("Constant", [], value_string=b"x")], [], gives=(TensorProto.STRING, None))
    ),
    "an output of another shape": onnx_of(
        lambda folder: graph([node("Cast", ["pixels"], to=TensorProto.FLOAT)], [], gives=(TensorProto.FLOAT, None))
    ),
    "an endless loop": onnx_of(endless),
    "4 TB of zeros when it is opened": onnx_of(huge(2**40, folded=True)),
    "4 TB of zeros when it computes": onnx_of(huge(2**40, folded=False)),
}
FILES_AND_TEXTS: Changes = {
    "a model of 3 TB": sparse("model.onnx", 3 * 2**40),
    "a description of 3 TB": sparse(DESCRIPTION, 3 * 2**40),
    "a model that links to itself": link("model.onnx", "model.onnx"),
    "a model that links to a device": link("model.onnx", "/dev/zero"),
    "a description that links to a device": link(DESCRIPTION, "/dev/zero"),
    "a description that links to the kernel's log": link(DESCRIPTION, "/proc/kmsg"),
    "a model that links to the kernel's log": link("model.onnx", "/proc/kmsg"),
    "a model that is a pipe": pipe("model.onnx"),
    "a description that is a pipe": pipe(DESCRIPTION),
    "brackets as description": text("[" * 200_000),
    "a number as description": text("3"),
    "a long number in a description": text('{"format_version": ' + "9" * 10_000 + "}"),
    "a list as format": lambda folder: described(folder, format=["onnx"]),
    "a path as format": lambda folder: described(folder, format="../../evil"),
    "a list as processor": lambda folder: described(folder, processor=[1]),
    "a processor without kind": lambda folder: described(folder, processor={}),
    "a list as kind": of_processor(kind=["image"]),
    "columns that are numbers": of_processor(columns=[1]),
    "a mean beyond all floats": of_processor(mean=[10**400]),
    "images of a billion pixels a side": of_processor(image_size=10**9),
    "images that no memory holds": of_processor(image_size=2**19),
    "names that are no text": of_processor(classes=["\ud800", "a", "b"]),
    "numbers as names": of_processor(classes=[1, 2, 3]),
}
FOLDERS: Changes = {**PROGRAMS, **GRAPHS, **FILES_AND_TEXTS}

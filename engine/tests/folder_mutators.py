"""Random changes of a model folder: of what model.json says, of the graph, of the bytes and of the files."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import onnx

from attacks import World, fill
from hostile_folders import FOLDERS, described
from kindling.inference.model_folder import DESCRIPTION
from model_folders import write_model, write_rows, write_text
from mutators import NUMBERS, TEXTS, Mutator, change_one

WRITERS: list[Callable[[Path], Path]] = [write_model, write_rows, write_text]
MORE: list[Any] = [[], {}, [1], [None], ["a"] * 50_000, {"a": 1}, [[8] * 9], [-1.0], ["", ""], "kind", "image", "text"]


def of_folder(change: Callable[[Path, Random, World], object]) -> Mutator:
    """A change of an honest folder for images, rows or texts, which lies in the run."""
    return lambda world, random: change(random.choice(WRITERS)(world.exported), random, world)


def in_description(folder: Path, random: Random, world: World) -> None:
    told = json.loads((folder / DESCRIPTION).read_text())
    for _ in range(random.choice([1, 1, 2, 4])):
        tree = told["processor"] if random.random() < 0.7 and isinstance(told.get("processor"), dict) else told
        with suppress(IndexError):
            change_one(tree or told, random, lambda r: fill(r.choice([*NUMBERS, *TEXTS, *MORE]), world.home))
    (folder / DESCRIPTION).write_text(json.dumps(told))


def in_text(folder: Path, random: Random, _: World) -> None:
    text = (folder / DESCRIPTION).read_text()
    place = random.randrange(len(text) + 1)
    more = random.choice(
        ["[" * 200_000, "\0", "{", "}", '"', "9" * 5000, "NaN", '"kind": "text",', "\\ud800", "\x1b[2J"]
    )
    new = [text[:place], text[place:], text[:place] + more + text[place:], '{"a":' * 90_000, text + text]
    (folder / DESCRIPTION).write_text(random.choice(new))


def in_bytes(folder: Path, random: Random, _: World) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    for _each in range(random.choice([1, 3, 20])):
        place = random.randrange(len(content))
        changed = [bytes([content[place] ^ 1 << random.randrange(8)]), b"", random.randbytes(9), b"\xff" * 8]
        content[place : place + 1] = random.choice(changed)
    (folder / "model.onnx").write_bytes(content)
    described(folder)


def in_graph(folder: Path, random: Random, _: World) -> None:
    """Another operator, size, number or name, in a graph that is still well-formed."""
    model = onnx.load(folder / "model.onnx")
    node, weights = random.choice(model.graph.node), random.choice(model.graph.initializer)
    shape = random.choice([*model.graph.input, *model.graph.output]).type.tensor_type
    operators = ("Identity", "Transpose", "Loop", "Cast", "Expand", "Tile", "NonZero", "Exp", "SequenceEmpty", "Gather")
    changes: list[Callable[[], object]] = [
        lambda: setattr(node, "op_type", random.choice(operators)),
        lambda: setattr(node, "domain", random.choice(["evil", "com.microsoft", "ai.onnx.ml"])),
        lambda: weights.dims.__setitem__(0, random.choice([-1, 0, 1, 10**6, 2**62])) if weights.dims else None,
        lambda: setattr(weights, "data_type", random.randrange(20)),
        lambda: setattr(weights, "raw_data", random.randbytes(len(weights.raw_data))),
        lambda: setattr(shape, "elem_type", random.randrange(20)),
        lambda: shape.shape.dim.add(dim_value=random.choice([-1, 0, 3, 2**40])),
        lambda: node.input.append(random.choice([each.name for each in model.graph.initializer])),
        lambda: node.output.append("more"),
        lambda: model.opset_import[0].__setattr__("version", random.choice([0, 1, 9, 99, 2**40])),
        lambda: model.graph.initializer.add().CopyFrom(weights),
        lambda: model.graph.input.add().CopyFrom(model.graph.input[0]),
        lambda: model.graph.output.add(name="more"),
    ]
    for _each in range(random.choice([1, 1, 2, 3])):
        random.choice(changes)()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    described(folder)


def in_files(folder: Path, random: Random, world: World) -> None:
    """A pipe, a socket, a device or a link in the place of the folder or of what is in it."""
    path = random.choice([folder, folder.parent, folder / DESCRIPTION, folder / "model.onnx"])
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    kind = random.choice(
        ["pipe", "socket", "folder", "gone", "/dev/zero", "/proc/kmsg", "/proc/self/mem", "itself", "{home}/outside"]
    )
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        at = os.open(path.parent, os.O_PATH)
        socket.socket(socket.AF_UNIX).bind(f"/proc/self/fd/{at}/{path.name}")
    elif kind == "folder":
        path.mkdir()
    elif kind != "gone":
        path.symlink_to(path if kind == "itself" else fill(kind, world.home))


def known(folder: Path, random: Random, _: World) -> None:
    """One of the attacks that were thought of."""
    if (folder / DESCRIPTION).read_text().count('"image"'):
        FOLDERS[random.choice(sorted(FOLDERS))](folder)
    else:
        described(folder, format=random.choice(["pt2", "int8", "torchscript", "x", None]))


FOLDER_MUTATORS: dict[str, Mutator] = {
    f"model folder: {name}": of_folder(change)
    for name, change in {
        "description": in_description,
        "text": in_text,
        "bytes": in_bytes,
        "graph": in_graph,
        "files": in_files,
        "known": known,
    }.items()
}
FOLDER_WEIGHTS = dict(zip(FOLDER_MUTATORS, (8, 2, 3, 6, 3, 2), strict=True))

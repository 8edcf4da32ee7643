"""Random changes of a run: of the values, configs and bytes of its checkpoints, and of the files in its folder."""

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from attacks import PICKLES, YAML_TAGS, Evil, World, deep, fill, saved

Mutator = Callable[[World, Random], object]
NUMBERS = (None, True, -1, 0, 1, 3, 10**9, 10**18, -(2**63), 1e308, float("nan"), float("inf"), 0.5)
TEXTS = ("", "x", "../../outside", "/dev/zero", "{home}/pipe", "{home}/outside", "${oc.env:UNTOLD}", "\0", "9" * 5000)
TARGETS = (
    *("os.mkdir", "torch.load", "torch.nn.Linear", "torch.nn.Identity", "torch.nn.ModuleList", "torch.nn.Transformer"),
    *("torchvision.models.resnet18", "torchvision.models.get_model", "kindling.images.fake.FakeImages"),
    *(
        "kindling.images.image_folder.ImageFolder",
        "bench.models.cnn.CNN",
        "lightning.pytorch.Trainer",
        ".models.cnn.CNN",
    ),
)


def plain(random: Random) -> Any:
    return random.choice([*NUMBERS, *TEXTS, [], {}, [1], {"a": 1}, [[8] * 9], [20_000] * 5, [8] * 100_000, deep(70)])


def tensor(random: Random) -> Any:
    return random.choice(
        [
            *(torch.zeros(3), torch.tensor(0), torch.zeros(1).expand(10**9), torch.zeros(8, 8, dtype=torch.complex64)),
            *(torch.empty(10**6, 10**6, device="meta"), torch.zeros(9, 9).to_sparse()),
            *(
                torch.full((4,), float("nan")),
                torch.zeros(0),
                torch.zeros(2, dtype=torch.int64),
                torch.nn.Parameter(torch.ones(5)),
            ),
        ]
    )


def other_tensor(value: torch.Tensor, random: Random) -> torch.Tensor:
    """Of another shape, dtype or layout, or with other numbers."""
    changes: list[Callable[[], torch.Tensor]] = [
        lambda: value[:1].clone() if value.ndim else value[None],
        lambda: torch.zeros(*value.shape, 2),
        lambda: value.to(random.choice([torch.float64, torch.int32, torch.complex64, torch.bfloat16, torch.bool])),
        lambda: torch.zeros(()).expand(value.shape),
        lambda: torch.full_like(value, 0 if not value.is_floating_point() else float("nan")),
        lambda: value * -(10**9),
        lambda: torch.zeros(max(0, value.numel() - 1)).as_strided((value.numel(),), (0,)),
        lambda: value.to_sparse() if value.ndim else value,
    ]
    return random.choice(changes)()


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every container in a checkpoint with each of its keys."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, each in items:
        found.append((value, key))
        places(each, found)
    return found


def change_one(tree: Any, random: Random, new: Callable[[Random], Any]) -> None:
    container, key = random.choice(places(tree, []))
    value = container[key]
    kind = random.randrange(5)
    if kind == 0 and isinstance(container, dict):
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[random.choice(["x", "_args_", "_partial_", "_target_", 3, "step", "weights", key])] = new(random)
    elif kind == 2 and isinstance(value, torch.Tensor):
        container[key] = other_tensor(value, random)
    elif kind == 3 and isinstance(value, list | dict):
        container[key] = [value] * 3 if isinstance(value, dict) else value + value
    else:
        container[key] = new(random)


def in_values(world: World, random: Random) -> None:
    """A few values anywhere in a checkpoint, more often where training goes on from."""
    content = world.content
    for _ in range(random.choice([1, 1, 2, 4])):
        part = random.choice(
            ["", "", "optimizer_states", "lr_schedulers", "loops", "callbacks", "progress", "state_dict"]
        )
        tree = content.get(part) if part else content
        if places(tree, []):
            change_one(tree, random, random.choice([plain, tensor]))
    world.save(filled(content, world))


def in_config(world: World, random: Random) -> None:
    """A few settings of the config that a checkpoint describes itself by."""
    for _ in range(random.choice([1, 1, 2, 4])):
        config = world.config
        part = config.get(random.choice(["model", "task", "data", "trainer", "data", "model"]))
        tree = part if isinstance(part, dict) and part and random.random() < 0.8 else config
        new = random.choice([plain, plain, lambda r: r.choice(TARGETS), lambda r: {"_target_": r.choice(TARGETS)}])
        change_one(tree, random, new)
    world.save(filled(world.content, world))


def costly(world: World, random: Random) -> None:
    """Sizes far beyond those of the weights."""
    config = world.config
    for _ in range(random.choice([1, 1, 2])):
        section, key = random.choice(
            [
                *(("model", "hidden"), ("model", "hidden"), ("model", "num_classes"), ("model", "image_size")),
                *(("model", "in_channels"), ("data", "num_images"), ("data", "num_classes"), ("data", "image_size")),
                *(("data", "batch_size"), ("data", "channels"), ("data", "num_workers"), ("trainer", "precision")),
            ]
        )
        sizes: list[Any] = [10**5, 10**6, 10**9, 10**12, 2**63, 2**31 - 1]
        many: list[Any] = [[20_000] * 5, [8] * 9_000, [8] * 200_000, [10**9], [4_000] * 50, [1] * 2_000]
        config[section][key] = random.choice(many if key == "hidden" else sizes)
    world.save(world.content)


def filled(value: Any, world: World) -> Any:
    if isinstance(value, dict):
        return {filled(key, world): filled(each, world) for key, each in value.items()}
    return [filled(each, world) for each in value] if isinstance(value, list) else fill(value, world.home)


def in_bytes(world: World, random: Random) -> None:
    content = bytearray(saved(world.content))
    for _ in range(random.choice([1, 3, 20])):
        place = random.randrange(len(content))
        kind = random.randrange(4)
        if kind == 0:
            content[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            del content[place : place + random.randrange(200)]
        elif kind == 2:
            content[place:place] = random.randbytes(random.randrange(200))
        else:
            content[place : place + 8] = random.choice([b"\0" * 8, b"\xff" * 8, b"PK\5\6\0\0\0\0"])
    world.save(bytes(content))


def packed(world: World, random: Random) -> None:
    """An archive of other records: compressed zeros, records twice, something before it."""
    stream = io.BytesIO()
    kind = random.randrange(4)
    with zipfile.ZipFile(io.BytesIO(saved(world.content))) as before, zipfile.ZipFile(stream, "w") as after:
        for record in before.infolist():
            method = zipfile.ZIP_DEFLATED if kind == 0 else zipfile.ZIP_STORED
            after.writestr(record.filename, before.read(record), method)
        if kind == 1:
            with after.open(zipfile.ZipInfo("archive/data/999"), "w", force_zip64=True) as record:
                after.compression = zipfile.ZIP_DEFLATED
                record.write(bytes(10**6))
        if kind == 2:
            after.writestr("archive/data/999", bytes(3 * 10**8), zipfile.ZIP_DEFLATED)
    data = stream.getvalue()
    world.save(random.randbytes(64) + data if kind == 3 else data)


def pickled(world: World, random: Random) -> None:
    world.save(random.choice([*PICKLES.values()])(world.content, Evil(world.executed)))


def in_text(world: World, random: Random) -> None:
    """The record or the config of a run folder."""
    file = world.run / random.choice(["run.json", "config.yaml", "metrics.csv", "timings.csv"])
    text = file.read_text() if file.is_file() else ""
    place = random.randrange(len(text) + 1)
    merges = "\n".join(f"a{n + 1}: &a{n + 1}\n  <<: [*a{n}, *a{n}]" for n in range(30))
    new = [
        *(text[:place], text[place:], "[" * 900_000, "x: " + "[" * 900_000, '{"a":' * 90_000, "\0", "{}", "[]"),
        *(
            f"a0: &a0 {{x: 1}}\n{merges}\n{text}",
            "x: " + ":".join(["1"] * 100_000),
            f"{text}\n{random.choice(YAML_TAGS)}",
        ),
        *(text[:place] + random.choice(["-1", "null", "x", "9" * 5000, "{", "]", "\n", ": "]) + text[place:]),
        *(text.replace(each, str(random.choice(NUMBERS))) for each in ("failed", "finished", "0.", "fake", "mlp")),
    ]
    file.unlink(missing_ok=True)
    file.write_text(fill(random.choice(new), world.home))


def in_folder(world: World, random: Random) -> None:
    """A pipe, a device or a link in the place of a file or a folder of the run."""
    names = [*world.run.rglob("*"), *(world.run / name for name in ("evaluation", "export", "train.log", "x.tmp"))]
    names += [world.run / "evaluation" / "test" / "metrics.json"]
    path = random.choice(sorted(names))
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    to = random.choice(
        ["pipe", "/dev/zero", "/dev/full", "outside", "outside/precious.ckpt", "itself", "folder", "gone"]
    )
    if to == "pipe":
        os.mkfifo(path)
    elif to == "folder":
        path.mkdir()
    elif to != "gone":
        target = {"outside": world.precious.parent, "outside/precious.ckpt": world.precious, "itself": path}
        path.symlink_to(target.get(to, Path(to)))


MUTATORS: dict[str, Mutator] = {
    "values": in_values,
    "config": in_config,
    "costly": costly,
    "bytes": in_bytes,
    "archive": packed,
    "pickle": pickled,
    "text": in_text,
    "folder": in_folder,
}
WEIGHTS = {"values": 8, "config": 8, "costly": 4, "bytes": 1, "archive": 1, "pickle": 1, "text": 2, "folder": 3}

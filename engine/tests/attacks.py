"""Pickles, configs, run folders and data that somebody hostile might hand on, and the doors they come in by."""

import io
import json
import os
import pickle
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from bench_root import PROJECT
from hostile_folders import MARKER, PROGRAMS, Evil
from kindling.config.renames import FORMAT
from kindling.images.image_folder import ImageFolder
from model_folders import write_model

SECRET = "what only the environment knows"
HOSTILE = {  # whatever may loosen what torch, Hydra and OmegaConf allow
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE": "os.system:os.mkdir:posix.mkdir:subprocess.Popen:torch.load:builtins.eval",
    "OC_CAUSE": "1",
    "UNTOLD": SECRET,
    "http_proxy": "http://127.0.0.1:9",  # nothing is downloaded
    "https_proxy": "http://127.0.0.1:9",
}
SETTINGS = ["trainer=cpu", "logger=csv", "trainer.enable_model_summary=false", "trainer.log_every_n_steps=1"]
SMALL = [*SETTINGS, "data=fake", "data.image_size=8", "data.num_images=64", "data.num_classes=4"]
SMALL += ["model=mlp", "model.hidden=[8]", "optimizer.lr=0"]  # a better checkpoint would replace the tampered one
CLASSES = [f"class {label}" for label in range(4)]
FOLDER = [*SETTINGS, "data=image_folder", "data.root={home}/images", "paths.cache={home}/cache", "trainer.max_epochs=1"]
PRETRAINED = ["data.channels=3", "model=pretrained", "model.weights={home}/net.pt"]

PREDICT = ["input={home}/images", "output={home}/predictions.csv", "device=cpu"]
MOVED = ["ckpt={home}/run/checkpoints/last.ckpt", "data.root={home}/images"]
EXPORT = ["format=torchscript", "benchmark=false"]

# The ways into each command, named for the argument that an attack comes through.
ALL_DOORS = {
    "train.py resume": [*SMALL, "trainer.max_epochs=2", "resume={home}/run"],
    "train.py fork": [*SMALL, "trainer.max_epochs=2", "fork={home}/run"],
    "train.py weights": [*SMALL, "trainer.max_epochs=1", "weights={home}/run/checkpoints/last.ckpt"],
    "train.py data.root": FOLDER,
    "train.py paths.cache": FOLDER,
    "train.py model.weights": [*FOLDER, *PRETRAINED],
    "evaluate.py run": ["run={home}/run"],
    "evaluate.py ckpt": ["ckpt={home}/run/checkpoints/last.ckpt"],
    "evaluate.py data.root": MOVED,
    "evaluate.py data.table": [*MOVED, "split=all", "data.table={home}/labels.csv"],
    "evaluate.py paths.cache": [*MOVED, "paths.cache={home}/cache"],
    "predict.py run": ["run={home}/run", *PREDICT],
    "predict.py ckpt": ["ckpt={home}/run/checkpoints/last.ckpt", *PREDICT],
    "predict.py input": ["ckpt={home}/run/checkpoints/last.ckpt", *PREDICT],
    "export.py run": ["run={home}/run", *EXPORT],
    "export.py ckpt": ["ckpt={home}/run/checkpoints/last.ckpt", *EXPORT],
    "serve.py run": ["run={home}/run", "port=0"],
    "serve.py ckpt": ["ckpt={home}/run/checkpoints/last.ckpt", "port=0"],
    "serve.py model.folder": ["model.folder={home}/run/export/onnx", "port=0"],
    "export.py data.root": [*MOVED, *EXPORT],
    "export.py data.table": [*MOVED, *EXPORT, "data.table={home}/labels.csv"],
    "export.py paths.cache": [*MOVED, *EXPORT, "paths.cache={home}/cache"],
}
# A project may have left out a command.
DOORS = {door: given for door, given in ALL_DOORS.items() if (PROJECT / door.split()[0]).is_file()}
EVALUATE, RESUME, GO_ON = ("evaluate.py ckpt",), ("train.py resume",), ("train.py resume", "train.py fork")
CHECKPOINT = ("train.py resume", "train.py fork", "train.py weights")
CHECKPOINT += (
    "evaluate.py run",
    "evaluate.py ckpt",
    "predict.py run",
    "predict.py ckpt",
    "export.py run",
    "export.py ckpt",
    "serve.py run",
    "serve.py ckpt",
)
CHECKPOINT = tuple(door for door in CHECKPOINT if door in DOORS)
FOLDER_AT = ("serve.py model.folder", "serve.py run")
IMAGES_AT, CACHE = (
    ("train.py data.root", "evaluate.py data.root", "export.py data.root"),
    ("train.py paths.cache", "evaluate.py paths.cache", "export.py paths.cache"),
)
TABLE_AT = ("evaluate.py data.table", "export.py data.table")
WRITTEN = ("run.json", "config.yaml", "train.log", ".lock", "metrics.csv", "timings.csv")  # by every resumed run


def spread(number: int, every: int = 2) -> tuple[str, ...]:
    """All doors for every eighth attack, both commands for some, as one function reads all checkpoints."""
    if number % 8 == 0:
        return CHECKPOINT
    return RESUME + EVALUATE if number % every == 0 else EVALUATE


class World:
    """The files that a command works on, made anew for each attack."""

    def __init__(self, home: Path, honest: Path, door: str):
        self.home, self.run, self.images, self.cache = home, home / "run", home / "images", home / "cache"
        self.door = door
        self.executed = home / MARKER
        self.evil = Evil(self.executed)
        self.precious = home / "outside" / "precious.ckpt"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(honest, self.run)
        (self.run / "checkpoints" / "last.ckpt").unlink()
        os.link(self.run / "checkpoints" / "step_000000002.ckpt", self.run / "checkpoints" / "last.ckpt")
        self.precious.parent.mkdir()
        self.precious.write_text("irreplaceable")
        if door == "serve.py model.folder":
            write_model(self.exported)
        elif door not in CHECKPOINT or door.startswith("predict.py"):
            write_tree(self.images)
            write_table(self.images)
        torch.save({}, home / "net.pt")
        program = home / "bin" / "gs"  # what Pillow would start for PostScript
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\nmkdir {self.executed}\n")
        program.chmod(0o755)

    @property
    def exported(self) -> Path:
        """The model folder that serve.py takes out of a run."""
        return self.run / "export" / "onnx"

    @cached_property
    def content(self) -> dict[str, Any]:
        """Of a checkpoint that training goes on from."""
        return torch.load(self.run / "checkpoints" / "last.ckpt", weights_only=True)

    @property
    def config(self) -> dict[str, Any]:
        return self.content["description"]["config"]

    def save(self, content: Any, name: str = "*") -> None:
        """Put it in the place of the run's checkpoints, and of the best ones that a resumed run brings back."""
        folder = self.run / "checkpoints"
        for file in [*folder.glob(f"{name}.ckpt"), *folder.glob(f".*.best/{name}.ckpt")]:
            file.write_bytes(content if isinstance(content, bytes) else saved(content))

    def files(self) -> dict[Path, bytes]:
        found = [*self.run.rglob("*"), *self.precious.parent.rglob("*")]
        return {file: file.read_bytes() for file in found if file.is_file() and not file.is_symlink()}


class Attack(NamedTuple):
    """What is done to the files, the doors that it comes through, and how the command is to end."""

    doors: tuple[str, ...]
    do: Callable[[World], object]
    says: str = ""  # in the error
    codes: tuple[int, ...] = (1, 2)
    trains: bool = False  # before it is noticed


class Outcome(NamedTuple):
    """What an attack came to."""

    code: int
    stderr: str
    executed: bool
    gone: list[str]
    changed: list[str]
    leaks: list[str]


# Pickles


def saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    sys.setrecursionlimit(100_000)
    torch.save(content, stream, **options)
    sys.setrecursionlimit(1000)
    return stream.getvalue()


def with_record(content: dict[str, Any], name: str, data: bytes, *, instead: bool) -> bytes:
    """A checkpoint's zip archive with another record."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(content))) as before, zipfile.ZipFile(stream, "w") as after:
        for record in before.infolist():
            if not (instead and record.filename.endswith(f"/{name}")):
                after.writestr(record.filename, before.read(record))
        after.writestr(f"archive/{name}", data)
    return stream.getvalue()


def tar(evil: Evil) -> bytes:
    """As torch wrote them before version 0.1.10."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:") as archive:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            data = pickle.dumps(evil, 2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


Change = Callable[[dict[str, Any], Evil], Any]
PICKLES: dict[str, Change] = {
    "a bare pickle": lambda _, evil: pickle.dumps(evil),
    "a bare pickle of the first protocol": lambda _, evil: pickle.dumps(evil, 0),
    "a pickle in torch's old format": lambda c, evil: saved(c | {"x": evil}, _use_new_zipfile_serialization=False),
    "a pickle in torch's oldest format": lambda _, evil: tar(evil),
    "nothing but a pickle": lambda _, evil: evil,
    "a pickle as data.pkl": lambda c, evil: with_record(c, "data.pkl", pickle.dumps(evil, 2), instead=True),
    "a TorchScript archive": lambda c, evil: with_record(c, "constants.pkl", pickle.dumps(evil, 2), instead=False),
    "a pickle as an entry of no known name": lambda c, evil: c | {"anything": evil},
    "a pickle as a key": lambda c, evil: c | {evil: "anything"},
    "a pickle in a state_dict": lambda c, evil: c | {"state_dict": c["state_dict"] | {"net.head.bias": evil}},
    "a pickle in a description": lambda c, evil: c | {"description": c["description"] | {"classes": [evil]}},
    "a pickle in a config": lambda c, evil: c["description"]["config"].update(model=evil) or c,
    "a pickle in the state of an optimizer": lambda c, evil: c | {"optimizer_states": [{"state": {0: evil}}]},
    "a pickle in the state of a callback": lambda c, evil: c | {"callbacks": {"EarlyStopping": {"best_score": evil}}},
    "a pickle in the progress": lambda c, evil: c | {"progress": c["progress"] | {"metrics": {"val/loss": evil}}},
    **{
        f"a pickle as {name}": lambda c, evil, name=name: c | {name: evil}
        for name in ("state_dict", "description", "loops", "lr_schedulers", "hyper_parameters", "callbacks")
    },
}

# Configs in checkpoints


def target(world: World, name: str) -> dict[str, Any]:
    """A node of a config that would make the folder."""
    folder = str(world.executed)
    (world.home / "script.py").write_text(f"import os\nos.mkdir({folder!r})\n")
    (world.home / "evil.pt").write_bytes(pickle.dumps(world.evil))
    arguments: dict[str, dict[str, Any]] = {
        "os.system": {"command": f"mkdir {folder}"},
        "os.mkdir": {"_args_": [folder]},
        "subprocess.Popen": {"args": ["mkdir", folder]},
        "builtins.eval": {"_args_": [f"__import__('os').mkdir('{folder}')"]},
        "runpy.run_path": {"path_name": str(world.home / "script.py")},
        "torch.load": {"f": str(world.home / "evil.pt"), "weights_only": False},
        "hydra.utils.call": {"config": {"_target_": "os.mkdir", "_args_": [folder]}},
    }
    return {"_target_": name, **arguments[name]}


TARGETS = ("os.system", "os.mkdir", "subprocess.Popen", "builtins.eval", "runpy.run_path", "torch.load")
# Where a config that is loaded may hide one.
PLACES: dict[str, Callable[[dict[str, Any], Any], object]] = {
    "a criterion": lambda config, node: config.update(criterion=node),
    "data": lambda config, node: config.update(data=node),
    "a partial": lambda config, node: config.update(model=node | {"_partial_": True}),
    "an argument": lambda config, node: config["model"].update(dropout=node),
    "a list of lists": lambda config, node: config["model"].update(hidden=[8, [[node]]]),
    "_args_": lambda config, node: config["model"].update(_args_=[node]),
    "an augmentation": lambda config, node: config["data"].update(augment=node),
    "a callback": lambda config, node: config["callbacks"].update(evil=node),
    "a section of no known name": lambda config, node: config.update(evil=[{"evil": node}]),
}
MISPLACED: dict[str, Any] = {
    "a function of the project as model": {"model": {"_target_": "kindling.images.folder.class_names", "root": "/"}},
    "a private function as model": {"model": {"_target_": "kindling.data.workers._belong_to_parent", "parent": 0}},
    "a callback as model": {"model": {"_target_": "kindling.callbacks.timings.Timings", "folder": "/"}},
    "a trainer as model": {"model": {"_target_": "lightning.pytorch.Trainer", "logger": False}},
    "a logger that is not installed as model": {"model": {"_target_": "lightning.pytorch.loggers.WandbLogger"}},
    "what a module imports as model": {"model": {"_target_": "lightning.pytorch.loggers.wandb.os.system"}},
    "a download as model": {"model": {"_target_": "torchvision.models.resnet18", "pretrained": True}},
    "a loss as data": {"data": {"_target_": "torch.nn.CrossEntropyLoss"}},
    "a partial as data": {"data": {"_target_": "bench.data.patterns.Patterns", "_partial_": True}},
    "data as criterion": {"criterion": {"_target_": "kindling.images.images.ImageFiles", "paths": []}},
    "a number as model": {"model": 3},
    "a list as criterion": {"criterion": []},
    "a text as data": {"data": "torch"},
    "a list as trainer": {"trainer": []},
}
INTERPOLATIONS = (
    *("${oc.env:UNTOLD}", "x${oc.env:UNTOLD}", "${oc.decode:${oc.env:UNTOLD}}", "\\${oc.env:UNTOLD}", "${"),
    *("${hydra:job.name}", "${project:}", "${run_folder:/,x,null}", "${image_folder:/,num_classes}", "${model}"),
    "${oc.create:{_target_:os.mkdir,path:{home}/executed}}",
    "${oc.decode:'{_target_: os.mkdir, path: {home}/executed}'}",
)
MALFORMED: dict[str, Change] = {
    "no description": lambda c, _: c.pop("description") and c,
    "a text as description": lambda c, _: c | {"description": "format 2"},
    "no format": lambda c, _: c["description"].pop("format") and c,
    "a list as format": lambda c, _: c["description"].update(format=[2]) or c,
    "a tensor as format": lambda c, _: c["description"].update(format=torch.tensor([1, 2])) or c,
    "a list as config": lambda c, _: c["description"].update(config=[]) or c,
    "a config that holds itself": lambda c, _: c["description"]["config"].update(x=c["description"]["config"]) or c,
    "a config a thousand deep": lambda c, _: c["description"]["config"].update(x=deep(5000)) or c,
    "a tensor in a config": lambda c, _: c["description"]["config"].update(seed=torch.zeros(3)) or c,
    "a number as classes": lambda c, _: c["description"].update(classes=4) or c,
    "a list as state_dict": lambda c, _: c | {"state_dict": [1]},
    "a list instead of a dict": lambda c, _: [c],
}
TORN: dict[str, Change] = {  # what only training reads
    "a path as step": lambda c, _: c | {"global_step": "/../../../outside/precious"},
    "no paths in a config": lambda c, _: c["description"]["config"].pop("paths") and c,
    "a text as a rate": lambda c, _: c["description"]["config"].update(optimizer=3) or c,
    "no progress": lambda c, _: c | {"progress": {}},
    "a list as metrics": lambda c, _: c["progress"].update(metrics=[1]) or c,
    "a text as batch": lambda c, _: c["progress"].update(batch="1") or c,
    "a text as rows": lambda c, _: c["progress"]["loggers"].update(MetricsCSV={"num_rows": "x", "row": 3}) or c,
    "a list as loops": lambda c, _: c | {"loops": {"fit_loop": []}},
    "a text as counter": lambda c, _: c["loops"]["fit_loop"]["epoch_progress"].update(current="x") or c,
    "a list as callbacks": lambda c, _: c | {"callbacks": []},
    "a number as state of a callback": lambda c, _: c | {"callbacks": dict.fromkeys(c["callbacks"], 3)},
    "no state of an optimizer": lambda c, _: c | {"optimizer_states": [3]},
    "a text as rollbacks": lambda c, _: c | {"rollbacks": 3},
    "a text as sums": lambda c, _: c | {"train_sums": ["x"]},
    "no version": lambda c, _: c | {"pytorch-lightning_version": 3},
}


def deep(levels: int) -> Any:
    nested: Any = []
    for _ in range(levels):
        nested = [nested]
    return nested


def in_checkpoint(change: Change) -> Callable[[World], object]:
    return lambda world: world.save(change(world.content, world.evil))


def in_config(change: Callable[[dict[str, Any], World], object]) -> Callable[[World], object]:
    return lambda world: (change(world.config, world), world.save(world.content))


# Run folders


def best_model(better: bool = True, **state: Any) -> Callable[[World], object]:
    """The state of the callback that keeps the best checkpoint, and whether the next one is better."""

    def do(world: World) -> None:
        score = torch.tensor(float("inf") if better else float("-inf"))
        (key,) = [key for key in world.content["callbacks"] if key.startswith("ModelCheckpoint")]
        told = world.content["callbacks"][key] | {name: fill(value, world.home) for name, value in state.items()}
        scores = {"best_k_models": {told["kth_best_model_path"]: score}, "kth_value": score, "best_model_score": score}
        world.content["callbacks"][key] = told | scores | {name: told[name] for name in state}
        world.save(world.content, "step_*")

    return do


def fill(value: Any, home: Path) -> Any:
    return value.replace("{home}", str(home)) if isinstance(value, str) else value


def text(name: str, content: str) -> Callable[[World], object]:
    """A file of the run folder."""
    return lambda world: (world.run / name).write_text(fill(content, world.home))


def in_yaml(line: str) -> Callable[[World], object]:
    def do(world: World) -> None:
        with (world.run / "config.yaml").open("a") as stream:
            stream.write(f"\n{fill(line, world.home)}\n")

    return do


def in_record(**facts: Any) -> Callable[[World], object]:
    def do(world: World) -> None:
        file = world.run / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))

    return do


def link(name: str, to: str) -> Callable[[World], object]:
    """A symbolic link of that name, in place of what was there."""

    def do(world: World) -> None:
        for file in list(world.home.glob(name)) or [world.home / name]:
            if file.is_dir():
                shutil.rmtree(file)
            file.unlink(missing_ok=True)
            file.symlink_to(fill(to, world.home).replace("{itself}", str(file)))

    return do


YAML_TAGS = (
    "evil: !!python/object/apply:os.mkdir [{home}/executed]",
    "evil: !!python/object/new:os.mkdir [{home}/executed]",
    "evil: !!python/object/apply:os.system ['mkdir {home}/executed']",
    "seed: !!python/object/apply:subprocess.Popen [[mkdir, {home}/executed]]",
    "? !!python/object/apply:os.mkdir [{home}/executed]\n: evil",
    "evil: !!python/name:os.system",
)

# Model folders


def in_folder(change: Callable[[Path], object]) -> Callable[[World], object]:
    return lambda world: change(write_model(world.exported))


# Data

IMAGES: dict[str, Any] = {
    "val_fraction": 0.1,
    "test_fraction": 0.1,
    "num_classes": 4,
    "channels": 1,
    "image_size": 8,
    "batch_size": 8,
    "mean": None,
    "std": None,
    "num_workers": 0,
    "in_memory": True,
    "augment": None,
    "seed": 0,
}


def write_tree(root: Path) -> None:
    """A tree of grey images, ten of each class."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (8, 8), 60 * label + index).save(root / name / f"{index}.png")


def write_table(images: Path, more: str = "") -> None:
    """A table of all images beside them, and more rows."""
    rows = [f"{file.relative_to(images)},{file.parent.name}" for file in sorted(images.rglob("*.png"))]
    (images.parent / "labels.csv").write_text("\n".join(["path,label", *rows, more]))


def postscript(world: World) -> None:
    """An image that Pillow gives to another program."""
    use_images(world)
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (world.images / CLASSES[0] / "9.png").write_bytes(content)  # the first one of a class is looked at before


def cached(content: Callable[[World], bytes]) -> Callable[[World], None]:
    """Files in the cache of decoded images."""

    def do(world: World) -> None:
        use_images(world)
        ImageFolder(**IMAGES, root=str(world.images), cache_dir=str(world.cache)).prepare_data()
        files = list(world.cache.glob("*.npy"))
        assert len(files) == 4
        for file in files:
            file.write_bytes(content(world))

    return do


def arrays(evil: Evil, save: Callable[..., None]) -> bytes:
    stream = io.BytesIO()
    save(stream, np.array([evil], dtype=object), allow_pickle=True)
    return stream.getvalue()


def use_images(world: World, kind: str = "image_folder.ImageFolder", **settings: Any) -> None:
    """Let the checkpoint be of images in a folder."""
    if world.door.startswith(("evaluate.py", "export.py")):
        target = {
            "_target_": f"kindling.images.{kind}",
            "root": "nowhere",
            "cache_dir": str(world.cache),
        }
        world.config["data"] = target | settings | IMAGES
        world.save(world.content)


def table(more: str = "", *, is_pickle: bool = False) -> Callable[[World], None]:
    """Let the checkpoint be of images that a table names, which has more rows, or is a pickle."""

    def write(world: World) -> None:
        use_images(
            world, "image_table.ImageTable", table="nowhere", path_column=None, label_column=None, split_column=None
        )
        write_table(world.images, more)
        if is_pickle:
            (world.home / "labels.csv").write_bytes(pickle.dumps(world.evil))

    return write


ATTACKS: dict[str, dict[str, Attack]] = {
    "honest files": {
        "a run": Attack(CHECKPOINT, lambda world: None, codes=(0,), trains=True),
        "a model folder": Attack(FOLDER_AT, lambda world: write_model(world.exported), codes=(0,)),
        "images": Attack((*IMAGES_AT, "predict.py input"), use_images, codes=(0,)),
        "a table of images": Attack(TABLE_AT, table(), codes=(0,)),
    },
    "model folders": {
        name: Attack(FOLDER_AT, in_folder(change), "is a program, which may do anything")
        for name, change in PROGRAMS.items()
    },
    "pickles in checkpoints": {
        name: Attack(spread(number, 1), in_checkpoint(change)) for number, (name, change) in enumerate(PICKLES.items())
    },
    "malformed checkpoints": {
        **{
            # Without a description it is anybody's checkpoint, whose weights may be taken.
            name: Attack(
                tuple(each for each in spread(number) if number or "weights" not in each), in_checkpoint(change)
            )
            for number, (name, change) in enumerate(MALFORMED.items())
        },
        **{
            name: Attack(GO_ON if number % 8 == 0 else RESUME, in_checkpoint(change))
            for number, (name, change) in enumerate(TORN.items())
        },
        "another format": Attack(
            CHECKPOINT,
            in_checkpoint(lambda c, _: c["description"].update(format=99) or c),
            f"of format 99; allowed: format {FORMAT} and older; use it with the version that wrote it",
        ),
        "links to themselves": Attack(CHECKPOINT, link("run/checkpoints/*.ckpt", "{itself}")),
        "a folder that links to itself": Attack(CHECKPOINT, link("run/checkpoints", "{itself}")),
    },
    "targets in checkpoints": {
        **{
            f"{name} as model": Attack(
                spread(number),
                in_config(lambda config, world, name=name: config.update(model=target(world, name))),
                f"model._target_: given '{name}'; allowed: names that start with bench.",
            )
            for number, name in enumerate(TARGETS)
        },
        **{
            f"os.mkdir in {place}": Attack(
                spread(number),
                in_config(lambda config, world, put=put: put(config, target(world, "os.mkdir"))),
                "_target_: given 'os.mkdir'; allowed: ",
            )
            for number, (place, put) in enumerate(PLACES.items())
        },
        **{
            name: Attack(EVALUATE, in_config(lambda config, _, changes=changes: config.update(changes)))
            for name, changes in MISPLACED.items()
        },
    },
    "interpolations in checkpoints": {
        text: Attack(
            spread(number),
            in_config(lambda config, world, text=text: config["model"].update(dropout=fill(text, world.home))),
            "model.dropout: given ",
        )
        for number, text in enumerate(INTERPOLATIONS)
    },
    "config.yaml": {
        **{line: Attack(RESUME, in_yaml(line), "config.yaml holds no config") for line in YAML_TAGS},
        **{
            line[:40]: Attack(RESUME, in_yaml(line))
            for line in (
                *("paths: []", "fork: [1]", "fork: ${oc.env:UNTOLD}", "x: {_target_: os.mkdir}", "\0"),
                *(
                    "x: " + "[" * 5000,
                    "a: &a {b: *a}",
                    "\n".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]" for n in range(40)),
                ),
            )
        },
        **{repr(each[:20]): Attack(RESUME, text("config.yaml", each)) for each in ("", "[]", "3", "{}", "\0")},
        "a link to itself": Attack(RESUME, link("run/config.yaml", "{itself}"), "config.yaml"),
    },
    "run.json": {
        **{
            repr(each[:20]): Attack(RESUME, text("run.json", each), "run.json")
            for each in ("", "[]", "3", "{}", "[" * 100_000, "\0", '{"status": []}')
        },
        **{
            repr(facts): Attack(RESUME, in_record(**facts), "run.json")
            for facts in (
                *({"status": 3}, {"status": ["finished"]}, {"status": None}, {"earlier": 3}),
                *({"metrics": []}, {"metrics": {"val/loss": []}}),
            )
        },
        "a link to itself": Attack(RESUME, link("run/run.json", "{itself}"), "run.json"),
    },
    "states of the best checkpoint": {
        "elsewhere": Attack(RESUME, best_model(better=False, dirpath="/etc", best_model_path="/etc/passwd"), "in /etc"),
        "above": Attack(
            RESUME, best_model(better=False, best_model_path="../../outside/precious"), codes=(0,), trains=True
        ),
        "no path": Attack(RESUME, best_model(best_model_path=3)),
        **{
            f"to be replaced: {path}": Attack(RESUME, best_model(kth_best_model_path=path))
            for path in ("/x/..", "..", "/", "{home}/run/checkpoints/..", "{home}/run/checkpoints/step_000000002.ckpt")
        },
        "to be replaced: no paths": Attack(RESUME, best_model(best_k_models=["x"])),
        **{
            f"best.ckpt: {name}": Attack(
                GO_ON,
                lambda world, change=change: (
                    best_model(better=False)(world),
                    world.save(change(world.content, world.evil), "best"),
                ),
                says,
                trains=True,
            )
            for name, says, change in (
                ("a pickle", "best.ckpt, which is no whole checkpoint", lambda _, evil: pickle.dumps(evil)),
                ("a pickle in it", "best.ckpt, which is no whole checkpoint", lambda c, evil: c | {"x": evil}),
                ("of another model", "best.ckpt: cannot be restored", lambda c, _: c | {"state_dict": {}}),
            )
        },
    },
    "links out of a run folder": {
        name: Attack(RESUME, link(f"run/{name}", "{home}/outside/precious.ckpt"), codes=(0, 1, 2), trains=True)
        for name in (".lock", "run.json", "config.yaml", "*.csv", "checkpoints/[!s]*.ckpt")
    },
    "data": {
        "PostScript under the name of a PNG": Attack(IMAGES_AT, postscript, "cannot be read as an image"),
        "a pickle in a cached array": Attack(CACHE, cached(lambda world: arrays(world.evil, np.save)), codes=(0,)),
        "a pickle as cached array": Attack(CACHE, cached(lambda world: pickle.dumps(world.evil)), codes=(0,)),
        "an archive of pickles as cached array": Attack(
            CACHE, cached(lambda world: arrays(world.evil, np.savez)), codes=(0,)
        ),
        "a pickle as a table": Attack(TABLE_AT, table(is_pickle=True), "data.table"),
        **{
            f"{path} in a table": Attack(TABLE_AT, table(f"{path},class 0"), says)
            for path, says in (
                ("/dev/zero", "data.table"),
                ("../outside/precious.ckpt", "cannot be read"),
                ("..", "data.table"),
                ("class 0/\0.png", "data.table"),
            )
        },
        "folders that link to themselves": Attack(IMAGES_AT, link("images/*", "{itself}"), "data.root"),
        "an image in PostScript": Attack(("predict.py input",), postscript, codes=(0,)),
        "links to themselves": Attack(("predict.py input",), link("images/*", "{itself}"), "where no image is"),
        **{
            f"{name} as a model's weights": Attack(
                ("train.py model.weights",),
                lambda world, change=change: (world.home / "net.pt").write_bytes(change(world.evil)),
                "which is no state_dict",
            )
            for name, change in (
                ("a pickle", pickle.dumps),
                ("a checkpoint with a pickle", lambda evil: saved({"stem.weight": evil})),
            )
        },
    },
}


def attacks_through(door: str) -> dict[str, Attack]:
    return {
        f"{family}: {name}": attack
        for family, attacks in ATTACKS.items()
        for name, attack in attacks.items()
        if door in attack.doors
    }

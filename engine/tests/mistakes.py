"""Wrong and right command lines, made from the real configs by a seeded generator."""

import random
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from bench_root import CONFIGS
from kindling.config.check.files import ConfigFiles
from kindling.config.check.tree import paths
from kindling.config.extras import has_room

EXPERIMENTS = ("mlp", "cnn")
WRONG_VALUES = {
    "data.batch_size": ("abc", "0", "-4", "1.5", "null", "[1]", "true"),
    "data.num_classes": ("0", "ten"),
    "data.image_size": ("0", "28.5"),
    "data.std": ("[0.0]", "0.3"),
    "data.mean": ("[0.1,0.2,0.3,0.4,0.5]", "x"),
    "data.augment.horizontal_flip": ("1.5", "-0.1", "often"),
    "data.augment.crop_padding": ("-1", "2.5"),
    "optimizer.lr": ("-1", "fast", "nan", "null"),
    "optimizer.weight_decay": ("-0.1", "some"),
    "optimizer.betas": ("[0.9]", "[0.9,1.5]", "0.9"),
    "model.dropout": ("1.1", "-0.5", "x"),
    "task.criterion.label_smoothing": ("3", "-1"),
    "task.views": ("flips", "2", "true"),
    "task.criterion": ("null", "1", "cross_entropy"),
    "layer_lr_decay": ("0", "1.5", "slow"),
    "trainer.max_epochs": ("many", "2.5", "-2"),
    "trainer.devices": ("two", "0", "-3", "[]"),
    "trainer.accelerator": ("cuad", "graphics"),
    "trainer.precision": ("15", "mixed", "fp16"),
    "trainer.strategy": ("dpd", "spread"),
    "trainer.limit_train_batches": ("-1", "1.5", "all"),
    "trainer.limit_val_batches": ("-0.5", "true"),
    "trainer.accumulate_grad_batches": ("0", "2.5"),
    "trainer.gradient_clip_val": ("-1", "small"),
    "trainer.gradient_clip_algorithm": ("nrom",),
    "trainer.log_every_n_steps": ("-1", "often"),
    "trainer.max_time": ("tomorrow",),
    "trainer.deterministic": ("maybe",),
    "trainer.profiler": ("simpel",),
    "trainer.check_val_every_n_epoch": ("0",),
    "trainer.val_check_interval": ("1.5", "-3"),
    "callbacks.early_stopping.patience": ("-1", "x"),
    "seed": ("-1", "4294967296", "x", "1.5"),
    "train": ("yess", "1"),
    "monitor": ("val/acuracy", "test/loss", "3", "val_loss"),
    "monitor_mode": ("mni", "max"),
    "scheduler.interval": ("weekly",),
}
SYNTAX = (
    ("paths.logs='my runs", "quote"),
    ('paths.logs="my runs', "quote"),
    ("model.channels=[16,32", "bracket"),
    ("model.channels=16,32]", "bracket"),
    ("data={root:x", "bracket"),
    ("paths.logs=~/runs", "\"paths.logs='~/runs'\""),
    ("paths.logs=größe", "\"paths.logs='größe'\""),
    ("paths.logs=a=b", "\"paths.logs='a=b'\""),
    ("seed=rnage(0,3)", "seed=range(0,3)"),
    ("seed=0,1,2", "-m"),
    ("experiment", "experiment=..."),
    ("optimizer.lr:0.1", "optimizer.lr=0.1"),
    ("optimizer..lr=0.1", "optimizer.lr=0.1"),
    ("=0.1", "key=value"),
)
LEAVES = ("trainer.max_epochs", "optimizer.lr", "data.batch_size", "model.dropout", "seed", "monitor", "paths.logs")


class Mistake(NamedTuple):
    line: str
    meant: str  # what the message has to name
    kind: str


def misspelt(name: str, rng: random.Random) -> str:
    """A letter dropped, doubled, or swapped with the next."""
    index = rng.randrange(len(name) - 1)
    return rng.choice(
        (
            name[:index] + name[index + 1 :],
            name[:index] + name[index] + name[index:],
            name[:index] + name[index + 1] + name[index] + name[index + 2 :],
        )
    )


def misspelt_keys(config: DictConfig, rng: random.Random, number: int) -> list[Mistake]:
    """A slip in one part of a real key."""
    keys = [
        path
        for path in paths(config)
        if not path.startswith("hydra") and "_target_" not in path and "_partial_" not in path
    ]
    mistakes: list[Mistake] = []
    while len(mistakes) < number:
        key = rng.choice(keys)
        parts = key.split(".")
        index = rng.randrange(len(parts))
        wrong = misspelt(parts[index], rng) if len(parts[index]) > 2 else parts[index]
        parts[index] = wrong
        line = ".".join(parts)
        if line not in keys and line.split(".")[-1] not in ("maximize",):
            mistakes.append(Mistake(f"{line}=1", key, "misspelt key"))
    return mistakes


def misspelt_options(rng: random.Random, number: int) -> list[Mistake]:
    groups = ConfigFiles(CONFIGS).groups
    mistakes: list[Mistake] = []
    while len(mistakes) < number:
        group = rng.choice(list(groups))
        option = rng.choice(groups[group])
        if rng.random() < 0.3:
            wrong = misspelt(group, rng)
            if wrong not in groups:
                mistakes.append(Mistake(f"{wrong}={option}", group, "misspelt group"))
            continue
        wrong = misspelt(option, rng)
        if wrong not in groups[group] and len(option) > 3:
            mistakes.append(Mistake(f"{group}={wrong}", f"{group}={option}", "misspelt option"))
    return mistakes


def wrong_places(rng: random.Random) -> list[Mistake]:
    """A right name at the wrong level, or in the wrong group."""
    found = [
        Mistake(f"{key.rpartition('.')[2]}=1", key, "wrong level")
        for key in ("optimizer.lr", "model.dropout", "trainer.max_epochs", "data.batch_size", "trainer.precision")
    ]
    found += [
        Mistake(f"{wrong}.{key.rpartition('.')[2]}=1", key, "wrong node")
        for wrong, key in (("trainer", "optimizer.lr"), ("model", "data.batch_size"), ("optimizer", "model.dropout"))
    ]
    groups = ConfigFiles(CONFIGS).groups
    for wrong, right, option in (("model", "data", "coloured"), ("optimizer", "scheduler", "cosine")):
        assert option in groups[right]
        found.append(Mistake(f"{wrong}={option}", f"{right}={option}", "wrong group"))
    rng.shuffle(found)
    return found


def plus_signs() -> list[Mistake]:
    return [
        *(Mistake(f"+{key}=1", "already", "+ on a key that is there") for key in LEAVES),
        Mistake("+model=cnn", "already", "+ on a group that is there"),
        Mistake("+task.net=1", "model", "+ on what the engine gives"),
        Mistake("optimizer.amsgrad=true", "+optimizer.amsgrad", "missing +"),
        Mistake("trainer.plugins=null", "+trainer.plugins", "missing +"),
        Mistake("+trainer.max_epoch=3", "trainer.max_epochs", "+ on a misspelt argument"),
        Mistake("++optimizer.lrr=3", "optimizer.lr", "++ on a misspelt argument"),
        Mistake("+optimzer.lr=3", "optimizer", "+ on a misspelt node"),
        Mistake("~model.dropuot", "model.dropout", "~ on a misspelt key"),
    ]


def all_mistakes(config: DictConfig) -> list[Mistake]:
    rng = random.Random(0)
    values = [
        Mistake(f"{key}={value}", key, "wrong value") for key, several in WRONG_VALUES.items() for value in several
    ]
    syntax = [Mistake(line, meant, "broken syntax") for line, meant in SYNTAX]
    return [
        *misspelt_keys(config, rng, 60),
        *misspelt_options(rng, 25),
        *wrong_places(rng),
        *plus_signs(),
        *values,
        *syntax,
    ]


def valid_lines(rng: random.Random) -> list[str]:
    """A command line that trains: an experiment and some settings within their ranges."""
    choices = {
        "experiment": EXPERIMENTS,
        "data": ("patterns", "coloured", "fake"),
        "optimizer": ("adam", "adamw", "sgd"),
        "scheduler": ("constant", "cosine", "onecycle", "plateau", "step"),
        "metrics": ("f1", "[f1,auroc]", "none"),
        "monitor": ("val/accuracy", "train/loss"),
        "trainer": ("default", "cpu", "ddp_cpu"),
        "callbacks": ("default", "none"),
        "logger": ("csv", "default", "none", "tensorboard"),
        "debug": ("anomaly", "fast", "gradcheck", "limit", "overfit", "profile"),
        "seed": (0, 7, 2**32 - 1),
        "optimizer.lr": (1, 0.5, "1e-3"),
        "optimizer.weight_decay": (0, 0.1),
        "model.dropout": (0, 0.5),
        "data.batch_size": (1, 64),
        "task.criterion.label_smoothing": (0, 0.1, 1),
        "trainer.max_epochs": (20, 100, -1),
        "trainer.devices": (1, "auto", "[0]", "'0,'"),
        "trainer.precision": ("32-true", "bf16-mixed", "64-true"),
        "trainer.limit_train_batches": (0.5, 1.0, 10, "null"),
        "trainer.gradient_clip_val": (0.5, 1, "null"),
        "trainer.accumulate_grad_batches": (1, 4),
        "trainer.deterministic": ("true", "false", "warn"),
        "trainer.max_time": ("'00:01:00:00'", "null"),
        "trainer.profiler": ("simple", "null"),
        "paths.logs": ("/tmp/runs", "'my runs'"),
        "weights": ("null", "logs/cnn/run"),
        "+optimizer.maximize": ("false",),
        "+trainer.plugins": ("null",),
    }
    # A project may do without it.
    if not has_room("debug"):
        del choices["debug"]
    chosen = rng.sample(sorted(choices), rng.randint(3, 9))
    return [f"{key}={rng.choice(choices[key])}" for key in chosen]


def as_text(config: DictConfig) -> str:
    return OmegaConf.to_yaml(config, sort_keys=True)

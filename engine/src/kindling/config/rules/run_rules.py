"""What settings make no sense for a run: one small function a rule.

A rule takes the plain config, as far as it could be resolved, and yields its faults; of what is missing it says
nothing. It imports nothing heavy. Add yours to `RULES`.
"""

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from kindling.config.fault import Fault
from kindling.config.plain import Config, get
from kindling.config.rules import (
    callback_rules,
    data_rules,
    logger_rules,
    metric_rules,
    shared_out_rules,
    sweep_rules,
    trainer_rules,
)
from kindling.config.rules.callback_rules import TRY_OUT
from kindling.process.cores import available_cores

Rule = Callable[[Config], Iterator[Fault]]
ENGINE = __name__.partition(".")[0]
# What the code gives, and by what it is set instead.
OWN = {
    "trainer.callbacks": "+callbacks.NAME._target_=...",
    "trainer.logger": "logger=csv, none and others, or +logger.NAME._target_=...",
    "trainer.plugins": "null; precision is trainer.precision, more processes are trainer.strategy",
    "scheduler.scheduler.total_steps": "null; trainer.max_epochs or trainer.max_steps decides",
    "scheduler.scheduler.optimizer": "null; the run's optimizer is given",
    "optimizer.params": "null; the task's parameters are given",
}
# Arguments that make a loss another than the one that runs are compared by.
UNEVEN = ("label_smoothing", "smoothing", "weight", "pos_weight", "class_weights", "gamma", "focal_gamma")
# As Python reads bytes of names that it cannot decode.
SURROGATE = re.compile("[\ud800-\udfff]")


def schedule_ends_with_the_run(config: Config) -> Iterator[Fault]:
    epochs = get(config, "trainer.max_epochs")
    for name in ("step_size", "T_max"):
        length = get(config, f"scheduler.scheduler.{name}")
        by_epoch = get(config, "scheduler.interval") == "epoch"
        if by_epoch and isinstance(length, int) and isinstance(epochs, int) and length >= epochs > TRY_OUT:
            allowed = f"less than trainer.max_epochs, {epochs}; the schedule is longer than the run"
            yield Fault(f"scheduler.scheduler.{name}", str(length), allowed, warning=True)


def nesterov_has_momentum(config: Config) -> Iterator[Fault]:
    if get(config, "optimizer.nesterov") is True and get(config, "optimizer.momentum") in (0, 0.0):
        yield Fault("optimizer.momentum", "0 with optimizer.nesterov=true", "more than 0, or optimizer.nesterov=false")


def losses_can_be_compared(config: Config) -> Iterator[Fault]:
    """Those of the engine and of torch have a plain form, which validation and tests log."""
    target = str(get(config, "task.criterion._target_"))
    given = [name for name in UNEVEN if get(config, f"task.criterion.{name}")]
    is_torchs = target.startswith("torch.nn.")
    if given and not target.startswith(f"{ENGINE}.") and not (is_torchs and get(config, "task.plain_loss")):
        what = f"{target.rpartition('.')[2]} with {' and '.join(given)}, by which val/loss and test/loss are too"
        plain = "plain_loss of the task" if is_torchs else "a method plain(outputs, targets), which is logged instead"
        allowed = f"{plain}, or {ENGINE}.images.criterion.CrossEntropy, which has one; else compare accuracy alone"
        yield Fault("task.criterion", what, allowed, warning=True)


def code_gives_its_own(config: Config) -> Iterator[Fault]:
    """What train() passes itself."""
    for path, allowed in OWN.items():
        if get(config, path) is not None and "task" in config:
            yield Fault(path, "a value, and train() sets its own", allowed)


def something_is_done(config: Config) -> Iterator[Fault]:
    if get(config, "train") is False and get(config, "test") is False:
        yield Fault("test", "false with train=false", "one of them true; nothing would be done")


def one_origin(config: Config) -> Iterator[Fault]:
    """resume=auto may stand beside the others: it goes on with the run that they have started."""
    given = [name for name in ("resume", "fork", "weights") if get(config, name) is not None]
    for name in given:
        if get(config, name) == "":
            yield Fault(name, "nothing", "a path, or null for none")
            return
    if given[:1] == ["resume"] and get(config, "resume") == "auto":
        given = given[1:]
    if len(given) > 1:
        yield Fault(given[1], f"beside {given[0]}", "one of resume, fork and weights")
    if get(config, "train") is False and given != ["weights"]:
        allowed = "weights=<run folder or checkpoint> to test"
        yield Fault("train", f"false with {given[0] if given else 'no checkpoint'}", allowed)


def what_goes_on_has_its_callback(config: Config) -> Iterator[Fault]:
    given = next((name for name in ("resume", "fork") if get(config, name) is not None), None)
    callbacks = {name: each for name, each in (get(config, "callbacks") or {}).items() if isinstance(each, dict)}
    there = any(str(each.get("_target_")).endswith(".ResumeCheckpoint") for each in callbacks.values())
    if given and "trainer" in config and not there and "resume_checkpoint" not in callbacks:
        yield Fault("callbacks.resume_checkpoint", f"none with {given}", "the callback, which takes a run up")
    elif given and (get(config, "trainer.enable_checkpointing") is False or get(config, "trainer.barebones") is True):
        flag = "barebones" if get(config, "trainer.barebones") is True else "enable_checkpointing"
        value = str(get(config, f"trainer.{flag}")).lower()
        yield Fault(f"trainer.{flag}", f"{value} with {given}", "checkpoints, which a run is resumed from")


def a_rollback_changes_something(config: Config) -> Iterator[Fault]:
    same_rate = get(config, "rollback.lr_factor") == 1
    if get(config, "on_nan") == "rollback" and get(config, "rollback.skip_batch") is False and same_rate:
        given = "false with rollback.lr_factor=1, which would come to the same NaN"
        yield Fault("rollback.skip_batch", given, "true, or a smaller rollback.lr_factor")


def pretrained_weights_stay(config: Config) -> Iterator[Fault]:
    init, weights = get(config, "init"), get(config, "model.weights")
    if init and weights:
        yield Fault("model.weights", f"{weights} with init={init}, which would undo them", "null, or init=null")
    for origin in ("fork", "weights"):
        if init and get(config, origin):
            yield Fault("init", f"{init}, without effect", f"null, as {origin} brings weights along", warning=True)


def files_are_here(config: Config) -> Iterator[Fault]:
    """No address is asked for a checkpoint, a run or data."""
    places = [f"paths.{name}" for name in get(config, "paths") or {}]
    for path in (
        "resume",
        "fork",
        "weights",
        "run",
        "ckpt",
        "input",
        "output",
        "model.folder",
        "data.root",
        "data.table",
        "model.weights",
        *places,
    ):
        given = get(config, path)
        if isinstance(given, str) and re.match(r"[\w+.-]+:/", given):
            yield Fault(path, given, "a path on this machine; download what lies there")


def texts_are_in_utf8(config: Config) -> Iterator[Fault]:
    """YAML, checkpoints and TensorBoard hold no others; predict.py takes and writes files of any name."""
    to_do = "rename it, or give a link to it"
    if sys.getfilesystemencoding() != "utf-8":
        to_do = f"{to_do}; or set PYTHONUTF8=1, as names are read as {sys.getfilesystemencoding()} here"
    for path, text in _texts(config):
        if path not in ("input", "output") and SURROGATE.search(text):
            yield Fault(path, f"{text}, which is not in UTF-8", f"a name that is; {to_do}")


def _texts(node: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Each text with its path."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        path = f"{above}.{key}" if above else str(key)
        if isinstance(value, str):
            yield path, value
        yield from _texts(value, path)


def one_checkpoint_is_named(config: Config) -> Iterator[Fault]:
    """Of what takes a trained model; asked only when it runs, so that --cfg job shows the config without a run."""
    if bool(config["run"]) == bool(config["ckpt"]):
        given = "both run and ckpt" if config["ckpt"] else "neither run nor ckpt"
        yield Fault("run", given, "run=<run folder> or ckpt=<checkpoint file>")


def one_model_is_named(config: Config) -> Iterator[Fault]:
    """Of serve.py; asked only when it runs, likewise."""
    names = ("run", "ckpt", "model.folder")
    given = [name for name in names if get(config, name)]
    if len(given) != 1:
        allowed = "run=<run folder>, ckpt=<checkpoint file> or model=<exported folder>"
        yield Fault("run", " and ".join(given) or f"none of {', '.join(names)}", allowed)


def trust_is_of_a_folder(config: Config) -> Iterator[Fault]:
    """Of serve.py: what lies in a run is never opened as a program."""
    if get(config, "trust") and not get(config, "model.folder"):
        yield Fault("trust", "true, without effect", "false, or model=<exported folder>", warning=True)


def threads_have_cores(config: Config) -> Iterator[Fault]:
    """Of what exports and serves: more threads than cores wait for each other, hundreds of them for minutes."""
    threads, cores = get(config, "threads"), available_cores()
    if isinstance(threads, int) and threads > cores:
        yield Fault("threads", str(threads), f"1 to {cores}, the cores that there are; null for all of them")


RULES: tuple[Rule, ...] = (
    *trainer_rules.RULES,
    *data_rules.RULES,
    *metric_rules.RULES,
    *callback_rules.RULES,
    *shared_out_rules.RULES,
    *logger_rules.RULES,
    *sweep_rules.RULES,
    schedule_ends_with_the_run,
    nesterov_has_momentum,
    losses_can_be_compared,
    something_is_done,
    trust_is_of_a_folder,
    threads_have_cores,
    pretrained_weights_stay,
    files_are_here,
    texts_are_in_utf8,
    one_origin,
    what_goes_on_has_its_callback,
    a_rollback_changes_something,
    code_gives_its_own,
)

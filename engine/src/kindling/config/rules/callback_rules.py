"""What settings of the callbacks make no sense; what a rule is, stands in run_rules.py."""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kindling.config import project
from kindling.config.fault import Fault
from kindling.config.given import signature_of, taken_by
from kindling.config.plain import Config, get, yaml_of

ENGINE = __name__.partition(".")[0]
# val/loss, val_loss, valid_loss and the like.
OF_VALIDATION = re.compile(r"val(id|idation)?[/_.]")
# Nobody expects a result of so few epochs.
TRY_OUT = 2


def a_score_belongs_to_its_weights(config: Config) -> Iterator[Fault]:
    """Lightning's own callback takes whatever was logged last."""
    for name, node in (get(config, "callbacks") or {}).items():
        if not isinstance(node, dict) or not str(node.get("_target_")).endswith(".callbacks.ModelCheckpoint"):
            continue
        by_time = [key for key in ("every_n_train_steps", "train_time_interval") if node.get(key)]
        if node.get("monitor") and by_time:
            given = f"{node[by_time[0]]} with monitor={node['monitor']}, whose last value is of other weights"
            yield Fault(f"callbacks.{name}.{by_time[0]}", given, f"callbacks.{name}.monitor=null, or null")
        one_name = node.get("filename") and "{" not in str(node["filename"])
        if node.get("save_top_k", 1) not in (0, 1) and one_name and node.get("enable_version_counter") is False:
            given = f"{node['save_top_k']} files of one name, {node['filename']}"
            yield Fault(f"callbacks.{name}.save_top_k", given, "1, or a filename with {epoch} and {step}")


def something_validates(config: Config) -> Iterator[Fault]:
    watchers = [name for name, each in (get(config, "callbacks") or {}).items() if _watches_val(each)]
    if not watchers or get(config, "trainer.fast_dev_run"):
        return
    because = f"while {', '.join(f'callbacks.{name}' for name in watchers)} watch a metric of validation"
    if get(config, "trainer.limit_val_batches") in (0, 0.0) and get(config, "trainer.limit_val_batches") is not False:
        yield Fault("trainer.limit_val_batches", "0", f"1 or more, or null, {because}")
    epochs, every = get(config, "trainer.max_epochs"), get(config, "trainer.check_val_every_n_epoch")
    if isinstance(epochs, int) and isinstance(every, int) and every > epochs > 0:
        allowed = f"at most trainer.max_epochs, {epochs}, {because}"
        yield Fault("trainer.check_val_every_n_epoch", str(every), allowed, warning=True)


def _watches_val(callback: Any) -> bool:
    return isinstance(callback, dict) and bool(OF_VALIDATION.match(str(callback.get("monitor"))))


def patience_can_run_out(config: Config) -> Iterator[Fault]:
    epochs, every = get(config, "trainer.max_epochs"), get(config, "trainer.check_val_every_n_epoch") or 1
    for path in ("callbacks.early_stopping.patience", "scheduler.scheduler.patience"):
        patience = get(config, path)
        if not isinstance(patience, int) or not isinstance(epochs, int) or epochs <= TRY_OUT:
            continue
        of_validation = _watches_val(_parent(config, path))
        within = get(config, "trainer.val_check_interval")
        if of_validation and (isinstance(within, str | int) and within != 1.0):
            # How many batches or minutes an epoch has is not known yet.
            continue
        within = within if isinstance(within, float) and 0 < within < 1 else 1.0
        validations = int(1 / within) * (epochs // every) if of_validation else epochs
        if patience >= validations > 0 and patience not in shipped(*path.split(".")):
            most = f"trainer.max_epochs, {epochs}" if validations == epochs else f"{validations}, the run's validations"
            else_ = "nothing stops the run early" if "early_stopping" in path else "the learning rate never falls"
            yield Fault(path, str(patience), f"less than {most}; else {else_}", warning=True)


def shipped(group: str, *keys: str) -> list[Any]:
    """What the files of a group say, which nobody has chosen."""
    files = (project.current().configs / group).glob("*.yaml")
    nodes = [_read(file, file.stat().st_mtime_ns) for file in files]
    return [get(node, ".".join(keys)) for node in nodes if isinstance(node, dict)]


@cache
def _read(file: Path, changed_ns: int) -> Any:
    # One that nobody has chosen may be anything.
    with suppress(yaml.YAMLError, UnicodeDecodeError):
        return yaml_of(file)


def _parent(config: Config, path: str) -> Any:
    return get(config, path.rpartition(".")[0])


def one_average(config: Config) -> Iterator[Fault]:
    callbacks = (get(config, "callbacks") or {}).items()
    averages = [name for name, each in callbacks if ".averages." in str(get(config, f"callbacks.{name}._target_"))]
    if len(averages) > 1:
        yield Fault(f"callbacks.{averages[1]}", f"beside callbacks.{averages[0]}", "one average of the weights")


def an_average_can_begin(config: Config) -> Iterator[Fault]:
    epochs, start = get(config, "trainer.max_epochs"), get(config, "callbacks.swa.start_epoch")
    if isinstance(epochs, int) and isinstance(start, int) and start >= epochs > TRY_OUT:
        allowed = f"less than trainer.max_epochs, {epochs}; else no weights are averaged"
        yield Fault("callbacks.swa.start_epoch", str(start), allowed, warning=True)


def pictures_have_a_board(config: Config) -> Iterator[Fault]:
    loggers = (get(config, "logger") or {}).values()
    targets = " ".join(str(each.get("_target_")) for each in loggers if isinstance(each, dict))
    # Trackers take pictures too.
    pictures = "" if re.search("WandbRun|MLflowRun", targets) else "|TrainingImages|ValidationPictures|ReportPictures"
    drawing = named(config, f"Histograms|Graph{pictures}")
    if drawing and "TensorBoard" not in targets and "logger" in config:
        given = f"no TensorBoard for {', '.join(drawing)}"
        yield Fault("logger", given, "default or tensorboard; else they draw nothing", warning=True)


def named(config: Config, classes: str, *, of: str = ENGINE) -> list[str]:
    """The paths of a package's callbacks of these classes."""
    target = re.compile(rf"{of}\.[\w.]+\.({classes})")
    callbacks = (get(config, "callbacks") or {}).items()
    there = {name: str(each.get("_target_")) for name, each in callbacks if isinstance(each, dict)}
    return [f"callbacks.{name}" for name, given in there.items() if target.fullmatch(given)]


def layers_can_thaw(config: Config) -> Iterator[Fault]:
    epochs, head = get(config, "trainer.max_epochs"), get(config, "callbacks.finetuning.head_epochs")
    if isinstance(epochs, int) and isinstance(head, int) and head >= epochs > TRY_OUT:
        allowed = f"less than trainer.max_epochs, {epochs}, or null; else only the last layer is trained"
        yield Fault("callbacks.finetuning.head_epochs", str(head), allowed, warning=True)


def what_is_asked_of_a_net_has_one(config: Config) -> Iterator[Fault]:
    """A task that brings its own net is given none that could be changed."""
    task = get(config, "task._target_")
    if signature_of(task) is None or "net" in taken_by(str(task)):
        return
    for key in ("init", "compile"):
        if get(config, key):
            given = f"{get(config, key)} with {str(task).rpartition('.')[2]}, which takes no net"
            yield Fault(key, given, f"{key}=null; do it in the module's __init__")


def finders_have_their_steps(config: Config) -> Iterator[Fault]:
    finders = [path for path in ("find_lr", "find_batch_size") if get(config, f"callbacks.{path}")]
    for finder in finders:
        if get(config, "trainer.fast_dev_run"):
            yield Fault("trainer.fast_dev_run", f"true with callbacks.{finder}", "false; it needs more steps")
        if finder == "find_lr" and get(config, "optimizer.lr") in (0, 0.0):
            yield Fault("optimizer.lr", "0 with callbacks.find_lr", "more than 0; other rates keep their ratio to it")


def finders_are_of_the_engine(config: Config) -> Iterator[Fault]:
    """Lightning's own look for settings in the module, where none are."""
    for name, option in (("BatchSizeFinder", "find_batch_size"), ("LearningRateFinder", "find_lr")):
        for path in named(config, name, of="lightning"):
            yield Fault(path, f"{name} of Lightning, which finds no setting to change", f"debug={option}")


RULES = (
    what_is_asked_of_a_net_has_one,
    finders_have_their_steps,
    finders_are_of_the_engine,
    layers_can_thaw,
    a_score_belongs_to_its_weights,
    something_validates,
    patience_can_run_out,
    one_average,
    an_average_can_begin,
    pictures_have_a_board,
)

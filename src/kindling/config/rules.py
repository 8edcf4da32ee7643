"""What settings make no sense for a run: one small function a rule.

A rule takes the plain config, as far as it could be resolved, and yields its faults; of what is missing it says
nothing. It imports nothing heavy. Add yours to `RULES`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from kindling.config import data_rules, logger_rules, trainer_rules
from kindling.config.fault import Fault, nearest
from kindling.config.plain import Config, get
from kindling.config.signatures import constant

Rule = Callable[[Config], Iterator[Fault]]
PACKAGE = __name__.partition(".")[0]

TRY_OUT = 2  # epochs of a run that nobody expects a result of


def watched(config: Config) -> dict[str, tuple[Any, Any]]:
    """Who watches which metric with which mode: `monitor` itself, and those that do not just repeat it."""
    found = {"monitor": (get(config, "monitor"), get(config, "monitor_mode"))}
    for name, callback in (get(config, "callbacks") or {}).items():
        if isinstance(callback, dict) and callback.get("monitor"):
            found[f"callbacks.{name}.monitor"] = (callback["monitor"], callback.get("mode"))
    found["scheduler.monitor"] = (get(config, "scheduler.monitor"), get(config, "scheduler.scheduler.mode"))
    common = found["monitor"]
    return {path: pair for path, pair in found.items() if pair[0] and (path == "monitor" or pair != common)}


def monitor_is_logged(config: Config) -> Iterator[Fault]:
    metrics = constant(f"{PACKAGE}.metrics.MODES")
    logged = [f"{stage}/{metric}" for stage in ("val", "train") for metric in metrics]
    for path, (monitor, _) in watched(config).items():
        if isinstance(monitor, str) and monitor not in [*logged, "train/loss_step", "epoch", "step"]:
            yield Fault(path, f"{monitor}, which nothing logs", ", ".join(logged), nearest(monitor, logged))


def mode_fits_the_monitor(config: Config) -> Iterator[Fault]:
    modes = constant(f"{PACKAGE}.metrics.MODES")
    for path, (monitor, mode) in watched(config).items():
        right = modes.get(str(monitor).partition("/")[2])
        if right and mode in ("min", "max") and mode != right:
            key = "monitor_mode" if path == "monitor" else f"{path.rpartition('.')[0]}.mode"
            yield Fault(key, f"{mode} for {monitor}", right, f"{key}={right}")


def something_validates(config: Config) -> Iterator[Fault]:
    if get(config, "trainer.limit_val_batches") in (0, 0.0) and get(config, "trainer.limit_val_batches") is not False:
        watchers = [name for name, each in (get(config, "callbacks") or {}).items() if _watches_val(each)]
        if watchers and not get(config, "trainer.fast_dev_run"):
            names = ", ".join(f"callbacks.{name}" for name in watchers)
            yield Fault("trainer.limit_val_batches", "0", f"1 or more, or null, while {names} watch a val/ metric")


def _watches_val(callback: Any) -> bool:
    return isinstance(callback, dict) and str(callback.get("monitor")).startswith("val/")


def one_metric_decides(config: Config) -> Iterator[Fault]:
    """A checkpoint of the lowest loss and a stop by accuracy keep weights of another epoch than the stop's."""
    stop, best = (get(config, f"callbacks.{name}.monitor") for name in ("early_stopping", "best_checkpoint"))
    if stop and best and stop != best:
        allowed = f"what callbacks.best_checkpoint watches, {best}"
        yield Fault("callbacks.early_stopping.monitor", str(stop), allowed, "monitor=... for both")


def patience_can_run_out(config: Config) -> Iterator[Fault]:
    epochs, every = get(config, "trainer.max_epochs"), get(config, "trainer.check_val_every_n_epoch") or 1
    for path in ("callbacks.early_stopping.patience", "scheduler.scheduler.patience"):
        patience = get(config, path)
        if not isinstance(patience, int) or not isinstance(epochs, int) or epochs <= TRY_OUT:
            continue
        validations = epochs // every if _watches_val(_parent(config, path)) else epochs
        if patience >= epochs:
            allowed = f"less than trainer.max_epochs, {epochs}; it has no effect so"
            yield Fault(path, str(patience), allowed, warning=True)
        elif patience >= validations > 0:
            allowed = f"less than {validations}, the validations of the run; it has no effect so"
            yield Fault(path, str(patience), allowed, warning=True)


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
        allowed = f"less than trainer.max_epochs, {epochs}; it has no effect so"
        yield Fault("callbacks.swa.start_epoch", str(start), allowed, warning=True)


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


def muon_sees_whole_matrices(config: Config) -> Iterator[Fault]:
    if get(config, "optimizer._target_") == f"{PACKAGE}.muon.Muon" and _cuts_up(config):
        given = f"Muon with {_strategy(config)}, which cuts up its matrices"
        yield Fault("optimizer", given, "optimizer=adamw, or trainer=ddp")


def _strategy(config: Config) -> str:
    given = get(config, "trainer.strategy")
    return str(given.get("_target_") if isinstance(given, dict) else given)


def _cuts_up(config: Config) -> bool:
    return bool(re.search("fsdp|deepspeed", _strategy(config).lower()))


def pictures_have_a_board(config: Config) -> Iterator[Fault]:
    loggers = (get(config, "logger") or {}).values()
    board = any("TensorBoard" in str(each.get("_target_")) for each in loggers if isinstance(each, dict))
    drawing = [] if board else _callbacks(config, r"TrainingImages|ValidationPictures|Histograms|Graph")
    if drawing and "logger" in config:
        given = f"no TensorBoard for {', '.join(drawing)}"
        yield Fault("logger", given, "default or tensorboard; they have no effect so", warning=True)


def gradients_are_whole(config: Config) -> Iterator[Fault]:
    if _cuts_up(config):
        for path in _callbacks(config, r"GradientNorm|Histograms|Graph"):
            yield Fault(path, f"with {_strategy(config)}, which cuts up the net", "null, or trainer=ddp")


def _callbacks(config: Config, classes: str) -> list[str]:
    """The paths of the package's callbacks of these classes."""
    target = re.compile(rf"{PACKAGE}\.callbacks\.\w+\.({classes})")
    callbacks = (get(config, "callbacks") or {}).items()
    there = {name: str(each.get("_target_")) for name, each in callbacks if isinstance(each, dict)}
    return [f"callbacks.{name}" for name, given in there.items() if target.fullmatch(given)]


def code_gives_its_own(config: Config) -> Iterator[Fault]:
    """What train() passes or sets itself."""
    for path in ("trainer.callbacks", "trainer.logger", "trainer.plugins"):
        if get(config, path) is not None and "optimizer" in config:
            yield Fault(path, "a value, without effect", "null; train() sets its own", warning=True)


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
        yield Fault(f"trainer.{flag}", f"{value} with {given}", "checkpoints, which a run is taken up from")


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
    for path in ("resume", "fork", "weights", "run", "ckpt", "data.root", "model.weights", *places):
        given = get(config, path)
        if isinstance(given, str) and re.match(r"[\w+.-]+:/", given):
            yield Fault(path, given, "a path on this machine; download what lies there")


def one_checkpoint_is_named(config: Config) -> Iterator[Fault]:
    """Of evaluate.py; asked only when it runs, so that --cfg job shows the config without a run."""
    if (config["run"] is None) == (config["ckpt"] is None):
        given = "neither run nor ckpt" if config["ckpt"] is None else "both run and ckpt"
        yield Fault("run", given, "run=<run folder> or ckpt=<checkpoint file>")


RULES: tuple[Rule, ...] = (
    *trainer_rules.RULES,
    *data_rules.RULES,
    *logger_rules.RULES,
    monitor_is_logged,
    mode_fits_the_monitor,
    something_validates,
    one_metric_decides,
    patience_can_run_out,
    one_average,
    an_average_can_begin,
    schedule_ends_with_the_run,
    nesterov_has_momentum,
    muon_sees_whole_matrices,
    pictures_have_a_board,
    gradients_are_whole,
    something_is_done,
    pretrained_weights_stay,
    files_are_here,
    one_origin,
    what_goes_on_has_its_callback,
    a_rollback_changes_something,
    code_gives_its_own,
)

"""What settings make no sense for a run: one small function a rule.

A rule takes the plain config, as far as it could be resolved, and yields its faults; of what is missing it says
nothing. It imports nothing heavy. Add yours to `RULES`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from kindling.config.fault import Fault, nearest
from kindling.config.signatures import constant
from kindling.cores import available_cores

Config = dict[str, Any]
Rule = Callable[[Config], Iterator[Fault]]
PACKAGE = __name__.partition(".")[0]

TRY_OUT = 2  # epochs of a run that nobody expects a result of
HALF = ("16-mixed", "16", "16-true")
STRATEGIES = re.compile(
    r"auto|ddp(_\w+)?|fsdp(_cpu_offload)?|deepspeed(_\w+)?|(single_)?(xla|tpu)(_\w+)?|single_device"
)


def get(config: Config, path: str) -> Any:
    """The value at a dotted path; None if there is none."""
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node


def devices(config: Config) -> Iterator[Fault]:
    given = get(config, "trainer.devices")
    number = isinstance(given, int) and not isinstance(given, bool) and (given >= 1 or given == -1)
    text = isinstance(given, str) and re.fullmatch(r"auto|-1|\d+(,\d+)*,?", given.replace(" ", ""))
    several = isinstance(given, list) and given and all(isinstance(item, int) and item >= 0 for item in given)
    if given is not None and not (number or text or several):
        allowed = "auto, a number of devices from 1 up, -1 for all, or a list such as [0,2]"
        yield Fault("trainer.devices", repr(given), allowed)


def strategy(config: Config) -> Iterator[Fault]:
    given = get(config, "trainer.strategy")
    if given is not None and not isinstance(given, dict) and not STRATEGIES.fullmatch(str(given)):
        names = ("auto", "ddp", "ddp_spawn", "ddp_find_unused_parameters_true", "fsdp", "deepspeed")
        yield Fault("trainer.strategy", repr(given), f"{', '.join(names)}, ...", nearest(str(given), names))


def amounts(config: Config) -> Iterator[Fault]:
    """Batches as a number, or as a share of all."""
    names = [f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")]
    for name in [*names, "overfit_batches"]:
        given = get(config, f"trainer.{name}")
        if isinstance(given, bool) or (isinstance(given, int | float) and _no_amount(given)):
            yield Fault(f"trainer.{name}", str(given), "a number of batches from 0 up, or a share from 0.0 to 1.0")


def _no_amount(given: float) -> bool:
    return given < 0 or (isinstance(given, float) and not given <= 1)


def validation_interval(config: Config) -> Iterator[Fault]:
    given = get(config, "trainer.val_check_interval")
    share = isinstance(given, float) and 0 <= given <= 1
    number = isinstance(given, int) and not isinstance(given, bool) and given >= 1
    time = isinstance(given, str) and re.fullmatch(r"\d+:\d\d:\d\d:\d\d", given)
    if isinstance(given, int | float | str) and not (share or number or time):
        allowed = "a number of batches from 1 up, a share from 0.0 to 1.0, or a time such as '00:00:15:00'"
        yield Fault("trainer.val_check_interval", str(given), allowed)


def longest_time(config: Config) -> Iterator[Fault]:
    given = get(config, "trainer.max_time")
    if isinstance(given, str) and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", given):
        yield Fault("trainer.max_time", repr(given), "days:hours:minutes:seconds, such as '00:12:00:00'")


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


def epochs_are_in_order(config: Config) -> Iterator[Fault]:
    low, high = get(config, "trainer.min_epochs"), get(config, "trainer.max_epochs")
    if isinstance(low, int) and isinstance(high, int) and low > high >= 0:
        yield Fault("trainer.min_epochs", str(low), f"trainer.max_epochs, {high}, or less")


def patience_can_run_out(config: Config) -> Iterator[Fault]:
    epochs = get(config, "trainer.max_epochs")
    for path in ("callbacks.early_stopping.patience", "scheduler.scheduler.patience"):
        patience = get(config, path)
        if isinstance(patience, int) and isinstance(epochs, int) and patience >= epochs > TRY_OUT:
            allowed = f"less than trainer.max_epochs, {epochs}; it has no effect so"
            yield Fault(path, str(patience), allowed, warning=True)


def schedule_ends_with_the_run(config: Config) -> Iterator[Fault]:
    epochs = get(config, "trainer.max_epochs")
    for name in ("step_size", "T_max"):
        length = get(config, f"scheduler.scheduler.{name}")
        by_epoch = get(config, "scheduler.interval") == "epoch"
        if by_epoch and isinstance(length, int) and isinstance(epochs, int) and length >= epochs > TRY_OUT:
            allowed = f"less than trainer.max_epochs, {epochs}; the schedule is longer than the run"
            yield Fault(f"scheduler.scheduler.{name}", str(length), allowed, warning=True)


def half_precision_has_a_gpu(config: Config) -> Iterator[Fault]:
    precision = str(get(config, "trainer.precision"))
    if precision in HALF and get(config, "trainer.accelerator") == "cpu":
        yield Fault("trainer.precision", f"{precision} on a CPU", "32-true, bf16-mixed", "trainer.precision=bf16-mixed")


def workers_have_cores(config: Config) -> Iterator[Fault]:
    workers, cores = get(config, "data.num_workers"), available_cores()
    if isinstance(workers, int) and workers > cores:
        allowed = f"up to {cores}, the cores of this machine; more only wait for each other"
        yield Fault("data.num_workers", str(workers), allowed, warning=True)


def workers_have_work(config: Config) -> Iterator[Fault]:
    workers = get(config, "data.num_workers")
    if isinstance(workers, int) and workers > 0 and get(config, "data.in_memory") is True:
        yield Fault("data.num_workers", f"{workers}, without effect", "0, as the set lies in memory", warning=True)


def clipping_has_a_value(config: Config) -> Iterator[Fault]:
    algorithm = get(config, "trainer.gradient_clip_algorithm")
    if algorithm and get(config, "trainer.gradient_clip_val") is None:
        given = f"{algorithm}, without effect"
        yield Fault("trainer.gradient_clip_algorithm", given, "with trainer.gradient_clip_val", warning=True)


def nesterov_has_momentum(config: Config) -> Iterator[Fault]:
    if get(config, "optimizer.nesterov") is True and get(config, "optimizer.momentum") in (0, 0.0):
        yield Fault("optimizer.momentum", "0 with optimizer.nesterov=true", "more than 0, or optimizer.nesterov=false")


def muon_sees_whole_matrices(config: Config) -> Iterator[Fault]:
    given = get(config, "trainer.strategy")
    name = str(given.get("_target_") if isinstance(given, dict) else given)
    if get(config, "optimizer._target_") == f"{PACKAGE}.muon.Muon" and re.search("fsdp|deepspeed", name.lower()):
        yield Fault("optimizer", f"Muon with {name}, which cuts up its matrices", "optimizer=adamw, or trainer=ddp")


def statistics_fit_the_channels(config: Config) -> Iterator[Fault]:
    channels = get(config, "data.channels")
    for name in ("mean", "std"):
        given = get(config, f"data.{name}")
        if isinstance(given, list) and isinstance(channels, int) and len(given) not in (1, channels):
            yield Fault(f"data.{name}", f"{len(given)} numbers", f"1, or {channels}, one for each of data.channels")


def reflection_fits_the_image(config: Config) -> Iterator[Fault]:
    padding, size = get(config, "data.augment.crop_padding"), get(config, "data.image_size")
    reflects = get(config, "data.augment.padding_mode") == "reflect"
    if reflects and isinstance(padding, int) and isinstance(size, int) and padding >= size:
        given = f"{padding} with padding_mode=reflect"
        yield Fault("data.augment.crop_padding", given, f"less than data.image_size, {size}")


def alternating_flips_are_halves(config: Config) -> Iterator[Fault]:
    chance = get(config, "data.augment.horizontal_flip")
    if get(config, "data.augment.alternating_flip") is True and chance not in (None, 0.5):
        given = f"true with horizontal_flip={chance}"
        yield Fault("data.augment.alternating_flip", given, "true with horizontal_flip=0.5, or false")


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
    if given[:1] == ["resume"] and get(config, "resume") == "auto":
        given = given[1:]
    if len(given) > 1:
        yield Fault(given[1], f"beside {given[0]}", "one of resume, fork and weights")
    if get(config, "train") is False and given != ["weights"]:
        allowed = "weights=<run folder or checkpoint> to test"
        yield Fault("train", f"false with {given[0] if given else 'no checkpoint'}", allowed)


def a_rollback_changes_something(config: Config) -> Iterator[Fault]:
    same_rate = get(config, "rollback.lr_factor") == 1
    if get(config, "on_nan") == "rollback" and get(config, "rollback.skip_batch") is False and same_rate:
        given = "false with rollback.lr_factor=1, which would come to the same NaN"
        yield Fault("rollback.skip_batch", given, "true, or a smaller rollback.lr_factor")


def files_are_here(config: Config) -> Iterator[Fault]:
    """No address is asked for a checkpoint, a run or data."""
    places = [f"paths.{name}" for name in get(config, "paths") or {}]
    for path in ("resume", "fork", "weights", "run", "ckpt", "data.root", "model.weights", *places):
        given = get(config, path)
        if isinstance(given, str) and re.match(r"[\w+.-]+:/", given):
            yield Fault(path, given, "a path on this machine; download what lies there")


def accumulation_divides(num_batches: int, steps: int) -> Iterator[Fault]:
    """Of an epoch, whose batches are counted when training starts."""
    if num_batches % steps:
        allowed = f"a divisor of the {num_batches} batches of an epoch; its last step takes only {num_batches % steps}"
        yield Fault("trainer.accumulate_grad_batches", str(steps), allowed, warning=True)


def one_checkpoint_is_named(config: Config) -> Iterator[Fault]:
    """Of evaluate.py; asked only when it runs, so that --cfg job shows the config without a run."""
    if (config["run"] is None) == (config["ckpt"] is None):
        given = "neither run nor ckpt" if config["ckpt"] is None else "both run and ckpt"
        yield Fault("run", given, "run=<run folder> or ckpt=<checkpoint file>")


RULES: tuple[Rule, ...] = (
    devices,
    strategy,
    amounts,
    validation_interval,
    longest_time,
    monitor_is_logged,
    mode_fits_the_monitor,
    something_validates,
    one_metric_decides,
    epochs_are_in_order,
    patience_can_run_out,
    schedule_ends_with_the_run,
    half_precision_has_a_gpu,
    workers_have_cores,
    workers_have_work,
    clipping_has_a_value,
    nesterov_has_momentum,
    muon_sees_whole_matrices,
    statistics_fit_the_channels,
    reflection_fits_the_image,
    alternating_flips_are_halves,
    something_is_done,
    files_are_here,
    one_origin,
    a_rollback_changes_something,
    code_gives_its_own,
)

"""What makes no sense of metrics, and of who watches which; what a rule is, stands in run_rules.py."""

import re
from collections.abc import Iterator
from typing import Any

from kindling.config.declared import ALLOWED, misdeclared_by
from kindling.config.fault import Fault, nearest
from kindling.config.logged import ALWAYS, declared_by, logged, without_loader
from kindling.config.plain import Config, get

# So begin torchmetrics' names of them.
OF_ONE_LABEL = "Multiclass"
OF_A_STEP = re.compile(r"train[/_.].*_step")


def watched(config: Config) -> dict[str, tuple[Any, Any]]:
    """Who watches which metric with which mode: `monitor` itself, and those that do not just repeat it."""
    found = {"monitor": (get(config, "monitor"), get(config, "monitor_mode"))}
    for name, callback in (get(config, "callbacks") or {}).items():
        if isinstance(callback, dict) and callback.get("monitor"):
            found[f"callbacks.{name}.monitor"] = (callback["monitor"], callback.get("mode"))
    found["scheduler.monitor"] = (get(config, "scheduler.monitor"), get(config, "scheduler.scheduler.mode"))
    common = found["monitor"]
    return {path: pair for path, pair in found.items() if pair[0] and (path == "monitor" or pair != common)}


def metrics_are_declared(config: Config) -> Iterator[Fault]:
    for wrong in misdeclared_by(str(get(config, "task._target_"))):
        yield Fault("task", str(wrong), ALLOWED)


def monitor_is_logged(config: Config) -> Iterator[Fault]:
    if "task" not in config:
        return
    names, may_log_more = logged(config)
    for path, (monitor, _) in watched(config).items():
        known = not isinstance(monitor, str) or without_loader(monitor) in (*names, *ALWAYS)
        if not known and not may_log_more:
            allowed = ", ".join(name for name in names if not OF_A_STEP.fullmatch(name)) or "null, as nothing is logged"
            # A metric of test decides nothing.
            near = nearest(re.sub(r"^test(?=[/_.])", "val", monitor), names)
            yield Fault(path, f"{monitor}, which nothing logs", allowed, near)


def mode_fits_the_monitor(config: Config) -> Iterator[Fault]:
    names = logged(config).names if "task" in config else {}
    for path, (monitor, mode) in watched(config).items():
        right = names.get(without_loader(str(monitor)))
        if right and mode in ("min", "max") and mode != right:
            key = "monitor_mode" if path == "monitor" else f"{path.rpartition('.')[0]}.mode"
            yield Fault(key, f"{mode} for {monitor}", right, f"{key}={right}")


def a_metric_has_a_name_of_its_own(config: Config) -> Iterator[Fault]:
    task = str(get(config, "task._target_"))
    declared = declared_by(task) or {}
    for name in get(config, "metrics") or {}:
        if name in declared:
            given = f"a name that {task.rpartition('.')[2]} logs itself"
            yield Fault(f"metrics.{name}", given, f"another one than {', '.join(declared)}")


def top_k_leaves_classes_out(config: Config) -> Iterator[Fault]:
    for name in get(config, "metrics") or {}:
        top_k, classes = (get(config, f"metrics.{name}.{key}") for key in ("top_k", "num_classes"))
        if isinstance(top_k, int) and isinstance(classes, int) and top_k >= classes > 1:
            yield Fault(f"metrics.{name}.top_k", str(top_k), f"less than the number of classes, {classes}")


def a_metric_takes_several_labels(config: Config) -> Iterator[Fault]:
    given = next(
        (key for key in ("label_separator", "label_column") if has_several(get(config, f"data.{key}"), key)), ""
    )
    for name in get(config, "metrics") or {} if given else ():
        kind = str(get(config, f"metrics.{name}._target_")).rpartition(".")[2]
        if kind.startswith(OF_ONE_LABEL):
            yield Fault(
                f"metrics.{name}",
                f"{kind}, which is of one label each, with data.{given}, and so several labels each",
                "metrics=none, or one of several, such as torchmetrics.classification.MultilabelAUROC, in a file of "
                "configs/metrics",
            )


def has_several(value: Any, key: str) -> bool:
    """Whether a setting of a table says that its images have any number of labels each."""
    return bool(value) and (key == "label_separator" or not isinstance(value, str))


def plateau_has_a_metric(config: Config) -> Iterator[Fault]:
    plateau = str(get(config, "scheduler.scheduler._target_")).endswith(".ReduceLROnPlateau")
    if plateau and "monitor" in config and get(config, "scheduler.monitor") is None:
        yield Fault("monitor", "null with scheduler=plateau", "a metric that is logged, such as val/loss")


def a_plateau_steps_by_epochs(config: Config) -> Iterator[Fault]:
    plateau = str(get(config, "scheduler.scheduler._target_")).endswith(".ReduceLROnPlateau")
    if plateau and get(config, "scheduler.interval") == "step":
        yield Fault("scheduler.interval", "step with scheduler=plateau", "epoch, which is after each validation")


def no_single_step_decides(config: Config) -> Iterator[Fault]:
    for path, (monitor, _) in watched(config).items():
        if isinstance(monitor, str) and OF_A_STEP.fullmatch(monitor):
            whole = monitor.removesuffix("_step")
            yield Fault(path, f"{monitor}, which is of single steps", f"{whole}, of an epoch", f"{path}={whole}")


def one_metric_decides(config: Config) -> Iterator[Fault]:
    """A checkpoint of the lowest loss and a stop by accuracy keep weights of another epoch than the stop's."""
    stop, best = (get(config, f"callbacks.{name}.monitor") for name in ("early_stopping", "best_checkpoint"))
    if stop and best and stop != best:
        allowed = f"what callbacks.best_checkpoint watches, {best}"
        yield Fault("callbacks.early_stopping.monitor", str(stop), allowed, "monitor=... for both")


# What they say depends on what the task logs, and a program may yet give another one.
OF_THE_TASK = (metrics_are_declared, monitor_is_logged, mode_fits_the_monitor, a_metric_has_a_name_of_its_own)
RULES = (
    *OF_THE_TASK,
    plateau_has_a_metric,
    a_plateau_steps_by_epochs,
    no_single_step_decides,
    top_k_leaves_classes_out,
    a_metric_takes_several_labels,
    one_metric_decides,
)

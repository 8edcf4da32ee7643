"""What settings of a sweep make no sense; what a rule is, stands in run_rules.py."""

import math
import re
from collections.abc import Iterator
from typing import Any

from kindling.config.fault import Fault, listed, nearest
from kindling.config.logged import FACTS, logged, without_loader
from kindling.config.plain import Config, get
from kindling.config.rules.callback_rules import OF_VALIDATION

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("median", "asha", "hyperband", "patience")
GPU = re.compile(r"[0-9]+|(GPU|MIG)-[\w/-]+")
# What is a whole number, and from where on.
WHOLE = {"n_trials": 1, "n_jobs": 1, "seed": 0}


def numbers_of_a_sweep_fit(config: Config) -> Iterator[Fault]:
    sweep = _sweep(config)
    for key, least in WHOLE.items():
        value = sweep.get(key, least)
        may_be_null = key == "n_trials" and sweep.get("sampler") == "grid"
        if not (value is None and may_be_null) and not (type(value) is int and value >= least):
            yield Fault(f"sweep.{key}", _shown(value), f"a whole number of {least} or more{', or null' * may_be_null}")
    share = sweep.get("max_failed", 0)
    if not _is_number(share) or not 0 <= share <= 1:
        yield Fault("sweep.max_failed", _shown(share), "a share, from 0 to 1")
    for key in ("trial_hours", "hours"):
        value = sweep.get(key)
        if value is not None and not (_is_number(value) and value > 0):
            yield Fault(f"sweep.{key}", str(value), "null, or hours, more than 0")


def choices_of_a_sweep_are_known(config: Config) -> Iterator[Fault]:
    sweep = _sweep(config)
    for key, choices in (("sampler", SAMPLERS), ("pruner", (None, *PRUNERS))):
        value = sweep.get(key, choices[0])
        if value not in choices:
            names = ["null" if each is None else each for each in choices]
            yield Fault(f"sweep.{key}", str(value), listed(names), nearest(str(value), names))


def a_sweep_has_something_to_compare(config: Config) -> Iterator[Fault]:
    monitor = get(config, "monitor")
    if _sweep(config) and (monitor is None or str(monitor).startswith("test")):
        yield Fault("monitor", f"{'null' if monitor is None else monitor} in a sweep", "a metric of validation")


def objectives_can_be_compared(config: Config) -> Iterator[Fault]:
    objectives, allowed = _sweep(config).get("objectives"), "null, or such as {val/accuracy: max, parameters: min}"
    if objectives is None:
        return
    if not isinstance(objectives, dict) or not objectives:
        yield Fault("sweep.objectives", str(objectives), allowed)
        return
    names, may_log_more = logged(config)
    ways: dict[str, str] = dict.fromkeys(FACTS, "min") | {n: way for n, way in names.items() if OF_VALIDATION.match(n)}
    for name, way in objectives.items():
        path, right = f"sweep.objectives.{name}", ways.get(without_loader(str(name)))
        if right is None and not (may_log_more and OF_VALIDATION.match(str(name))):
            yield Fault(path, "what no validation logs", listed(ways), nearest(str(name), ways))
        elif way not in ("min", "max"):
            yield Fault(path, str(way), "min or max", right or "")
        elif right and way != right:
            yield Fault(path, way, right)


def one_objective_is_pruned_by(config: Config) -> Iterator[Fault]:
    sweep, monitor = _sweep(config), get(config, "monitor")
    objectives = sweep.get("objectives")
    if sweep.get("pruner") and isinstance(objectives, dict) and list(objectives) != [monitor]:
        given = f"{sweep['pruner']} with sweep.objectives={','.join(map(str, objectives))}"
        yield Fault("sweep.pruner", given, "null; a trial is only ended early by one objective, which is monitor")


def a_trial_records_what_is_compared(config: Config) -> Iterator[Fault]:
    sweep, monitor = _sweep(config), get(config, "monitor")
    if not sweep:
        return
    best, table = get(config, "callbacks.best_checkpoint"), get(config, "logger.csv")
    if get(config, "train") is False:
        yield Fault("train", "false in a sweep", "true; it compares what is trained")
    elif not isinstance(best, dict) or best.get("save_top_k") == 0 or not get(config, "trainer.enable_checkpointing"):
        yield Fault("callbacks.best_checkpoint", "none in a sweep", "one that is kept; a trial is worth its best")
    elif best.get("monitor") != monitor:
        given = f"{best.get('monitor')} in a sweep with monitor={monitor}"
        yield Fault("callbacks.best_checkpoint.monitor", given, "the same")
    objectives = sweep.get("objectives")
    others = [name for name in (objectives if isinstance(objectives, dict) else ()) if name not in (monitor, *FACTS)]
    needs = "sweep.pruner" if sweep.get("pruner") else f"sweep.objectives.{others[0]}" if others else ""
    if needs and not table:
        yield Fault("logger", f"none that writes metrics.csv, which {needs} reads", "logger=csv or logger=default")


def a_sweep_begins_with_settings(config: Config) -> Iterator[Fault]:
    start = _sweep(config).get("start", [])
    if not isinstance(start, list) or not all(isinstance(each, dict) for each in start):
        yield Fault("sweep.start", _shown(start), "a list of settings, such as [{}, {optimizer.lr: 0.1}]")


def a_sweep_has_a_folder_of_its_own(config: Config) -> Iterator[Fault]:
    name = _sweep(config).get("name", "x")
    if not isinstance(name, str | int | float) or not str(name).strip() or set(str(name)) & set("/\\\0"):
        yield Fault("sweep.name", repr(name), "a name of a folder, without /")


def trials_are_resumed_as_themselves(config: Config) -> Iterator[Fault]:
    resume = get(config, "resume")
    if _sweep(config) and resume not in (None, "auto"):
        yield Fault("resume", f"{resume} in a sweep", "null; each trial goes on from its own checkpoint")


def what_prunes_is_measured_on_validation(config: Config) -> Iterator[Fault]:
    sweep, monitor = _sweep(config), str(get(config, "monitor"))
    if sweep.get("pruner") and monitor.startswith("train"):
        yield Fault("monitor", f"{monitor} with sweep.pruner={sweep['pruner']}", "a metric of validation")


def a_trial_is_recorded(config: Config) -> Iterator[Fault]:
    if _sweep(config) and get(config, "trainer.fast_dev_run"):
        yield Fault("trainer.fast_dev_run", "true in a sweep", "false; debug=fast for a short one")


def a_trial_is_of_one_machine(config: Config) -> Iterator[Fault]:
    machines = get(config, "trainer.num_nodes")
    if _sweep(config) and isinstance(machines, int) and machines > 1:
        allowed = "1; several machines share the trials of a sweep if each is given its command"
        yield Fault("trainer.num_nodes", f"{machines} in a sweep", allowed)


def gpus_of_trials_are_named(config: Config) -> Iterator[Fault]:
    gpus = _sweep(config).get("gpus")
    if gpus is None:
        return
    names = gpus if isinstance(gpus, list) else [None]
    each = [part for name in names for part in (str(name).split(",") if type(name) in (int, str) else [""])]
    if not names or len(set(each)) < len(each) or not all(GPU.fullmatch(part) for part in each):
        yield Fault("sweep.gpus", str(gpus), "null, or GPUs, each once, such as [0, 1] or ['0,1', '2,3']")
    elif get(config, "trainer.accelerator") == "cpu":
        yield Fault("sweep.gpus", f"{gpus} with trainer.accelerator=cpu", "null, or another accelerator")


def _sweep(config: Config) -> dict[str, Any]:
    found = get(config, "sweep")
    # A recipe may have settings for a sweep that was not asked for.
    return found if isinstance(found, dict) and "sampler" in found else {}


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


RULES = (
    numbers_of_a_sweep_fit,
    choices_of_a_sweep_are_known,
    a_sweep_has_something_to_compare,
    a_sweep_begins_with_settings,
    a_sweep_has_a_folder_of_its_own,
    trials_are_resumed_as_themselves,
    what_prunes_is_measured_on_validation,
    objectives_can_be_compared,
    one_objective_is_pruned_by,
    a_trial_records_what_is_compared,
    a_trial_is_recorded,
    a_trial_is_of_one_machine,
    gpus_of_trials_are_named,
)

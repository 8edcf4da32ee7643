"""What settings of the trainer make no sense; what a rule is, stands in run_rules.py."""

import re
from collections.abc import Iterator

from kindling.config.fault import Fault, nearest
from kindling.config.plain import Config, get
from kindling.stages import STAGES

HALF = ("16-mixed", "16", "16-true")
STRATEGIES = re.compile(
    r"auto|ddp(_\w+)?|fsdp(_cpu_offload)?|deepspeed(_\w+)?|(single_)?(xla|tpu)(_\w+)?|single_device"
)


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
    devices = get(config, "trainer.devices")
    if given == "single_device" and isinstance(devices, int) and devices > 1:
        yield Fault("trainer.strategy", f"single_device with trainer.devices={devices}", "ddp, or trainer.devices=1")
    if given is not None and not isinstance(given, dict) and not STRATEGIES.fullmatch(str(given)):
        names = ("auto", "ddp", "ddp_spawn", "ddp_find_unused_parameters_true", "fsdp", "deepspeed")
        yield Fault("trainer.strategy", repr(given), f"{', '.join(names)}, ...", nearest(str(given), names))


def amounts(config: Config) -> Iterator[Fault]:
    """Batches as a number, or as a share of all."""
    names = [f"limit_{stage}_batches" for stage in (*STAGES, "predict")]
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
    elif share and (get(config, "trainer") or {}).get("check_val_every_n_epoch", 1) is None:
        given = f"{given}, a share of an epoch, with trainer.check_val_every_n_epoch=null"
        yield Fault("trainer.val_check_interval", given, "a number of batches, which is counted over epochs")


def a_whole_number_is_of_batches(config: Config) -> Iterator[Fault]:
    """1 is often meant for 1.0."""
    given = get(config, "trainer.val_check_interval")
    if type(given) is int and given == 1:
        allowed = "1.0 for once an epoch; a larger number of batches, or a share"
        yield Fault("trainer.val_check_interval", "1, a validation after each batch", allowed, warning=True)
    for split in ("train", "val", "test"):
        given = get(config, f"trainer.limit_{split}_batches")
        # One epoch, or steps alone, is an attempt that wants few.
        if type(given) is int and given == 1 and get(config, "trainer.max_epochs") not in (1, -1):
            allowed = "1.0 for all of them; a larger number of batches, or a share"
            yield Fault(f"trainer.limit_{split}_batches", "1, a single batch", allowed, warning=True)


def longest_time(config: Config) -> Iterator[Fault]:
    given = get(config, "trainer.max_time")
    if isinstance(given, str) and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", given):
        yield Fault("trainer.max_time", repr(given), "days:hours:minutes:seconds, such as '00:12:00:00'")


def epochs_are_in_order(config: Config) -> Iterator[Fault]:
    low, high = get(config, "trainer.min_epochs"), get(config, "trainer.max_epochs")
    if isinstance(low, int) and isinstance(high, int) and low > high >= 0:
        yield Fault("trainer.min_epochs", str(low), f"trainer.max_epochs, {high}, or less")


def half_precision_has_a_gpu(config: Config) -> Iterator[Fault]:
    precision = str(get(config, "trainer.precision"))
    if precision in HALF and get(config, "trainer.accelerator") == "cpu":
        yield Fault("trainer.precision", f"{precision} on a CPU", "32-true, bf16-mixed", "trainer.precision=bf16-mixed")


def clipping_has_a_value(config: Config) -> Iterator[Fault]:
    algorithm = get(config, "trainer.gradient_clip_algorithm")
    if algorithm and get(config, "trainer.gradient_clip_val") is None:
        given = f"{algorithm}, without effect"
        yield Fault("trainer.gradient_clip_algorithm", given, "with trainer.gradient_clip_val", warning=True)


RULES = (
    devices,
    strategy,
    amounts,
    validation_interval,
    a_whole_number_is_of_batches,
    longest_time,
    epochs_are_in_order,
    half_precision_has_a_gpu,
    clipping_has_a_value,
)

"""What settings of the data make no sense; what a rule is, stands in run_rules.py."""

from collections.abc import Iterator

from kindling.config.fault import Fault
from kindling.config.plain import Config, get
from kindling.config.processes import processes_of, processes_on_a_machine, shares_batches
from kindling.process.cores import own_cores


def workers_have_cores(config: Config) -> Iterator[Fault]:
    workers, processes = get(config, "data.num_workers"), processes_on_a_machine(config) or 1
    cores = own_cores(processes)
    if isinstance(workers, int) and workers > cores:
        given = f"{workers} for each of {processes} processes" if processes > 1 else str(workers)
        whose = "a process" if processes > 1 else "this machine"
        allowed = f"up to {cores}, the cores of {whose}; more only wait for each other"
        yield Fault("data.num_workers", given, allowed, warning=True)


def workers_have_work(config: Config) -> Iterator[Fault]:
    workers = get(config, "data.num_workers")
    if (
        get(config, "data.cache") is None
        and isinstance(workers, int)
        and workers
        and get(config, "data.in_memory") is True
    ):
        yield Fault("data.num_workers", f"{workers}, without effect", "0, as the set lies in memory", warning=True)


def processes_share_the_batch(config: Config) -> Iterator[Fault]:
    """Where a run goes on whose batch_size was that of each process, its data asks."""
    size, processes = get(config, "data.batch_size"), processes_of(config)
    goes_on = get(config, "resume") or get(config, "fork")
    if type(size) is int and size > 0 and processes and size % processes and not goes_on and shares_batches(config):
        near = max(1, round(size / processes)) * processes
        allowed = f"a multiple of {processes}, as {processes} processes share the batch of a step"
        yield Fault("data.batch_size", str(size), allowed, f"data.batch_size={near}")


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


def the_crop_fits_the_picture(config: Config) -> Iterator[Fault]:
    """Versions of decoding before 4 know neither of them."""
    size, crop, resize = (get(config, f"data.{name}") for name in ("image_size", "crop", "resize"))
    given = {"crop": crop, "resize": resize, "interpolation": get(config, "data.interpolation")}
    if get(config, "data.decoding") in (1, 2, 3):
        for name, value in given.items():
            if value not in (None, "bilinear"):
                yield Fault(f"data.{name}", f"{value} with data.decoding={get(config, 'data.decoding')}", "none, or 4")
    elif isinstance(resize, int) and isinstance(most := crop or size, int) and 0 < resize < most:
        yield Fault("data.resize", str(resize), f"{most} or more, the side that is cut from it", f"data.resize={most}")


def the_fold_is_there(config: Config) -> Iterator[Fault]:
    fold, number = get(config, "data.fold"), get(config, "data.num_folds")
    if isinstance(fold, int) and isinstance(number, int) and fold >= number:
        yield Fault("data.fold", str(fold), f"0 to {number - 1}, as data.num_folds is {number}")


def each_class_has_a_weight(config: Config) -> Iterator[Fault]:
    weights, classes = get(config, "task.criterion.class_weights"), get(config, "data.num_classes")
    if isinstance(weights, list) and isinstance(classes, int) and len(weights) != classes:
        yield Fault(
            "task.criterion.class_weights", f"{len(weights)} numbers", f"null, balanced, or {classes}, one a class"
        )


def rare_classes_are_made_up_for_once(config: Config) -> Iterator[Fault]:
    if get(config, "data.balanced_sampling") is True and get(config, "task.criterion.class_weights") == "balanced":
        allowed = "null with data.balanced_sampling=true; rare classes would count twice"
        yield Fault("task.criterion.class_weights", "balanced", allowed, warning=True)


def alternating_flips_are_halves(config: Config) -> Iterator[Fault]:
    chance = get(config, "data.augment.horizontal_flip")
    if get(config, "data.augment.alternating_flip") is True and chance not in (None, 0.5):
        given = f"true with horizontal_flip={chance}"
        yield Fault("data.augment.alternating_flip", given, "true with horizontal_flip=0.5, or false")


RULES = (
    workers_have_cores,
    workers_have_work,
    processes_share_the_batch,
    statistics_fit_the_channels,
    reflection_fits_the_image,
    alternating_flips_are_halves,
    the_crop_fits_the_picture,
    the_fold_is_there,
    each_class_has_a_weight,
    rare_classes_are_made_up_for_once,
)

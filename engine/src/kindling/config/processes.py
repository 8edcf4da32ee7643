"""How many processes a config asks for, and what they share; known before torch is imported."""

from typing import Any

from kindling.config import sources
from kindling.config.lineage import lineage
from kindling.config.plain import Config, get
from kindling.process.gpus import has_accelerator, visible_gpus

# Stands in the config of a run that began when data.batch_size was that of each process.
PER_PROCESS = "batch_size_is_per_process"
# Whose loaders share a batch among the processes.
SHARING = (f"{__name__.partition('.')[0]}.data.datamodule", "DataModule")


def processes_of(config: Config) -> int | None:
    """The number of processes on all machines; None if only torch can tell."""
    here, machines = processes_on_a_machine(config), get(config, "trainer.num_nodes")
    return here * machines if here and isinstance(machines, int) else here


def processes_on_a_machine(config: Config) -> int | None:
    """None if only torch can tell."""
    given = get(config, "trainer.devices")
    if isinstance(given, list):
        return len(given) or None
    if isinstance(given, str) and "," in given:
        return sum(part.strip().isdecimal() for part in given.split(",")) or None
    if given in ("auto", -1, "-1"):
        accelerator = get(config, "trainer.accelerator")
        is_on_cpu = accelerator == "cpu" or (accelerator in ("auto", None) and not has_accelerator())
        return 1 if is_on_cpu else len(visible_gpus()) or None
    text = str(given)
    return int(text) if text.isdecimal() and int(text) else None


def shares_batches(config: Config) -> bool:
    """Whether data.batch_size is that of a whole step: loaders that are not the engine's take it as they like."""
    return not get(config, PER_PROCESS) and is_shared_out(get(config, "data._target_"))


def is_shared_out(target: Any) -> bool:
    """Whether a class of data has the loaders of the engine."""
    places = lineage(target) if isinstance(target, str) else ()
    return any((sources.dotted(place.file), place.name) == SHARING for place in places if place.name)


def batch_in_words(config: Config) -> str:
    """Such as "128 = 2 x 64"; "" for one process, and where it is not known."""
    size, processes = get(config, "data.batch_size"), processes_of(config)
    if not isinstance(size, int) or not processes or processes == 1:
        return ""
    if get(config, PER_PROCESS):
        return f"{size * processes} = {processes} x {size}"
    return f"{size} = {processes} x {size // processes}" if shares_batches(config) and size % processes == 0 else ""

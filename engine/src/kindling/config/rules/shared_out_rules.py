"""What settings make no sense with several processes, or where each has a part of the net.

What a rule is, stands in run_rules.py.
"""

import re
from collections.abc import Iterator

from kindling.config.fault import Fault
from kindling.config.plain import Config, get
from kindling.config.processes import processes_of
from kindling.config.rules.callback_rules import named

ENGINE = __name__.partition(".")[0]
WITH_FSDP2 = ("32-true", "bf16-mixed")


def muon_sees_whole_matrices(config: Config) -> Iterator[Fault]:
    """Parts of FSDP 2 know what they are parts of, and are put together; those of others do not."""
    is_known = _strategy(config).endswith(".FSDP2")
    if get(config, "optimizer._target_") == f"{ENGINE}.training.muon.Muon" and _cuts_up(config) and not is_known:
        given = f"Muon with {_strategy(config)}, which cuts up its matrices"
        yield Fault("optimizer", given, "trainer=fsdp2, trainer=ddp or optimizer=adamw")


def _strategy(config: Config) -> str:
    given = get(config, "trainer.strategy")
    return str(given.get("_target_") if isinstance(given, dict) else given)


def _cuts_up(config: Config) -> bool:
    return bool(re.search("fsdp|deepspeed|modelparallel", _strategy(config).lower()))


def gradients_are_whole(config: Config) -> Iterator[Fault]:
    if _cuts_up(config):
        for path in named(config, r"GradientNorm|Histograms|Graph"):
            yield Fault(path, f"with {_strategy(config)}, which cuts up the net", "null, or trainer=ddp")


def fsdp2_can_do_it(config: Config) -> Iterator[Fault]:
    """What was not tried with weights of which each process has a part."""
    if not _strategy(config).endswith(".FSDP2"):
        return
    for path in named(config, r"EMA|SWA|Finetuning|LayerMonitor|FindLR|FindBatchSize|GradientCheck"):
        yield Fault(path, "with fsdp2, which cuts up the net", "null, or trainer=ddp")
    if get(config, "compile"):
        yield Fault("compile", f"{get(config, 'compile')} with fsdp2, which cuts up the net", "null, or trainer=ddp")
    precision = str(get(config, "trainer.precision"))
    if precision not in WITH_FSDP2:
        yield Fault("trainer.precision", f"{precision} with fsdp2", ", ".join(WITH_FSDP2))


def callbacks_can_do_with_several_processes(config: Config) -> Iterator[Fault]:
    processes = processes_of(config) or 1
    if processes == 1:
        return
    for path in named(config, "FindBatchSize"):
        yield Fault("trainer.devices", f"{get(config, 'trainer.devices')} with {path}", "1")
    if re.fullmatch(r"auto|ddp(_spawn|_fork|_notebook)?", _strategy(config)):
        for path in named(config, "Finetuning"):
            # They wait for the gradients of all layers, the frozen ones too.
            yield Fault(path, f"{processes} processes", "one, or trainer.strategy=ddp_find_unused_parameters_true")


def a_report_is_of_one_process(config: Config) -> Iterator[Fault]:
    """Of evaluate.py: each process would report its own share of the examples."""
    if "include_train" in config and (processes_of(config) or 1) > 1:
        yield Fault("trainer.devices", str(get(config, "trainer.devices")), "1, as a report is of all examples")


def checkpoints_are_one_file(config: Config) -> Iterator[Fault]:
    """Torch's own of several files are read by pickle, which runs what stands in them."""
    strategy = get(config, "trainer.strategy")
    if _strategy(config).endswith(".ModelParallelStrategy"):
        given = "ModelParallelStrategy, which reads checkpoints without the checks of the engine"
        yield Fault("trainer.strategy", given, f"trainer=fsdp2, or {ENGINE}.training.fsdp2.FSDP2")
    if isinstance(strategy, dict) and strategy.get("state_dict_type") == "sharded":
        given = "sharded, checkpoints of several files, which are read by pickle"
        yield Fault("trainer.strategy.state_dict_type", given, "full")


RULES = (
    muon_sees_whole_matrices,
    gradients_are_whole,
    fsdp2_can_do_it,
    callbacks_can_do_with_several_processes,
    a_report_is_of_one_process,
    checkpoints_are_one_file,
)

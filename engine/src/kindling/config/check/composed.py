"""The check of a config that is composed already, and that a program may have changed since."""

from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kindling.config import project
from kindling.config.check import keys
from kindling.config.check.command_line import refuse
from kindling.config.check.files import ConfigFiles
from kindling.config.check.groups import of_debug
from kindling.config.check.nodes import problems_of
from kindling.config.fault import Fault
from kindling.config.left_out import leave_out


def check_config(config: DictConfig, name: str = "train", *, given: Sequence[str] = ()) -> list[Fault]:
    """Check a composed config, perhaps changed since by hand, and leave out what its task does not take.

    Returns warnings, and what has been left out.

    Args:
        config: of a run.
        name: of the command.
        given: groups for which a program gives the parts, so that the config need not describe them.

    Raises:
        KindlingError: one line for each mistake.
    """
    files = ConfigFiles(project.current().configs)
    lines = leave_out(config)
    problems = [*lines, *keys.top_level_faults(config, files, name, set(map(str, config))), *problems_of(config, given)]
    refuse(problems)
    found = [problem for problem in problems if isinstance(problem, Fault)]
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    option = hydra.runtime.choices.get("debug") if hydra else None
    typed = [line.lstrip("+~").partition("=")[0] for line in (hydra.overrides.task or ())] if hydra else []
    return [fault for fault in found if not of_debug(fault, files, option, typed)]

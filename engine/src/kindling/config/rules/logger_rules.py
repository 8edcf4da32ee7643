"""What settings of the loggers make no sense here; what a rule is, stands in run_rules.py."""

from collections.abc import Iterator
from importlib.util import find_spec

from kindling.config.extras import EXTRAS
from kindling.config.fault import Fault
from kindling.config.plain import Config, get

# Loggers in an extra: its name, and the modules imported.
MODULES = {
    "MLflowRun": ("mlflow", EXTRAS["mlflow"]),
    "MLFlowLogger": ("mlflow", ("mlflow",)),
    "WandbRun": ("wandb", EXTRAS["wandb"]),
    "WandbLogger": ("wandb", EXTRAS["wandb"]),
}


def loggers_are_installed(config: Config) -> Iterator[Fault]:
    loggers = get(config, "logger")
    for name in loggers if isinstance(loggers, dict) else {}:
        target = str(get(config, f"logger.{name}._target_")).rpartition(".")[2]
        extra, modules = MODULES.get(target, ("", ()))
        if not all(map(find_spec, modules)):
            given = f"{target}, whose package is not installed; install it with pip install -e './engine[{extra}]'"
            yield Fault(f"logger.{name}", given)


RULES = (loggers_are_installed,)

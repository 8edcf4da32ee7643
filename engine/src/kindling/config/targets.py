"""Which classes and functions a config may name in `_target_`."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from kindling.config import project
from kindling.config.fault import Fault, nearest
from kindling.config.plain import map_targets
from kindling.config.signatures import TargetMissing, signature
from kindling.config.upgrade import name_today
from kindling.errors import ConfigError

ENGINE = __name__.partition(".")[0]
# Characters of a name; file systems take no more for a module.
LONGEST = 200
# Only `[tool.kindling]` adds to these; no override or checkpoint does.
PREFIXES = (
    f"{ENGINE}.callbacks.",
    f"{ENGINE}.checkpoints.resume_checkpoint.",
    f"{ENGINE}.data.plain.",
    f"{ENGINE}.debug.",
    f"{ENGINE}.images.augment.",
    f"{ENGINE}.images.criterion.",
    f"{ENGINE}.images.doctor.callback.",
    f"{ENGINE}.images.fake.",
    f"{ENGINE}.images.image_folder.",
    f"{ENGINE}.images.image_table.",
    f"{ENGINE}.images.training_images.",
    f"{ENGINE}.images.validation_pictures.",
    f"{ENGINE}.loggers.",
    f"{ENGINE}.training.fsdp2.",
    f"{ENGINE}.training.muon.",
    f"{ENGINE}.training.optimization.",
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "lightning.pytorch.profilers.",
    "lightning.pytorch.strategies.",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.trainer.",
    "torch.nn.",
    "torch.optim.",
    # Those of torchmetrics that neither download nor read files.
    "torchmetrics.aggregation.",
    "torchmetrics.classification.",
    "torchmetrics.clustering.",
    "torchmetrics.nominal.",
    "torchmetrics.regression.",
    "torchmetrics.retrieval.",
    "torchmetrics.segmentation.",
    "torchmetrics.text.perplexity.",
    "torchvision.models.",
    "torchvision.transforms.v2.",
)


def allowed_prefixes() -> tuple[str, ...]:
    """What the name of a target may start with."""
    now = project.current()
    return (f"{now.package}.", *PREFIXES, *now.targets)


def check_targets(config: Any, path: str = "") -> None:
    """Check every `_target_` of a plain config, which Hydra would resolve once more before it builds it.

    Raises:
        ConfigError: one lies outside `allowed_prefixes()`, or is no class or function at the level of a module; or a
            text is an interpolation.
    """
    for where, key, value in nodes(config, path):
        if key == "_target_":
            locate(value, where)
        fault = interpolation_fault(value, where)
        if fault:
            raise ConfigError(str(fault))


def locate(target: Any, path: str) -> Callable[..., Any]:
    """The class or function of that name, imported.

    Raises:
        ConfigError: as `check_targets`.
    """
    fault = prefix_fault(target, path)
    if fault:
        raise ConfigError(str(fault))
    where = f"{path}: given {target!r}; allowed: a class or function"
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where} at the level of a module; {error}") from error
    # A module also holds what it imported from elsewhere.
    origin = f"{getattr(found, '__module__', None)}."
    if not callable(found) or not origin.startswith(allowed_prefixes()):
        raise ConfigError(f"{where} that its module defines, not one that it imports")
    return found


def nodes(config: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Path, key and value of everything in a plain config, nodes before what is in them."""
    items = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in items:
        where = f"{path}[{key}]" if isinstance(config, list) else f"{path}.{key}" if path else str(key)
        yield where, key, value
        yield from nodes(value, where)


def interpolation_fault(value: Any, path: str) -> Fault | None:
    """What is wrong with a text that is still to be resolved, and could become a `_target_` so."""
    if isinstance(value, str) and "${" in value:
        return Fault(path, repr(value), "values without ${...}; interpolations are resolved when a run starts")
    return None


def prefix_fault(target: Any, path: str) -> Fault | None:
    """What is wrong with a target's name, without importing it; None if it is allowed."""
    if isinstance(target, str) and len(target) > LONGEST:
        return Fault(path, f"a name of {len(target)} characters", f"at most {LONGEST}")
    if isinstance(target, str) and "._" in target:
        return Fault(path, repr(target), "public names, which do not begin with _")
    if isinstance(target, str) and target.startswith(allowed_prefixes()):
        return None
    allowed = f"names that start with {', '.join(allowed_prefixes())}; add a prefix to [tool.kindling] targets"
    return Fault(path, repr(target), f"{allowed} in pyproject.toml", name_today(target) or _near(target))


def _near(target: Any) -> str:
    """A class or function of a module whose name is near; "" if there is none."""
    module, _, name = str(target).rpartition(".")
    prefix = nearest(f"{module}.", allowed_prefixes(), cutoff=0.85)
    try:
        return f"{prefix}{name}" if prefix and signature(f"{prefix}{name}") else ""
    except (TargetMissing, SyntaxError):
        return ""


def relative(config: Any) -> Any:
    """A plain config with the project's own targets written from its package on, for files that outlive its name."""
    package = project.current().package
    return map_targets(config, lambda name: name.removeprefix(package) if name.startswith(f"{package}.") else name)


def absolute(config: Any) -> Any:
    """The reverse of `relative`."""
    package = project.current().package
    return map_targets(config, lambda name: f"{package}{name}" if name.startswith(".") else name)

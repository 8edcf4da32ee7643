"""The processor of a task, and one that a model folder carries. Needs no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kindling.config import project
from kindling.config.lineage import assigned, lineage, may_define
from kindling.config.plain import get
from kindling.config.targets import locate
from kindling.data.processor import Kind, Processor
from kindling.data.rows_processor import RowsProcessor
from kindling.data.text_processor import TextProcessor
from kindling.errors import CheckpointError, ConfigError, DataError, one_line
from kindling.images.processor import ImageProcessor
from kindling.run_folders.saved_run import saved_config

READY: Mapping[Kind, type[Processor]] = {"image": ImageProcessor, "rows": RowsProcessor, "text": TextProcessor}


def from_dict(described: Mapping[str, Any]) -> Processor:
    """What a processor's `as_dict` gave, made anew.

    Raises:
        CheckpointError: it is damaged.
    """
    kind: Any = described.get("kind")
    if kind not in READY:
        raise CheckpointError(f"processor: given the kind {kind!r}; allowed: {', '.join(READY)}; export the model anew")
    make = own(described["_target_"]) if "_target_" in described else READY[kind]
    try:
        return make.from_dict(described)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, ConfigError) as error:
        raise CheckpointError(f"processor: is damaged ({error}); export the model anew") from error


def own(target: Any) -> type[Processor]:
    """A class of the project, by its name from the package on.

    Raises:
        CheckpointError: this is another project, or it is no processor.
    """
    given = f"processor: given {target!r}, a class of the project that the model was exported in"
    try:
        if not isinstance(target, str) or not target.startswith("."):
            raise ConfigError("no name from the package on")
        found: Any = locate(f"{project.current().package}{target}", "target")
    except ConfigError as error:
        raise CheckpointError(f"{given}; allowed: to open it there ({one_line(error)})") from error
    if not isinstance(found, type) or not issubclass(found, Processor):
        raise CheckpointError(f"{given}, which is no Processor; export the model anew")
    return found


def processor_of(task: Any, path: Path) -> Processor | None:
    """That of a rebuilt task; None if it has none, as a LightningModule that is no `Task`.

    Raises:
        CheckpointError: the checkpoint lacks what the task makes it of.
    """
    make: Any = getattr(task, "processor", None)
    try:
        found = make() if callable(make) else None
    except KeyError as error:
        raise CheckpointError(f"{path}: lacks {error}, which {type(task).__name__}.processor asks for") from error
    except DataError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return found if isinstance(found, Processor) else None


def refuse_without_processor(run: Path) -> None:
    """As `needed_processor_of`, by the source of a run's task, before torch is imported; in doubt it passes.

    Raises:
        ConfigError: the task has none.
    """
    try:
        target = str(get(saved_config(run), "task._target_"))
    except ConfigError:
        return
    if not may_define(target, "processor") and not any(assigned(each.body, "processor") for each in lineage(target)):
        raise lacks_processor(target.rpartition(".")[2])


def needed_processor_of(task: Any, path: Path) -> Processor:
    """As `processor_of`.

    Raises:
        ConfigError: the task has none.
    """
    found = processor_of(task, path)
    if found is None:
        raise lacks_processor(type(task).__name__)
    return found


def lacks_processor(task: str) -> ConfigError:
    return ConfigError(
        f"task: given {task}, which does not say how an input is read and an output written; "
        "allowed: a Task with a processor; write in it `def processor(self)`, which returns a RowsProcessor, "
        "TextProcessor, ImageProcessor or a Processor of your own: see docs/tasks.md"
    )

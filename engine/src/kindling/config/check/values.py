"""What the keys may be whose node has no target to ask, as annotations in the words of `kindling.ranges`."""

import ast
from fnmatch import fnmatch
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from kindling.config.aliases import resolved

# KeysOf[...]: the keys of a dict that a module writes out.
TYPES = {
    "seed": "Seed",
    "train": "bool",
    "test": "bool",
    "resume": "str | None",
    "resume_strict": "bool",
    "fork": "str | None",
    "weights": "str | None",
    "init": "KeysOf[kindling.training.initialisation.SCHEMES] | None",
    "on_nan": "Literal['stop', 'rollback']",
    "rollback.times": "PositiveInt",
    "rollback.skip_batch": "bool",
    "rollback.lr_factor": "Factor",
    "layer_lr_decay": "Factor",
    "compile": "Literal['default', 'reduce-overhead', 'max-autotune'] | None",
    "float32_matmul_precision": "Literal['highest', 'high', 'medium']",
    "experiment_name": "str | None",
    "monitor": "str | None",
    "monitor_mode": "Literal['min', 'max']",
    "paths.*": "str | None",
    "scheduler.interval": "Literal['step', 'epoch']",
    "scheduler.frequency": "PositiveInt",
    "scheduler.monitor": "str",
    "run": "str | None",
    "ckpt": "str | None",
    "model.folder": "str | None",
    "views": "kindling.images.views.Views | None",
    "split": "Literal['test', 'val', 'train', 'all'] | None",
    "include_train": "bool",
    "input": "str | None",
    "output": "str | None",
    "overwrite": "bool",
    "top_k": "PositiveInt | None",
    "length": "PositiveInt | None",
    "temperature": "NotNegative | None",
    "batch_size": "PositiveInt",
    "device": "str",
    "format": "KeysOf[kindling.inference.model_folder.FILES]",
    "preprocessing": "bool | None",
    "torchscript": "kindling.inference.exporting.formats.Method",
    "aot": "bool",
    "calibration_images": "PositiveInt",
    "benchmark": "bool",
    "host": "str",
    "port": "Annotated[int, Interval(ge=0, le=65535)]",
    "reload": "bool",
    "trust": "bool",
    "hosts": "list[str]",
    "origins": "list[str]",
    "keep_alive_s": "Annotated[float, Interval(gt=0, le=3600)]",
    "threads": "Annotated[int, Interval(ge=1, le=1024)] | None",
    "max_batch": "Annotated[int, Interval(ge=1, le=65536)]",
    "max_queue": "Annotated[int, Interval(ge=1, le=65536)]",
    "max_images": "Annotated[int, Interval(ge=1, le=65536)]",
    "max_body_bytes": "Annotated[int, Interval(ge=1024, le=2**31)]",
    # Beyond this, Pillow takes any image for a bomb.
    "max_pixels": "Annotated[int, Interval(ge=1, le=89478485)]",
    "max_rows": "Annotated[int, Interval(ge=1, le=65536)]",
    "max_length": "Annotated[int, Interval(ge=1, le=65536)]",
    "max_text_s": "Annotated[float, Interval(gt=0, le=3600)]",
    "timeout_s": "Annotated[float, Interval(gt=0, le=3600)]",
    # For entries that take a trained model; null means as in training.
    "data.root": "str | None",
    "data.table": "str | None",
    "data.batch_size": "PositiveInt | None",
    "data.num_workers": "NotNegativeInt | Literal['auto'] | None",
}


@cache
def annotation_of(path: str) -> ast.expr | None:
    """What a key such as "paths.logs" may be; a pattern's * stands for any text."""
    found = next((each for pattern, each in TYPES.items() if fnmatch(path, pattern)), None)
    return resolved(_ranges(), ast.parse(found, mode="eval").body) if found else None


@cache
def _ranges() -> Path:
    """The module whose names the table uses."""
    spec = find_spec(f"{__name__.partition('.')[0]}.ranges")
    assert spec
    assert spec.origin
    return Path(spec.origin)

"""Packages that not everyone needs, imported where they are used."""

import importlib
import os
from importlib.util import find_spec
from types import ModuleType

from kindling.errors import ConfigError

# The extras of engine/pyproject.toml, each with the modules that it brings.
EXTRAS = {
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "serve": ("onnxruntime", "fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client"),
    "sweep": ("optuna",),
    "launchers": ("hydra_joblib_launcher", "hydra_submitit_launcher"),
    "ray": ("ray",),
    "parquet": ("pyarrow",),
    "heic": ("pillow_heif",),
    "jpeg": ("simplejpeg",),
    "timm": ("timm",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
}


def has_room(name: str) -> bool:
    """Whether a room of the engine, such as "sweeps", is there: a project may have left it out."""
    return find_spec(f"{__name__.partition('.')[0]}.{name}") is not None


def optional(module: str, extra: str = "") -> ModuleType:
    """A module of one of the extras, by default the first that brings it.

    Raises:
        ConfigError: it is not installed.
    """
    # Since 1.29 ONNX Runtime sends usage and hashes of models to its maker, unless this is set.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        extra = extra or next(name for name, modules in EXTRAS.items() if package in modules)
        raise ConfigError(
            f"{module} is not installed; run: pip install -e './engine[{extra}]' -c constraints.txt"
        ) from error


def optional_all(extra: str) -> None:
    """
    Raises:
        ConfigError: a module of the extra is not installed.
    """
    for module in EXTRAS[extra]:
        optional(module, extra)

"""Packages that not everyone needs, imported where they are used."""

import importlib
from types import ModuleType

from kindling.errors import ConfigError

EXTRAS = {
    **dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "export"),
    **dict.fromkeys(("fastapi", "uvicorn", "python_multipart", "prometheus_client"), "serve"),
    "pyarrow": "parquet",
}


def optional(package: str) -> ModuleType:
    """A package of one of the extras.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(package, package)
        raise ConfigError(
            f"{package} is not installed; run: pip install -e './engine[{extra}]' -c constraints.txt"
        ) from error

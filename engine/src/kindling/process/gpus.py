"""The GPUs of this machine, found without CUDA, after whose first call a process cannot be forked."""

import os
import sys
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = Path("/dev")


def visible_gpus() -> list[str]:
    """Those that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get(VISIBLE)
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    # Of NVIDIA, of Windows below Linux, of AMD.
    found = (list(DEVICES.glob(pattern)) for pattern in ("nvidia[0-9]*", "dxg", "kfd"))
    return [str(number) for number in range(len(next(filter(None, found), [])))]


def has_accelerator() -> bool:
    """Whether accelerator=auto takes another one than the CPU."""
    return sys.platform == "darwin" or bool(visible_gpus())

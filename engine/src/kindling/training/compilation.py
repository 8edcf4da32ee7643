"""torch.compile, with a cache that outlives the process."""

import os
import tempfile
from pathlib import Path

from torch import nn


def compile_net(net: nn.Module, mode: str, cache: Path) -> None:
    """Compile a net in place, at its first batch, so that the names of its weights stay as they are.

    Args:
        net: of which only calls become faster; a copy or a checkpoint of it knows nothing of it.
        mode: of torch.compile: default, reduce-overhead (CUDA graphs) or max-autotune.
        cache: keeps compiled code for the next run, unless TORCHINDUCTOR_CACHE_DIR names another folder.
    """
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    # Torch itself sets this one, in the temporary folder.
    if not chosen or chosen.startswith(os.path.join(tempfile.gettempdir(), "torchinductor_")):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache.absolute())
    net.compile(mode=mode)

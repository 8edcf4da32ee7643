"""Less memory for more time: activations that are computed again in the backward pass (arXiv 1604.06174)."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Pass x through all blocks, of which only the inputs are kept for the backward pass."""
    for block in blocks:
        x = _recomputed_block(block, x)
    return x


def _recomputed_block(block: nn.Module, x: Tensor) -> Tensor:
    # Compiled blocks are functional: statistics change once anyway.
    if torch.compiler.is_compiling():
        return checkpoint(block, x, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), StatisticsLeftAlone(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


class StatisticsLeftAlone(AbstractContextManager[None]):
    """Lets batch norms work on copies of their statistics, which the first pass has already updated.

    Entered once for each backward pass, of which retain_graph allows several.
    """

    def __init__(self, block: nn.Module):
        self.norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
        self._kept: list[dict[str, Tensor]] = []

    def __enter__(self) -> None:
        self._kept = [dict(norm.named_buffers(recurse=False)) for norm in self.norms]
        for norm, buffers in zip(self.norms, self._kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for norm, buffers in zip(self.norms, self._kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)

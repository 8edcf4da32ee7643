"""Less memory for more time: activations that are computed again in the backward pass (arXiv 1604.06174)."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

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
    if torch.compiler.is_compiling():  # functional then, so that statistics change once anyway
        return checkpoint(block, x, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics_left_alone(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def statistics_left_alone(block: nn.Module) -> Iterator[None]:
    """Let batch norms work on copies of their statistics, which the first pass has already updated."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)

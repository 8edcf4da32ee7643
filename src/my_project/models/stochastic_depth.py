"""Residual branches that are left out at random, image by image (stochastic depth, arXiv 1603.09382)."""

from torch import nn
from torchvision.ops import StochasticDepth

from kindling.errors import ConfigError


def branch_drops(last: float, num_blocks: int) -> list[nn.Module]:
    """One layer for each block's branch; the probability rises linearly to `last` in the last block.

    Raises:
        ConfigError: no branch would ever be kept.
    """
    if not 0 <= last < 1:
        raise ConfigError(f"model.stochastic_depth: given {last}; allowed: 0 or more and less than 1")
    if last == 0:
        return [nn.Identity() for _ in range(num_blocks)]
    return [StochasticDepth(last * number / num_blocks, "row") for number in range(1, num_blocks + 1)]

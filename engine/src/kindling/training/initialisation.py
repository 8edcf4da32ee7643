"""Other weights to start from than those of the model's own author, for any model."""

from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from kindling.errors import ConfigError

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# ReLU halves the variance.
RELU_GAIN = nn.init.calculate_gain("relu")
# As in vision transformers (arXiv 2010.11929), cut off at twice that.
STD = 0.02
# Small logits put the first loss near ln K.
HEAD_STD = 0.01
SCHEMES = {
    # He et al., arXiv 1502.01852.
    "kaiming_normal": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "kaiming_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    # Glorot and Bengio, AISTATS 2010.
    "xavier_normal": partial(nn.init.xavier_normal_, gain=RELU_GAIN),
    "xavier_uniform": partial(nn.init.xavier_uniform_, gain=RELU_GAIN),
    # Saxe et al., arXiv 1312.6120.
    "orthogonal": partial(nn.init.orthogonal_, gain=RELU_GAIN),
    "trunc_normal": partial(nn.init.trunc_normal_, std=STD, a=-2 * STD, b=2 * STD),
}


@torch.no_grad()
def initialise(net: nn.Module, scheme: str) -> None:
    """Draw the weights of convolutions and linear layers anew and set their biases to zero.

    The last layer is the head. Norms, embeddings and layers that are frozen stay as they are.

    Raises:
        ConfigError: the net has no such layer.
    """
    layers = [each for each in net.modules() if isinstance(each, LAYERS) and each.weight.requires_grad]
    if not layers:
        raise ConfigError(f"init: given {scheme} for {type(net).__name__}, which has no layer for it; allowed: null")
    attentions = [each for each in net.modules() if isinstance(each, nn.MultiheadAttention)]
    for weight in chain((layer.weight for layer in layers), *map(projections, attentions)):
        SCHEMES[scheme](weight)
    nn.init.normal_(layers[-1].weight, std=HEAD_STD)
    biases = [*(layer.bias for layer in layers), *(each.in_proj_bias for each in attentions)]
    for bias in biases:
        if bias is not None:
            nn.init.zeros_(bias)


def projections(attention: nn.MultiheadAttention) -> list[Tensor]:
    """The matrices of queries, keys and values, which torch keeps as one if they are of one shape."""
    if attention.in_proj_weight is not None:
        return list(attention.in_proj_weight.chunk(3))
    return [attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight]

"""What is exported: the net, with what comes before and after it if that is wanted."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kindling.data.processor import Processor, classes_of
from kindling.data.text_processor import TextProcessor


@dataclass(frozen=True)
class Signature:
    """What an exported graph takes and gives.

    Args:
        takes: the name of its input in ONNX.
        gives: those of its outputs.
        longest: of the input's second dimension, any length up to which is taken; None if there is but one.
    """

    takes: str = "images"
    gives: tuple[str, ...] = ("logits",)
    longest: int | None = None


class ExportedGraph(nn.Module):
    """A net that takes pixels (B, H, W, C) uint8 and gives probabilities and logits, both (B, K)."""

    def __init__(self, net: nn.Module, mean: list[float], std: list[float]):
        super().__init__()
        self.net = net
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        channels_first = pixels.permute(0, 3, 1, 2).contiguous()
        # The operations of Normalize in their order, for the same bits; channel by channel, as runtimes are slow
        # where a few numbers at a time meet a mean.
        images = channels_first.to(torch.float32).div(255).sub(self.mean).div(self.std)
        logits = self.net(images)
        return logits.softmax(1), logits


def exported_graph(net: nn.Module, mean: list[float], std: list[float], *, preprocessing: bool) -> nn.Module:
    """A copy of the net for evaluation alone, its weights in float32 and contiguous, on the CPU."""
    # Channels-last weights would put a transposition before each convolution.
    ours = copy.deepcopy(net).cpu().float().to(memory_format=torch.contiguous_format)
    graph = ExportedGraph(ours, mean, std) if preprocessing else ours
    return graph.eval().requires_grad_(False)


def signature_of(processor: Processor, *, preprocessing: bool) -> Signature:
    """What the graph of a task takes and gives."""
    if preprocessing:
        return Signature("pixels", ("probabilities", "logits"))
    if isinstance(processor, TextProcessor):
        return Signature("ids", longest=processor.block)
    takes, gives = "images" if processor.kind == "image" else "rows", "logits" if classes_of(processor) else "outputs"
    return Signature(takes, (gives,))

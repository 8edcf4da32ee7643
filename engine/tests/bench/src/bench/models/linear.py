"""The smallest nets of rows and of texts."""

from torch import Tensor, nn

from kindling.ranges import PositiveInt


class Linear(nn.Module):
    """Rows (B, F) -> (B,) if there is one output, else (B, K)."""

    def __init__(self, num_inputs: PositiveInt, num_outputs: PositiveInt):
        super().__init__()
        self.layer = nn.Linear(num_inputs, num_outputs)

    def forward(self, rows: Tensor) -> Tensor:
        outputs = self.layer(rows)
        return outputs.squeeze(1) if outputs.shape[1] == 1 else outputs


class Bigram(nn.Module):
    """Ids (B, T) -> logits (B, T, V), each of the id at its place alone."""

    def __init__(self, vocab_size: PositiveInt):
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids)

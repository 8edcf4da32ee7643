"""The GPT."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kindling.errors import ConfigError

pytest.importorskip("my_project.models.gpt")
from my_project.models.gpt import GPT, Attention, rotated

SMALL = {"vocab_size": 11, "dim": 16, "depth": 2, "num_heads": 2, "dropout": 0.0}


def gpt(**settings) -> GPT:
    """A small one, whose branches have weights."""
    torch.manual_seed(0)
    net = GPT(**SMALL | settings).eval()
    for parameter in net.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.3)
    return net


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(11, shape, generator=torch.Generator().manual_seed(1))


def test_it_gives_logits_for_each_place_of_a_text_no_longer_than_a_block():
    for length in (1, 5, 8):
        assert gpt()(ids(3, length)).shape == (3, length, 11)


def test_its_first_loss_is_that_of_guessing():
    torch.manual_seed(0)
    logits = GPT(**SMALL)(ids(3, 8))
    assert F.cross_entropy(logits.flatten(0, 1), ids(3, 8).flatten()).item() == pytest.approx(math.log(11), rel=0.1)


@pytest.mark.parametrize("place", range(8))
def test_a_later_character_changes_no_earlier_logits_and_all_that_follow(place):
    net, one = gpt(), ids(1, 8)
    other = one.clone()
    other[0, place] = (other[0, place] + 1) % 11
    changed = (net(one) != net(other)).any(-1)[0].tolist()
    assert changed == [False] * place + [True] * (8 - place)


def test_it_knows_the_order_of_what_it_has_read():
    net, text = gpt(), torch.tensor([[1, 2, 3]])
    assert not torch.allclose(net(text)[:, -1], net(text[:, [1, 0, 2]])[:, -1], atol=1e-3)


def test_its_attention_is_the_softmax_of_products_of_turned_pairs_below_the_diagonal():
    torch.manual_seed(0)
    attention, x = Attention(16, 2), torch.randn(3, 5, 16)
    nn.init.eye_(attention.out.weight)
    heads = []
    for part in range(2):
        query, key, value = (attention.qkv(x)[..., i * 16 + part * 8 :][..., :8] for i in range(3))
        products = rotated(query) @ rotated(key).mT / 8**0.5
        hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
        heads.append(products.masked_fill(hidden, -math.inf).softmax(-1) @ value)
    assert torch.allclose(attention(x), torch.cat(heads, -1), atol=1e-5)


def test_a_product_of_rotated_vectors_depends_on_their_distance_alone():
    torch.manual_seed(0)
    query, key = rotated(torch.randn(8).expand(6, 8)), rotated(torch.randn(8).expand(6, 8))
    products = query @ key.T
    for distance in range(-3, 4):
        diagonal = products.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5)
    assert not torch.allclose(products[0, 0], products[0, 1], atol=1e-3)
    assert torch.allclose(query.norm(dim=1), query[0].norm(), atol=1e-5)


def test_a_number_of_heads_that_does_not_fit_is_answered_with_what_is_allowed():
    with pytest.raises(ConfigError, match=r"model\.num_heads: given 3; allowed: twice it divides model\.dim, 16"):
        gpt(num_heads=3)

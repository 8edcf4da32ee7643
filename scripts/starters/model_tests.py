"""What is true of model=starter alone; test_models.py checks the rest."""

import torch

from kindling.testing.nets import fitting


def test_a_spot_counts_the_same_wherever_it_lies(offline):
    """Replace this by a truth of your own network: an invariance, a known value, a slower reference."""
    case = fitting("starter", offline)[0].copy()
    spot = torch.zeros(1, case.images.shape[1], 32, 32)
    spot[..., 8:11, 8:11] = 1
    here, there, nowhere = (case.net.eval()(images) for images in (spot, spot.roll((4, 8), (2, 3)), 0 * spot))
    assert torch.allclose(here, there, atol=1e-5)
    assert not torch.allclose(here, nowhere, atol=1e-5)

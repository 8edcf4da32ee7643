"""A convolution that makes neighbouring pixels uncorrelated, fitted to images and then frozen."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Keeps noise in the weakest directions small.
EPS = 5e-4
IMAGES_AT_ONCE = 64


class Whitening(nn.Conv2d):
    """The principal axes of k x k patches, each scaled to variance 1, and their negatives; only the bias is trained.

    Without `fit` it takes patches for white already. Shapes: (B, C, H, W) -> (B, 2 C k², H - k + 1, W - k + 1).
    """

    def __init__(self, in_channels: int, kernel_size: int):
        num_axes = in_channels * kernel_size**2
        super().__init__(in_channels, 2 * num_axes, kernel_size)
        self.weight.requires_grad_(False)
        self.is_fitted: Tensor
        self.register_buffer("is_fitted", torch.tensor(False))
        nn.init.zeros_(self.bias)  # pyright: ignore[reportArgumentType]
        self._set(torch.eye(num_axes))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Whiten the patches of images (N, C, H, W), which are normalised as in training."""
        variances, axes = torch.linalg.eigh(patch_covariance(images, self.kernel_size[0]))  # axes (D, D) in columns
        self._set((axes / (variances + EPS).sqrt()).T)
        self.is_fitted.fill_(True)

    @torch.no_grad()
    def _set(self, filters: Tensor) -> None:
        self.weight.copy_(torch.cat([filters, -filters]).view_as(self.weight))


def patch_covariance(images: Tensor, kernel_size: int) -> Tensor:
    """Covariance (D, D) float64 of all patches of images (N, C, H, W), D = C k²; a few images at a time."""
    num_values = images.shape[1] * kernel_size**2
    sums = torch.zeros(num_values, dtype=torch.float64)
    products = torch.zeros(num_values, num_values, dtype=torch.float64)
    num_patches = 0
    for part in images.split(IMAGES_AT_ONCE):
        patches = F.unfold(part.double(), kernel_size).transpose(0, 1).flatten(1)  # (D, patches)
        sums += patches.sum(1)
        products += patches @ patches.T
        num_patches += patches.shape[1]
    mean = sums / num_patches
    return products / num_patches - mean.outer(mean)

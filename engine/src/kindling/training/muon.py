"""Muon: momentum whose matrices are made orthogonal before they are subtracted, with SGD for what is no matrix."""

# pyright: reportPrivateImportUsage=false
# torch's own optimizers step with torch._foreach_*, one kernel for many parameters.

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from kindling.ranges import BelowOne, NotNegative, PositiveInt

# Steepest at zero; singular values end near 1, not at it.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
EPS = 1e-7


class Muon(Optimizer):
    """Orthogonal updates for hidden kernels and matrices, SGD for the head, biases and norms, in one optimizer.

    https://kellerjordan.github.io/posts/muon/. The head is the last matrix it is given; biases and norms never
    decay. Rates of SGD are keys of their own, since an orthogonal update has one size whatever the gradient's.

    Args:
        params: parameters or groups of them; each group is split by what its parameters are.
        lr: of hidden kernels and matrices: the size of their updates' singular values.
        head_lr: SGD's, of the head.
        bias_lr: SGD's, of biases and norms.
        momentum: of hidden kernels and matrices.
        sgd_momentum: of all others.
        nesterov: look one step ahead along the momentum.
        weight_decay: share of lr by which hidden kernels and matrices shrink; of the head, SGD's penalty.
        num_iterations: of Newton and Schulz, towards an orthogonal matrix.
        normalize_weights: keep each hidden kernel of n filters at norm sqrt(n).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: NotNegative,
        head_lr: NotNegative,
        bias_lr: NotNegative,
        momentum: BelowOne,
        sgd_momentum: BelowOne,
        nesterov: bool,
        weight_decay: NotNegative,
        num_iterations: PositiveInt,
        normalize_weights: bool,
    ):
        numbers = {"lr": lr, "head_lr": head_lr, "bias_lr": bias_lr, "weight_decay": weight_decay}
        for name, value in (numbers | {"momentum": momentum, "sgd_momentum": sgd_momentum}).items():
            if value < 0:
                raise ValueError(f"{name}: given {value}; allowed: 0 or more")
        settings = {
            "nesterov": nesterov,
            "num_iterations": num_iterations,
            "normalize_weights": normalize_weights,
        }
        kinds = {
            "hidden": {"lr": lr, "momentum": momentum, "weight_decay": weight_decay},
            "head": {"lr": head_lr, "momentum": sgd_momentum, "weight_decay": weight_decay},
            "others": {"lr": bias_lr, "momentum": sgd_momentum, "weight_decay": 0.0},
        }
        self._kinds = kinds
        super().__init__(split_groups(list(params), kinds), settings | kinds["hidden"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Split like the first ones, but none is the head: a part of the net that is thawed later, say."""
        if "kind" in param_group:
            super().add_param_group(param_group)
        else:
            for group in split_groups([param_group], self._kinds, has_head=False):
                super().add_param_group(group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters and group["kind"] == "hidden":
                self._step_hidden(parameters, group)
            elif parameters:
                self._step_sgd(parameters, group)
        return loss

    def _step_hidden(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [_gradient(parameter) for parameter in parameters]
        updates = orthogonalize_all(self._add_momentum(parameters, gradients, group), group["num_iterations"])
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        if group["normalize_weights"]:
            norms = torch._foreach_norm(parameters)
            scales = [len(parameter) ** 0.5 / (norm + EPS) for parameter, norm in zip(parameters, norms, strict=True)]
            torch._foreach_mul_(parameters, scales)
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])

    def _step_sgd(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [_gradient(parameter) for parameter in parameters]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        torch._foreach_add_(parameters, self._add_momentum(parameters, gradients, group), alpha=-group["lr"])

    def _add_momentum(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """What to subtract: the gradients' running sums, or those as they will be after one more such gradient."""
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        sums = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(sums, group["momentum"])
        torch._foreach_add_(sums, gradients)
        return list(torch._foreach_add(gradients, sums, alpha=group["momentum"])) if group["nesterov"] else sums


def split_groups(groups: list[Any], kinds: dict[str, dict[str, Any]], *, has_head: bool = True) -> list[dict[str, Any]]:
    """The groups, each split into hidden kernels and matrices, the head, and others, with the settings of its kind.

    A single row or column, such as a class token or a scale of each channel, is one of the others.
    """
    if groups and not isinstance(groups[0], dict):
        groups = [{"params": groups}]
    groups = [{**group, "params": list(group["params"])} for group in groups]
    every = [parameter for group in groups for parameter in group["params"]]
    matrices = [p for p in every if p.ndim > 1 and p.numel() > len(p)]
    members = {id(p): "hidden" if p.ndim > 1 and 1 < len(p) < p.numel() else "others" for p in every}
    if matrices and has_head:
        members[id(matrices[-1])] = "head"
    split = []
    for group in groups:
        for kind, settings in kinds.items():
            parameters = [parameter for parameter in group["params"] if members[id(parameter)] == kind]
            if parameters:
                split.append({**settings, **group, "params": parameters, "kind": kind})
    return split


def orthogonalize_all(tensors: list[Tensor], num_iterations: int) -> list[Tensor]:
    """Each kernel (n, ...) as the matrix (n, rest), orthogonalised; those of one shape together."""
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, tensor in enumerate(tensors):
        by_shape.setdefault((len(tensor), tensor.numel() // len(tensor)), []).append(index)
    found = list(tensors)
    for (rows, columns), indices in by_shape.items():
        stacked = torch.stack([whole(tensors[index]).flatten(1) for index in indices])
        updates = orthogonalize(stacked, num_iterations) * max(1.0, rows / columns) ** 0.5
        for index, update in zip(indices, updates.unbind(), strict=True):
            update = update.view(tensors[index].shape).to(tensors[index].dtype)
            found[index] = part_like(tensors[index], update)
    return found


def whole(tensor: Tensor) -> Tensor:
    """Put together from all processes, if each has a part of it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_like(own: Tensor, tensor: Tensor) -> Tensor:
    """This process's part of what all have whole, cut as its own one of the same shape."""
    if not isinstance(own, DTensor):
        return tensor
    # Nothing is sent.
    return distribute_tensor(tensor, own.device_mesh, own.placements, src_data_rank=None)


def orthogonalize(matrices: Tensor, num_iterations: int) -> Tensor:
    """Matrices (N, R, C) with their singular values moved near 1, by Newton and Schulz; bfloat16 on CUDA."""
    a, b, c = COEFFICIENTS
    matrices = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + EPS)
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    is_tall = x.shape[1] > x.shape[2]
    # A wide matrix has the smaller product below.
    x = x.mT if is_tall else x
    for _ in range(num_iterations):
        product = x @ x.mT
        polynomial = torch.baddbmm(product, product, product, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if is_tall else x


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "left out by step"
    return parameter.grad

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.training.muon import Muon, orthogonalize
from kindling.training.optimization import parameter_groups

HIDDEN, HEAD = (0, 1, 2, 5, 6), 7  # of `net`
SETTINGS = {
    "lr": 0.1,
    "head_lr": 0.02,
    "bias_lr": 0.03,
    "momentum": 0.6,
    "sgd_momentum": 0.8,
    "nesterov": True,
    "weight_decay": 0.0,
    "num_iterations": 5,
    "normalize_weights": False,
}


def net() -> nn.Sequential:
    """Two kernels of one shape, one of another, a wide and a tall matrix, a norm and a head."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)]
    linear = [nn.Linear(6 * 16, 8), nn.Linear(8, 12), nn.Linear(12, 4)]
    return nn.Sequential(*convolutions, nn.BatchNorm2d(6), nn.Flatten(), *linear)


def muon_of(model: nn.Module, **settings) -> Muon:
    return Muon(parameter_groups(model), **SETTINGS | settings)


def train_steps(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        images = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        F.cross_entropy(model(images), torch.arange(8) % 4).backward()
        optimizer.step()


def plain_orthogonal(matrix: Tensor, num_iterations: int) -> Tensor:
    """One matrix at a time, as the polynomial of its singular values that it is."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(num_iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ v


@pytest.mark.parametrize("shape", [(5, 5), (4, 30), (30, 4), (1, 7)])
def test_orthogonalization_is_its_polynomial_of_the_singular_values(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalize(matrices, num_iterations=5)
    for matrix, result in zip(matrices, found, strict=True):
        assert torch.allclose(result.double(), plain_orthogonal(matrix, 5), atol=1e-4)


def test_singular_values_end_near_one_whatever_the_size_of_the_gradient():
    matrices = torch.randn(2, 16, 64, generator=torch.Generator().manual_seed(0))
    for scale in (1e-4, 1.0, 1e4):
        values = torch.linalg.svdvals(orthogonalize(scale * matrices, num_iterations=5))
        assert values.min() > 0.65
        assert values.max() < 1.25


def test_a_gradient_of_zeros_moves_nothing():
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 4), 5), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("normalize_weights", [True, False])
def test_steps_of_hidden_weights_equal_the_definition_one_by_one(nesterov, normalize_weights):
    model = net()
    optimizer = muon_of(model, nesterov=nesterov, normalize_weights=normalize_weights, weight_decay=0.5)
    hidden = [model.get_parameter(f"{index}.weight") for index in HIDDEN]
    sums = [torch.zeros_like(weight) for weight in hidden]
    for step in range(3):
        before = [weight.detach().clone() for weight in hidden]
        train_steps(model, optimizer, range(step, step + 1))
        for weight, old, total in zip(hidden, before, sums, strict=True):
            assert weight.grad is not None
            total.mul_(0.6).add_(weight.grad)
            direction = weight.grad + 0.6 * total if nesterov else total
            update = plain_orthogonal(direction.flatten(1), 5).view_as(weight)
            tall = max(1, len(weight) / weight[0].numel()) ** 0.5
            start = old * (1 - 0.1 * 0.5)
            if normalize_weights:
                start = start * len(old) ** 0.5 / start.norm()
            assert torch.allclose(weight, (start - 0.1 * tall * update).float(), atol=1e-4)


@pytest.mark.parametrize("nesterov", [True, False])
def test_head_biases_and_norms_take_the_steps_of_torchs_sgd(nesterov):
    model = net()
    optimizer = muon_of(model, nesterov=nesterov, weight_decay=0.1)
    biases = [p for p in model.parameters() if p.ndim == 1]
    mirror = {p: nn.Parameter(p.detach().clone()) for p in [*biases, model[HEAD].weight]}
    groups = [
        {"params": [mirror[model[HEAD].weight]], "lr": 0.02, "weight_decay": 0.1},
        {"params": [mirror[bias] for bias in biases], "lr": 0.03},
    ]
    reference = torch.optim.SGD(groups, momentum=0.8, nesterov=nesterov)
    for step in range(3):
        train_steps(model, optimizer, range(step, step + 1))
        for parameter, copied in mirror.items():
            copied.grad = parameter.grad.clone()
        reference.step()
        assert all(torch.equal(parameter, copied) for parameter, copied in mirror.items())


def test_each_parameter_is_of_one_kind():
    model = net()
    kinds = {group["kind"]: group["params"] for group in muon_of(model).param_groups}
    assert {id(p) for p in kinds["hidden"]} == {id(model[index].weight) for index in HIDDEN}
    assert [id(p) for p in kinds["head"]] == [id(model[HEAD].weight)]
    assert sum(map(len, kinds.values())) == len(list(model.parameters()))


@pytest.mark.parametrize("shape", [(1, 1, 8), (8, 1, 1)])
def test_a_single_row_or_column_is_no_matrix(shape):
    line, matrix, head = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.eye(3)), nn.Parameter(torch.eye(2))
    kinds = {group["kind"]: group["params"] for group in Muon([line, matrix, head], **SETTINGS).param_groups}
    assert kinds["others"][0] is line
    assert kinds["hidden"][0] is matrix
    assert kinds["head"][0] is head


def test_a_scale_of_each_channel_does_not_take_the_place_of_the_head():
    matrix, head, scale = (nn.Parameter(torch.rand(shape)) for shape in ((4, 4), (1, 4), (4, 1, 1)))
    kinds = {group["kind"]: group["params"] for group in Muon([matrix, head, scale], **SETTINGS).param_groups}
    assert kinds["head"][0] is head
    assert kinds["others"][0] is scale


def test_parameters_that_are_added_later_are_split_too_and_trained():
    model = net()
    optimizer = Muon(parameter_groups(model[4:]), **SETTINGS)
    optimizer.add_param_group({"params": list(model[:4].parameters()), "lr": 0.05})
    before = copy.deepcopy(model.state_dict())
    train_steps(model, optimizer, range(1))
    assert [group["kind"] for group in optimizer.param_groups].count("head") == 1
    assert {group["lr"] for group in optimizer.param_groups[-2:]} == {0.05}
    assert not any(torch.equal(before[name], value) for name, value in model.named_parameters())


def test_kernels_in_channels_last_take_the_same_steps():
    plain, last = net(), net().to(memory_format=torch.channels_last)
    for model in (plain, last):
        train_steps(model, muon_of(model), range(3))
    for a, b in zip(plain.parameters(), last.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3)


def test_a_resumed_run_goes_on_to_the_bit(tmp_path):
    whole = net()
    optimizer = muon_of(whole)
    train_steps(whole, optimizer, range(3))
    resumed = copy.deepcopy(whole)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    train_steps(whole, optimizer, range(3, 6))
    again = muon_of(resumed)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train_steps(resumed, again, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_closure_is_run_with_gradients_and_its_loss_returned():
    model = net()
    optimizer = muon_of(model, lr=0.01)
    images = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(0))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), torch.arange(8) % 4)
        loss.backward()
        return loss

    before = closure().item()
    assert optimizer.step(closure).item() == pytest.approx(before)
    assert closure().item() < before


def test_parameters_without_a_gradient_stay():
    model = net()
    before = copy.deepcopy(model.state_dict())
    muon_of(model).step()
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


def test_the_config_names_every_argument_and_biases_do_not_decay():
    optimizer = instantiate(compose(["optimizer=muon"]).optimizer, "optimizer")(parameter_groups(net()))
    assert [group["weight_decay"] > 0 for group in optimizer.param_groups] == [True, True, False]


@pytest.mark.slow
def test_it_trains_with_clipped_gradients_in_mixed_precision(train_run):
    run = train_run("optimizer=muon", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.5")
    assert run.metrics["train/loss"] < 2.0

"""Every model and task of configs/, built with data that fits, and a batch to try them on."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from kindling.cli.entry import compose
from kindling.config.check import fits
from kindling.config.check.fits import Chosen
from kindling.config.composition import instantiate, to_plain
from kindling.errors import ConfigError
from kindling.testing import batches
from kindling.testing.case import Case
from kindling.testing.sets import DATA, SHAPES, MissingFilesError, config_of, lines_of, prepared
from kindling.train import build_task
from kindling.training.found import fill_in
from kindling.training.rebuild import without_downloads
from kindling.training.sums import StepOutput
from kindling.training.task import Task

MODELS, TASKS = fits.options("model"), fits.options("task")
BATCH = 8
# What data is asked for that has such settings, so that a test can afford it.
SMALL = {"batch_size": BATCH, "block_size": 16}
# And a model that is too dear for a test as its config has it: tests/test_models.py says so by its name.
SMALLER: dict[str, dict[str, object]] = {}


def fitting(model: str, folder: Path) -> list[Case]:
    """The model with all shapes of images that it takes, the smallest first; else with the first data that fits."""
    found, refusals = _all_fitting(model, folder)
    if not found:
        if missing := next((each for each in refusals if "is not installed" in each), None):
            pytest.skip(missing)
        needed = ", ".join(f"data.{key}" for key in sorted(fits.facts_for("model", model))) or "nothing"
        told = "\n".join(refusals) or f"it refers to {needed}"
        pytest.fail(f"model={model} goes with no data set of configs/data and task of configs/task\n{told}")
    return found


@cache
def _all_fitting(model: str, folder: Path) -> tuple[list[Case], list[str]]:
    names = dict.fromkeys([*SHAPES, *(name for name in fits.options("data") if name not in DATA)])
    chosen = [each for each in fits.for_model(model) if each.data in names]
    found, refusals = _built([each for each in chosen if each.data in DATA], with_images, folder)
    if not found:
        others = [each for each in chosen if each.data not in DATA]
        found, more = _built(others, with_data, folder, only_one=True)
        refusals += more
    return sorted(found, key=lambda each: each.inputs[0][0].numel()), refusals


def _built(
    chosen: Iterable[Chosen], build: Callable[..., Case], folder: Path, *, only_one: bool = False
) -> tuple[list[Case], list[str]]:
    """Those that can be built, one for each data set; and why others cannot."""
    found, refusals, done = [], [], set()
    for each in chosen:
        if each.data in done or (found and only_one):
            continue
        try:
            found.append(build(each, folder))
            done.add(each.data)
        except Exception as error:
            # Code that was not meant for each other may fail in any way.
            refusals.append(told(each, error))
    return found, refusals


@cache
def for_task(task: str, folder: Path) -> Case:
    """The task with its first recipe whose files are there; without a recipe, with whatever it takes."""
    refusals = []
    said = {each for each in fits.recipes() if each.task == task}
    for each in fits.for_task(task):
        try:
            return with_data(each, folder)
        except Exception as error:
            # What a recipe says must be so.
            if each in said and not isinstance(error, MissingFilesError):
                raise
            refusals.append(told(each, error))
    pytest.skip(f"task={task} has no recipe, and goes with nothing else that is here\n" + "\n".join(refusals))


def told(chosen: Chosen, error: BaseException) -> str:
    return f"{' '.join(chosen.lines)}: {type(error).__name__}: {error}"


@cache
def _config_with(task: str, model: str, folder: Path) -> DictConfig:
    return compose([f"task={task}", f"model={model}", *smaller(model), *lines_of(SHAPES[0], folder)])


def smaller(model: str) -> list[str]:
    return [f"model.{key}={value}" for key, value in SMALLER.get(model, {}).items()]


def with_images(chosen: Chosen, folder: Path) -> Case:
    """
    Raises:
        ConfigError: the model does not fit the shape.
    """
    cfg = _config_with(chosen.task, chosen.model, folder).copy()
    cfg.data = config_of(chosen.data, folder)
    task = build(cfg)
    shape = (BATCH, cfg.data.channels, cfg.data.image_size, cfg.data.image_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)
    batch = images, torch.arange(BATCH) % cfg.data.num_classes
    facts = {"classes": None, "mean": to_plain(cfg.data)["mean"]}
    return Case(cfg, task, batch, batch, inputs_of(task, batch), facts, chosen)


def lines_with(chosen: Chosen, folder: Path) -> list[str]:
    """The command line of a choice, with batches that a test can afford."""
    small = ["trainer=cpu", "trainer.precision=32-true", "logger=none"]
    keys = fits.keys_of("data", chosen.data)
    size = [f"data.{key}={value}" for key, value in SMALL.items() if key in keys]
    places = [each for each in lines_of(chosen.data, folder) if each.startswith(("paths.", "data.root", "data.table"))]
    return [*chosen.lines, *smaller(chosen.model), *places, *size, *small]


def with_data(chosen: Chosen, folder: Path) -> Case:
    """
    Raises:
        MissingFilesError: the data cannot be read.
        ConfigError: task, data and model do not fit.
    """
    cfg = compose(lines_with(chosen, folder))
    data = prepared(instantiate(cfg.data, "data"))
    cfg, _, _ = fill_in(cfg, to_plain(cfg), data)
    task, facts = build(cfg), dict(getattr(data, "facts", {}))
    batch = next(iter(data.train_dataloader()))
    held_out = next(iter(data.val_dataloader()), batch)
    if not isinstance(task, Task):
        return Case(cfg, task, batch, held_out, (), facts, chosen)
    task.facts = facts
    # It may need facts that other data lacks.
    task.processor()
    return Case(cfg, task, batch, held_out, inputs_of(task, batch), facts, chosen)


def build(cfg: DictConfig, seed: int = 0) -> Any:
    """A task, whose model has random weights, whatever its config would download."""
    cfg = cfg.copy()
    cfg.model = without_downloads(to_plain(cfg.model)) if cfg.model else None
    torch.manual_seed(seed)
    return build_task(cfg, to_plain(cfg))


def build_net(case: Case, seed: int = 0, **settings: object) -> nn.Module:
    """The model of a case anew; one that knows its shapes late has seen the inputs."""
    torch.manual_seed(seed)
    net = instantiate(without_downloads(to_plain(case.cfg.model)) | settings, "model")
    with torch.no_grad():
        net.eval()(*case.inputs)
    return net.train()


def inputs_of(task: Any, batch: Any) -> tuple[Any, ...]:
    """What a task gives its net of a batch."""
    found: list[tuple[Any, ...]] = []
    handle = task.net.register_forward_pre_hook(lambda _, given: found.append(given))
    with torch.no_grad():
        task.eval().step(batch, "val")
    task.train()
    handle.remove()
    if not found:
        raise ConfigError(f"{type(task).__name__}: its step does not call the net; allowed: self(inputs)")
    return batches.copied(found[0])


def freeze_batch_norm(net: nn.Module) -> nn.Module:
    """Let batch norm, which mixes the examples of a batch on purpose, use what it has seen before."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return net


def descend(
    net: nn.Module,
    loss: Callable[[], Tensor],
    make: Callable[..., torch.optim.Optimizer],
    steps: int,
    until: float = -torch.inf,
) -> float:
    """Steps on one batch until its loss is low enough; returns the last loss."""
    optimizer = make(net.parameters())
    net.train()
    last = torch.tensor(torch.inf)
    for _ in range(steps):
        last = loss()
        if last <= until:
            break
        optimizer.zero_grad()
        last.backward()
        optimizer.step()
    return last.item()


def a_little_trained(case: Case) -> Case:
    """Weights that start at zero are no longer."""
    for _ in trained(case, 2):
        pass
    return case


def trained(case: Case, steps: int, lr: float = 0.001) -> Iterator[float]:
    """The loss before each step on the batch."""
    optimizer = torch.optim.Adam([each for each in case.task.parameters() if each.requires_grad], lr=lr)
    case.task.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = case.task.step(case.batch, "train").loss
        loss.backward()
        optimizer.step()
        yield loss.item()


def has_classes(output: StepOutput) -> bool:
    """Whether outputs (..., K) are held against whole numbers (...) below K."""
    outputs, targets = output.outputs, output.targets
    both = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
    return both and outputs.shape[:-1] == targets.shape and targets.dtype == torch.int64

"""Loaders that know nothing of resuming, made to go on in the middle of an epoch."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import torch
from lightning.pytorch import Trainer

from kindling.console import warn
from kindling.data.batch_digest import digest, sample
from kindling.data.seeds import mix_seeds, seed_all
from kindling.errors import ConfigError
from kindling.lightning_internals import dataloaders

# The batch before the step, the step's own, and one fetched ahead.
RECENT = 3
# Seeds that generators were made with, which seeding them hides; no weak reference leads to one in torch 2.11.
OWN_SEEDS: dict[torch.Generator, int] = {}


def make_resumable(trainer: Trainer, seed: int) -> None:
    """Let the loaders of training, whatever they are, go on in the middle of an epoch; asked for before they are made.

    Those that do so by themselves are left alone. One with a state of its own, such as torchdata's
    StatefulDataLoader, is not: when a step begins, that state is a batch ahead of the step.
    """
    dataloaders.wrap_training_loaders(trainer, partial(_resumable, trainer, seed))


def _resumable(trainer: Trainer, seed: int, loader: Any) -> Any:
    if dataloaders.follows_contract(loader):
        return loader
    return Resumable(
        loader,
        seed,
        epoch=partial(getattr, trainer, "current_epoch"),
        number=partial(dataloaders.number_of, trainer),
        device=trainer.strategy.root_device,
    )


def _zero(*_: Any) -> int:
    return 0


class Resumable:
    """An iterable whose batches are a function of (seed, epoch, batch), as far as they come from the global generators.

    Those are seeded before each epoch and each batch, so that a shuffled order, workers and random changes follow. A
    resumed epoch draws its first batches again. All else is as in the loader: its attributes are this one's.

    Args:
        loader: a DataLoader or any other iterable.
        seed: of the run.
        epoch: gives the epoch that is to begin.
        number: gives the place of this loader among those of training, so that their seeds differ.
        device: whose generator is seeded too.
    """

    OWN = frozenset(
        (
            *("loader", "seed", "strict", "epoch", "batches_done", "cycle", "skips"),
            *("_now", "_number", "_device", "_recent", "_expected", "_is_set"),
        )
    )

    def __init__(
        self,
        loader: Any,
        seed: int,
        *,
        epoch: Callable[[], int] = _zero,
        number: Callable[[Any], int] = _zero,
        device: torch.device | None = None,
    ):
        self.loader = loader
        self.seed = seed
        # Refuse to go on with other batches, instead of warning.
        self.strict = False
        self.epoch = -1
        # Batches of this epoch, over all cycles.
        self.batches_done = 0
        # How often a short loader began anew in this epoch.
        self.cycle = 0
        # Batches of this cycle to be drawn again.
        self.skips = 0
        self._now, self._number = epoch, number
        self._device = device or torch.device("cpu")
        # (epoch, batches_done, cycle, batches of the cycle, sample or digest of the batch)
        self._recent: deque[tuple[int, int, int, int, Any]] = deque(maxlen=RECENT)
        # Digests by batches_done, from the checkpoint.
        self._expected: dict[int, str] = {}
        self._is_set = False

    def __getattr__(self, name: str) -> Any:
        if name in Resumable.OWN:
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Resumable.OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self.loader, name, value)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        # Runs once a batch is asked for: the place is known then.
        self._begin()
        cycle_seed = mix_seeds(self.seed, self._number(self), self.epoch, self.cycle)
        self._seed_own_generators()
        set_epoch(self.loader, self.epoch)
        if getattr(self.loader, "persistent_workers", False):
            # They would go on with the generators of the last epoch.
            dataloaders.end_workers(self.loader)
        seed_all(cycle_seed, self._device)
        iterator = iter(self.loader)
        for place in count(1):
            seed_all(cycle_seed + place, self._device)
            try:
                batch = next(iterator)
            except StopIteration:
                return
            if place > self.skips:
                self.batches_done += 1
                self._recent.append((self.epoch, self.batches_done, self.cycle, place, sample(batch)))
            if self._expected:
                self._compare(self.batches_done - max(0, self.skips - place), batch)
            if place > self.skips:
                yield batch

    def _begin(self) -> None:
        if self._is_set:
            self._is_set = False
            return
        self.skips, self._expected = 0, {}
        if self.epoch == self._now():
            self.cycle += 1
        else:
            self.epoch, self.batches_done, self.cycle = self._now(), 0, 0

    def _seed_own_generators(self) -> None:
        """Seed those that the loader was given; their own seeds still count."""
        for generator in generators_of(self.loader):
            own = OWN_SEEDS.setdefault(generator, generator.initial_seed())
            generator.manual_seed(mix_seeds(own % 2**64, self.epoch, self.cycle))

    def _compare(self, number: int, batch: Any) -> None:
        expected = self._expected.pop(number, None)
        if expected is None or expected == digest(sample(batch)):
            return
        self._expected = {}
        name = type(getattr(self.loader, "dataset", self.loader)).__name__
        problem = f"the loader of {name} does not give the same batches again"
        if self.strict:
            raise ConfigError(f"resume: given resume_strict=true, but {problem}; allowed: one that does")
        warn(f"resume: {problem}: the last bits of the results will differ")

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, and its last places: a checkpoint may go back by as many batches as were fetched ahead."""
        # Those of before a resume are digests already.
        recent = [[*place, each if isinstance(each, str) else digest(each)] for *place, each in self._recent]
        return {"epoch": max(0, self.epoch), "batches_done": self.batches_done, "recent": recent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in that epoch, after that many batches."""
        self.epoch, self.batches_done, self._is_set = state["epoch"], state["batches_done"], True
        self.cycle, self.skips = 0, self.batches_done
        every = state.get("recent", [])
        self._recent.clear()
        self._recent.extend(tuple(each) for each in every if tuple(each[:2]) <= (self.epoch, self.batches_done))
        recent = [each for each in every if each[0] == self.epoch]
        before = [each for each in recent if each[1] <= self.batches_done]
        if self.batches_done and before:
            # One shorter than others may have ended before.
            _, self.batches_done, self.cycle, self.skips, _ = before[-1]
        self._expected = {each[1]: each[4] for each in recent[-2:] if each[1] >= self.batches_done}


def generators_of(loader: Any) -> list[torch.Generator]:
    """The generators that a DataLoader and its samplers were given."""
    owners = [loader, *samplers_of(loader)]
    found = [getattr(owner, "generator", None) for owner in owners]
    return [each for each in found if isinstance(each, torch.Generator)]


def samplers_of(loader: Any) -> list[Any]:
    outer = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    return [*outer, *(getattr(each, "sampler", None) for each in outer)]


def set_epoch(loader: Any, epoch: int) -> None:
    """As Lightning does, but for a batch that is fetched ahead too."""
    for sampler in samplers_of(loader):
        if callable(getattr(sampler, "set_epoch", None)):
            sampler.set_epoch(epoch)

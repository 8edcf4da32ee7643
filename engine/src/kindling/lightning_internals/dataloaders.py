"""The loaders of training, of which there may be several, and how they begin in the middle of an epoch."""

from collections.abc import Callable
from functools import partial
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loops.fetchers import _DataLoaderIterDataFetcher
from lightning.pytorch.utilities.combined_loader import _MaxSizeCycle, _shutdown_workers_and_reset_iterator


def wrap_training_loaders(trainer: Trainer, wrap: Callable[[Any], Any]) -> None:
    """Pass each loader of training through a function, once Lightning has given it its sampler."""
    # No closure, so that a Trainer can be pickled.
    trainer.strategy.process_dataloader = partial(_process, trainer, wrap)


def _process(trainer: Trainer, wrap: Callable[[Any], Any], dataloader: Any) -> Any:
    loader: Any = type(trainer.strategy).process_dataloader(trainer.strategy, dataloader)
    return wrap(loader) if trainer.training else loader


def training_loaders(trainer: Trainer) -> list[Any]:
    """Each loader of training, in the order in which the data lists them."""
    combined = trainer.fit_loop._combined_loader
    return [] if combined is None else combined.flattened


def number_of(trainer: Trainer, loader: Any) -> int:
    """The place of a loader among those of training."""
    return [id(each) for each in training_loaders(trainer)].index(id(loader))


def follows_contract(loader: Any) -> bool:
    """Whether a loader that is told {"epoch", "batches_done"} goes on there; another's own state is a batch ahead."""
    return hasattr(loader, "load_state_dict") and hasattr(loader, "batches_done")


def can_begin_within_epoch(trainer: Trainer) -> bool:
    """Whether training can begin in the middle of an epoch."""
    # A step that takes the iterator fetches as it likes.
    if isinstance(trainer.fit_loop._data_fetcher, _DataLoaderIterDataFetcher):
        return False
    return all(map(follows_contract, training_loaders(trainer)))


def begin_at(trainer: Trainer, states: list[dict[str, Any]]) -> None:
    """Let each loader of training go on at its place.

    Lightning leaves this out once a schedule asks for total steps, when it may have fetched a batch already.
    """
    loop, combined = trainer.fit_loop, trainer.fit_loop._combined_loader
    assert combined is not None
    assert loop._data_fetcher is not None
    loaders = combined.flattened
    for loader, state in zip(loaders, states, strict=True):
        if len(loaders) > 1 and "recent" not in state:
            state = state | {"batches_done": _within(len(loader), state["batches_done"], combined._mode)}
        loader.load_state_dict(state)
    iter(loop._data_fetcher)
    if isinstance(combined._iterator, _MaxSizeCycle):
        # Else the longest would begin anew at its end.
        began_anew = [getattr(loader, "cycle", 0) > 0 for loader in loaders]
        pairs = zip(combined._iterator._consumed, began_anew, strict=True)
        combined._iterator._consumed = [any(pair) for pair in pairs]


def _within(length: int, batches_done: int, mode: str) -> int:
    """The place of a loader that is shorter than the others."""
    return batches_done % length if mode == "max_size_cycle" else min(batches_done, length)


def end_workers(loader: Any) -> None:
    """End the workers that a DataLoader keeps from one epoch to the next."""
    _shutdown_workers_and_reset_iterator(loader)

"""Which metrics are of the weights as they are now; one that was logged some steps ago is of others."""

from typing import Any

from lightning.pytorch import Trainer

from kindling.config.logged import without_loader


def note_validation(trainer: Trainer) -> None:
    """Keep at which batch of training a validation has ended, and what it has logged, which Lightning then forgets."""
    loop: Any = trainer.fit_loop.epoch_loop.val_loop
    loop.kindling_last = (place(trainer), _logged(loop))


def has_validated(trainer: Trainer) -> bool:
    return hasattr(trainer.fit_loop.epoch_loop.val_loop, "kindling_last")


def place(trainer: Trainer) -> int:
    """How many batches have been trained on, in all epochs."""
    return trainer.fit_loop.total_batch_idx + 1


def is_fresh(trainer: Trainer, name: str, *, at_epoch_end: bool) -> bool:
    """Whether a metric was logged by a validation of the weights as they are now, or of the epoch that ends here."""
    loop: Any = trainer.fit_loop.epoch_loop
    validated_at, logged = getattr(loop.val_loop, "kindling_last", (None, set()))
    fresh = (logged if validated_at == place(trainer) else set()) | (_logged(loop) if at_epoch_end else set())
    return without_loader(name) in fresh and name in trainer.callback_metrics


def _logged(loop: Any) -> set[str]:
    names = {each.meta.name for each in loop._results.values() if not each.has_reset}
    # Of one that is logged by step and by epoch, this is the epoch's.
    return names | {f"{name}_epoch" for name in names}

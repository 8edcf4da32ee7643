"""When callbacks decide by a metric: as soon as it is known of the weights as they are."""

from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping as LightningsEarlyStopping
from lightning.pytorch.trainer.states import TrainerFn

from kindling.lightning_internals import fresh, loops
from kindling.ranges import NotNegative, NotNegativeInt


class Deciding(Callback):
    """Calls `decide` after a validation within an epoch, and where an epoch ends, if its metric has just been logged.

    Lightning's own look at whatever was logged last, which may be of weights of some steps or epochs ago.
    """

    monitor: Any
    _decided_at = -1

    def decide(self, trainer: Trainer, *, at_epoch_end: bool) -> None:
        raise NotImplementedError

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        fresh.note_validation(trainer)
        # At the end of an epoch its other metrics are yet to come.
        if self.monitor is not None and not loops.epoch_has_ended(trainer):
            self._decide_once(trainer, at_epoch_end=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._decide_once(trainer, at_epoch_end=True)

    def _decide_once(self, trainer: Trainer, *, at_epoch_end: bool) -> None:
        place = fresh.place(trainer)
        known = self.monitor is None or fresh.is_fresh(trainer, self.monitor, at_epoch_end=at_epoch_end)
        if known and self._decided_at != place and not trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
            self._decided_at = place
            self.decide(trainer, at_epoch_end=at_epoch_end)


class EarlyStopping(Deciding, LightningsEarlyStopping):
    """Ends training once its metric has not improved for `patience` validations, but not before `trainer.min_epochs`.

    Lightning's ends it there even if the metric has improved since its patience ran out.

    Args:
        monitor: a metric that is logged.
        mode: whether less of it is better.
        patience: validations without improvement.
        min_delta: that an improvement is at least.
        strict: refuse a metric that is not there.
        check_finite: end at a metric that is NaN or infinite.
        stopping_threshold: end once the metric is better than that; None for none.
        divergence_threshold: end once it is worse than that; None for none.
        verbose: say each improvement.
    """

    def __init__(
        self,
        monitor: str,
        *,
        mode: Literal["min", "max"],
        patience: NotNegativeInt,
        min_delta: NotNegative,
        strict: bool,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        verbose: bool = False,
    ):
        super().__init__(
            monitor,
            min_delta,
            patience,
            verbose,
            mode,
            strict,
            check_finite,
            stopping_threshold,
            divergence_threshold,
        )

    def decide(self, trainer: Trainer, *, at_epoch_end: bool) -> None:
        before = trainer.should_stop
        self._run_early_stopping_check(trainer)
        if not loops.may_stop(trainer):
            # Asked again after the next validation.
            trainer.should_stop = before

"""Ends a trial that is worse, at the same validation, than other trials of its sweep were."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from kindling.callbacks.deciding import Deciding
from kindling.config.rules.sweep_rules import PRUNERS
from kindling.lightning_internals import loops
from kindling.run_folders.trials import Trials, read_sweep, read_trial


class Pruning(Deciding):
    """Asks a pruner of Optuna after each validation, in the first process; all processes end together.

    What other trials reported is read from their metrics.csv, so nothing is kept but what a run keeps anyway.

    Args:
        folder: of the trial.
        monitor: what is compared.
        better: min or max.
        pruner: median, asha, hyperband or patience.

    Attributes:
        reason: why the trial was ended; "" if it was not.
    """

    def __init__(self, folder: Path, monitor: str, better: str, pruner: str):
        self.folder, self.monitor, self.better, self.pruner = folder, monitor, better, pruner
        self.reason = ""
        # Of this process and of those before a resume.
        self.reports: list[float] = []
        self._trials = Trials(folder.parent)

    def state_dict(self) -> dict[str, Any]:
        # A run may be killed between its last checkpoint and its end.
        return {"reason": self.reason}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.reason = state_dict["reason"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        own = read_trial(self.folder)
        # On the way to a checkpoint's place, loggers have cut what came after it.
        self.reports = own.reports(self.monitor) if own else []

    def decide(self, trainer: Trainer, *, at_epoch_end: bool) -> None:
        self.reports.append(trainer.callback_metrics[self.monitor].item())
        # Before trainer.min_epochs the trial would train on.
        if loops.may_stop(trainer) and trainer.strategy.broadcast(trainer.is_global_zero and self._is_worse(trainer)):
            shown = f"{self.monitor} {self.reports[-1]:.5g}"
            self.reason = f"after validation {len(self.reports)}: {shown} is worse than others were ({self.pruner})"
            trainer.should_stop = True

    def _is_worse(self, trainer: Trainer) -> bool:
        from kindling.sweeps.pruners import is_worse

        others = [trial for trial in self._trials.read() if trial.folder != self.folder]
        most, number = loops.validations(trainer), int(self.folder.name)
        return is_worse(self.pruner, self.better, self.monitor, number, self.reports, others, most)


def pruning_of(config: dict[str, Any]) -> list[Callback]:
    """The callback of a run whose folder is that of a trial, in a sweep that prunes; else none."""
    folder = Path(config["paths"]["run"])
    if read_trial(folder) is None:
        return []
    sweep = read_sweep(folder.parent) or {}
    monitor, better, pruner = (sweep.get(key) for key in ("monitor", "better", "pruner"))
    # Somebody else may have written the file.
    if not isinstance(monitor, str) or better not in ("min", "max") or pruner not in PRUNERS:
        return []
    return [Pruning(folder, monitor, better, pruner)]


def pruned(trainer: Trainer) -> str | None:
    """Why a trial was ended before its time."""
    return next((each.reason for each in trainer.callbacks if isinstance(each, Pruning)), "") or None  # pyright: ignore[reportAttributeAccessIssue]

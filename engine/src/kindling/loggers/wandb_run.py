"""Runs side by side in Weights & Biases; imported only when it is chosen."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import wandb  # pyright: ignore[reportMissingImports]  an extra
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from kindling.console import report, shown
from kindling.loggers.tracking import name_of

# W&B would keep the command line, the diff and the terminal's text, with the secrets in them.
PRIVATE = wandb.Settings(
    silent=True, console="off", disable_git=True, disable_code=True, x_disable_meta=True, x_save_requirements=False
)


class WandbRun(WandbLogger):
    """Lightning's logger with the run's settings from its start, its outcome, and one id for all its attempts."""

    def __init__(self, *, folder: str, experiment_name: str | None, project: str, offline: bool):
        self._run_name = name_of(folder)
        super().__init__(
            name=self._run_name,
            save_dir=folder,
            project=project,
            group=experiment_name,
            mode="offline" if offline else "online",
            settings=PRIVATE,
        )
        # W&B warns of it.
        del self._wandb_init["anonymous"]

    def begin(self, settings: dict[str, Any], tags: dict[str, str], run_id: str | None) -> str:
        self._id = self._wandb_init["id"] = run_id or self._run_name.replace("/", "-")
        self._wandb_init["tags"] = [tags[name] for name in ("experiment", "model", "data")]
        # It is open already after a rollback.
        if wandb.run is not None and wandb.run.id == self._id:
            self._experiment = wandb.run
        self.log_hyperparams(settings | {f"run.{key}": value for key, value in tags.items()})
        return self._id

    def finalize(self, status: str) -> None:
        """Lightning ends here after training and again after the test."""

    def end(self, status: str, reason: str | None, best: dict[str, Any] | None) -> None:
        run: Any = self.experiment
        run.summary.update({"status": status, "reason": reason or ""})
        if best:
            run.summary[f"best/{best['monitor']}"] = best["score"]
        run.finish(exit_code=0 if status in ("finished", "pruned") else 1)
        if self._wandb_init["mode"] == "offline":
            folder = shlex.quote(shown(Path(self._wandb_init["dir"])))
            report("W&B: to upload this run: wandb sync %s/wandb/offline-*", folder)

    @rank_zero_only
    def log_picture(self, tag: str, image: np.ndarray, step: int) -> None:
        """An image (H, W, C) uint8."""
        self.log_image(tag, [image], step)

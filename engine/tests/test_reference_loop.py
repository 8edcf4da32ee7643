"""Best checkpoints, early stopping and plateaus decide as a plain loop does, in all rhythms of validation."""

import logging
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from kindling.callbacks.best import BestCheckpoint
from kindling.callbacks.deciding import EarlyStopping
from kindling.checkpoints.checkpoint import WholeCheckpointIO
from kindling.training.bookkeeping import PlainBookkeeping
from reference_loop import Outcome, Settings, drawn, expected

QUICK, ALL = range(6), range(6, 206)


class Scripted(LightningModule):
    """Counts its batches, and logs the scores that were drawn for them."""

    def __init__(self, given: Settings):
        super().__init__()
        self.given = given
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.seen += 1
        # The mean of an epoch, which Lightning has begun to know within it.
        end = (self.current_epoch + 1) * self.given.batches
        self.log("train/loss", self.given.scores[end], on_step=False, on_epoch=True)
        return self.weight.sum() + batch.sum()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.given.scores[int(self.seen)])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        plateau = ReduceLROnPlateau(optimizer, self.given.mode, 0.5, self.given.plateau_patience, threshold=0.0)
        monitored = {"monitor": self.given.monitor, "frequency": self.given.frequency, "interval": "epoch"}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, **monitored}}


def trained(given: Settings, folder: Path) -> Outcome:
    watches = {"monitor": given.monitor, "mode": given.mode}
    kept = BestCheckpoint(
        dirpath=str(folder), filename="best", save_top_k=given.save_top_k, save_weights_only=True, **watches
    )
    stop = EarlyStopping(**watches, patience=given.patience, min_delta=given.min_delta, strict=False)
    trainer = Trainer(
        callbacks=[PlainBookkeeping(0), kept, stop],
        plugins=[WholeCheckpointIO()],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=given.epochs,
        min_epochs=given.min_epochs,
        num_sanity_val_steps=0,
        accumulate_grad_batches=given.accumulate,
        check_val_every_n_epoch=given.check_val_every_n_epoch,
        val_check_interval=given.val_check_interval,
    )
    module = Scripted(given)
    trainer.fit(module, DataLoader(torch.zeros(given.batches)), DataLoader(torch.zeros(1)))
    places = {file: place_of(Path(file)) for file in kept.best_k_models}
    best = place_of(folder / "best.ckpt") if places else None
    scores = {places[file]: pytest.approx(float(score)) for file, score in kept.best_k_models.items()}
    return Outcome(scores, best, int(module.seen), trainer.optimizers[0].param_groups[0]["lr"])


def place_of(file: Path) -> int:
    return int(torch.load(file, weights_only=True)["state_dict"]["seen"])


def differing(seeds: range, tmp_path: Path) -> dict[int, tuple[Settings, Outcome, Outcome]]:
    logging.getLogger("lightning.pytorch").setLevel("ERROR")
    found = {seed: (drawn(seed), expected(drawn(seed)), trained(drawn(seed), tmp_path / str(seed))) for seed in seeds}
    return {seed: each for seed, each in found.items() if each[1] != each[2]}


@pytest.mark.filterwarnings("ignore")
def test_what_is_kept_and_when_training_ends_are_those_of_a_plain_loop(tmp_path):
    assert differing(QUICK, tmp_path) == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_is_kept_and_when_training_ends_are_those_of_a_plain_loop_in_all_rhythms(tmp_path):
    assert differing(ALL, tmp_path) == {}

"""What a run does after a NaN: whether going back to the last checkpoint may help, and what else may."""

from lightning.pytorch import Trainer
from omegaconf import DictConfig

from kindling.checkpoints import resume_files
from kindling.console import shown
from kindling.errors import counted
from kindling.run_folders.record import RunRecord
from kindling.training.divergence import Place
from kindling.training.parts import Rollbacks

# Stands for a batch; the rollback counts all the same.
NOT_FOUND = -1


def can_roll_back(place: Place | None, rollbacks: Rollbacks, cfg: DictConfig) -> bool:
    """Whether a rollback is asked for, is left, and would not end at the same NaN."""
    if cfg.on_nan != "rollback" or len(rollbacks) >= cfg.rollback.times:
        return False
    if place is None:
        return True
    repeats = [place.epoch, place.batch] in rollbacks and cfg.rollback.lr_factor == 1
    return place.batch is not None and not repeats


def culprit(place: Place | None, trainer: Trainer) -> list[int]:
    """The batch of a NaN, as [epoch, batch]."""
    if place is None or place.batch is None:
        return [trainer.current_epoch, NOT_FOUND]
    return [place.epoch, place.batch]


def advice(run: RunRecord, place: Place | None, rollbacks: Rollbacks) -> list[str]:
    """What is left of a run that has diverged, and what may help: a line for each."""
    kept, folder = bool(resume_files.newest_first(run.folder)), shown(run.folder)
    lines = ["the checkpoints before it are kept" if kept else "there is no checkpoint before it"]
    if rollbacks:
        lines.append(f"{counted(len(rollbacks), 'rollback')} did not help")
    ways = []
    if place is None and run.config["compile"]:
        # A replay looks into each layer, and what is looked into is not fused.
        ways.append("compile=null: the replay, which computes layer by layer, found no NaN")
    if place and place.is_input:
        ways.append("mend the data")
    else:
        ways.append("lower optimizer.lr, or set trainer.gradient_clip_val" + f", with fork={folder}" * kept)
    if run.config["on_nan"] != "rollback" and place and place.batch is not None:
        ways.append("leave such batches out with on_nan=rollback" + f" resume={folder}" * kept)
    if not run.config["trainer"]["detect_anomaly"] and not (place and place.is_input):
        # It looks at the backward pass alone.
        is_elsewhere = place is not None and "gradient" not in place.what
        ways.append("debug=anomaly names the line of code" + ", if the NaN begins in the backward pass" * is_elsewhere)
    return [*lines, *(f"{'or' if number else 'what to try'}: {way}" for number, way in enumerate(ways))]

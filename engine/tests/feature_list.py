"""The features that features.py tries: how each is asked for, and what a run leaves of it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

TINY = [
    *("trainer=cpu", "trainer.max_epochs=2", "trainer.limit_train_batches=4", "trainer.limit_val_batches=2"),
    *("trainer.limit_test_batches=2", "trainer.log_every_n_steps=1", "callbacks.resume_checkpoint.every_n_steps=1"),
    *("callbacks.resume_checkpoint.every_minutes=null", "callbacks.resume_checkpoint.keep=50"),
]
# Debug recipes bring no resume checkpoint, and set epochs and limits themselves.
DEBUG = ["trainer=cpu"]
# Epoch and batch.
NAN_AT = (0, 2)


class Left(NamedTuple):
    """What a run has left."""

    folder: Path
    text: str
    base: Path


Evidence = Callable[[Left], bool]


class Feature(NamedTuple):
    """A feature: how it is asked for, and what it leaves; `{base}` stands for the folder of a plain run."""

    overrides: list[str]
    leaves: Evidence
    tiny: list[str] = TINY
    patch: Callable[[], None] | None = None


def says(pattern: str) -> Evidence:
    return lambda left: re.search(pattern, left.text) is not None


def has(pattern: str) -> Evidence:
    return lambda left: any(left.folder.glob(pattern))


def finished(left: Left) -> bool:
    return '"status": "finished"' in (left.folder / "run.json").read_text()


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    import torch

    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def averaged(left: Left) -> bool:
    return "averaging_state" in checkpoint(left.folder)


def differs_from_base(left: Left) -> bool:
    """Whether the weights are others than without the feature."""
    pairs = zip(
        checkpoint(left.folder)["state_dict"].values(), checkpoint(left.base)["state_dict"].values(), strict=True
    )
    return finished(left) and any(not one.equal(other) for one, other in pairs)


def froze_the_first(left: Left) -> bool:
    """Whether the first layer is as it was after the first step, and the last one is not."""
    first, *_, last = sorted((left.folder / "checkpoints").glob("step_*.ckpt"))
    before, after = (checkpoint(left.folder, file.stem)["state_dict"] for file in (first, last))
    same = [before[name].equal(after[name]) for name in before if name.endswith("weight")]
    return same[0] and not same[-1]


def draws(*tags: str) -> Evidence:
    return lambda left: all(any(tag in found for found in tags_of(left.folder)) for tag in tags)


def tags_of(folder: Path) -> list[str]:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    found: list[str] = []
    for file in (folder / "tensorboard").glob("events*"):
        for event in LegacyEventFileLoader(str(file)).Load():
            found += ["graph"] * bool(event.graph_def) + [value.tag for value in event.summary.value]
    return found


def nothing_is_wrong(left: Left) -> bool:
    return finished(left) and "doctor:" not in left.text


def rolled_back(left: Left) -> bool:
    return finished(left) and checkpoint(left.folder)["rollbacks"] == [list(NAN_AT)]


def make_nan() -> None:
    """Let the first layer give NaN in one batch of training."""
    import torch

    from kindling.training.bookkeeping import Bookkeeping

    setup = Bookkeeping.setup

    def with_nan(self: Any, trainer: Any, pl_module: Any, stage: str) -> None:
        setup(self, trainer, pl_module, stage)

        def spoil(module: Any, inputs: Any, output: Any) -> Any:
            place = (trainer.current_epoch, trainer.fit_loop.batch_idx)
            return output * torch.nan if trainer.training and place == NAN_AT else None

        if stage == "fit":
            next(each for each in pl_module.modules() if list(each.parameters(recurse=False))).register_forward_hook(
                spoil
            )

    Bookkeeping.setup = with_nan


def only(name: str) -> list[str]:
    """One of the callbacks of TensorBoard, without the others."""
    names = ("training_images", "validation_pictures", "histograms", "graph", "gradient_norm")
    return [
        "callbacks=tensorboard",
        "logger=tensorboard",
        *(f"callbacks.{each}=null" for each in names if each != name),
    ]


SCHEDULERS = ("constant", "cosine", "linear", "onecycle", "plateau", "step")
FEATURES: dict[str, Feature] = {
    "doctor": Feature([], nothing_is_wrong),
    "debug=find_lr": Feature(["debug=find_lr"], has("lr_find.json"), DEBUG),
    "debug=find_batch_size": Feature(
        ["debug=find_batch_size", "callbacks.find_batch_size.limit=64"],
        says(r"the largest batch .* data\.batch_size=\d"),
        DEBUG,
    ),
    "debug=gradcheck": Feature(["debug=gradcheck"], says(r"gradients: all \d+ are right"), DEBUG),
    "debug=data": Feature(["debug=data"], says(r"classes, rarest first"), DEBUG),
    "debug=shapes": Feature(["debug=shapes"], says(r"FLOPs for the batch"), DEBUG),
    "debug=memory": Feature(["debug=memory"], says(r"\* B MiB"), DEBUG),
    "debug=profile": Feature(
        ["debug=profile", "trainer.profiler.wait=1", "trainer.profiler.active=2", "trainer.max_steps=8"],
        says(r"(?s)loss and metrics.*all operations"),
        DEBUG,
    ),
    "debug=overfit": Feature(["debug=overfit", "trainer.max_epochs=5"], finished, DEBUG),
    "debug=limit": Feature(["debug=limit"], finished, DEBUG),
    "debug=fast": Feature(["debug=fast"], finished, DEBUG),
    "debug=anomaly": Feature(["debug=anomaly"], finished),
    "callbacks=ema": Feature(["callbacks=ema", "callbacks.ema.decay=0.5"], averaged),
    "callbacks=swa": Feature(["callbacks=swa", "callbacks.swa.start_epoch=0"], averaged),
    "callbacks=finetune": Feature(["callbacks=finetune", "callbacks.finetuning.head_epochs=null"], froze_the_first),
    "histograms": Feature(only("histograms"), draws("weights/", "gradients/")),
    "graph": Feature(only("graph"), draws("graph")),
    "gradient_norm": Feature(only("gradient_norm"), draws("train/grad_norm")),
    "training_images": Feature(only("training_images"), draws("train/images")),
    "validation_pictures": Feature(only("validation_pictures"), draws("val/confusion_matrix", "val/mistakes")),
    "callbacks=tensorboard": Feature(["callbacks=tensorboard"], draws("weights/", "train/grad_norm")),
    "callbacks=periodic": Feature(
        ["callbacks=periodic", "callbacks.periodic_checkpoint.every_n_epochs=1"], has("checkpoints/epoch_001*.ckpt")
    ),
    "callbacks=monitor": Feature(
        ["callbacks=monitor", "callbacks.monitor.every_n_steps=1"], draws("gradients/", "activation_means/")
    ),
    "data.fold": Feature(["++data.fold=0"], differs_from_base),
    "data.balanced_sampling": Feature(["++data.balanced_sampling=true"], differs_from_base),
    "init=orthogonal": Feature(["init=orthogonal"], differs_from_base),
    "layer_lr_decay": Feature(["layer_lr_decay=0.5"], differs_from_base),
    "trainer=ddp_cpu": Feature(["trainer=ddp_cpu"], finished, [each for each in TINY if each != "trainer=cpu"]),
    "compile=default": Feature(["compile=default"], finished),
    "precision=bf16": Feature(["trainer.precision=bf16-mixed"], differs_from_base),
    "accumulate": Feature(["trainer.accumulate_grad_batches=2"], differs_from_base),
    "clipping": Feature(["trainer.gradient_clip_val=0.001"], differs_from_base),
    "optimizer=muon": Feature(["optimizer=muon"], finished),
    "optimizer=sgd": Feature(["optimizer=sgd"], finished),
    **{f"scheduler={name}": Feature([f"scheduler={name}"], finished) for name in SCHEDULERS},
    "weights": Feature(["weights={base}"], differs_from_base),
    "fork": Feature(["fork={base}/checkpoints/step_000000004.ckpt"], finished),
    "on_nan=rollback": Feature(["on_nan=rollback"], rolled_back, TINY, make_nan),
}

"""What is kept of the weights: the best, several of the best, and one of each few epochs."""

import json
import os
from pathlib import Path

import pytest
import torch

from kindling.checkpoints import checkpoint, resume_files
from kindling.checkpoints.checkpoint import OF_TRAINING
from kindling.checkpoints.content import with_own_files
from kindling.errors import ConfigError
from kindling.run_folders.best import best_file
from kindling.testing.runs import rows_of, same_weights

SMALL = ["data.image_size=8", "data.num_images=64", "model=mlp", "model.hidden=[2]", "test=false"]
WORSE = ["optimizer=sgd", "optimizer.lr=30", "scheduler=constant", "trainer.gradient_clip_val=null"]


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run that keeps three of the best, and whose loss goes up and down."""
    from kindling.cli.entry import compose
    from kindling.testing.runs import FAST, Run
    from kindling.train import train

    more = ["callbacks.best_checkpoint.save_top_k=3", "trainer.max_epochs=5", "test=true", "callbacks=periodic"]
    more += ["callbacks.periodic_checkpoint.every_n_epochs=2"]
    cfg = compose([*FAST, *SMALL, *WORSE, *more, f"paths.logs={tmp_path_factory.mktemp('several')}"])
    return Run(cfg, Path(cfg.paths.run), train(cfg))


def scores_of(run) -> dict[int, float]:
    return {int(row["epoch"]): float(row["val/loss"]) for row in rows_of(run) if row["val/loss"]}


def test_best_ckpt_is_the_best_of_several_and_the_others_have_telling_names(several):
    scores = scores_of(several)
    best = min(scores, key=lambda epoch: scores[epoch])
    assert best != max(scores), "the last epoch is the best: it would be kept anyway"
    kept = sorted(several.folder.glob("checkpoints/best_*.ckpt"))
    expected = sorted(scores, key=lambda epoch: scores[epoch])[:3]
    names = [file.name.partition("_step_")[0] for file in kept]
    assert names == [f"best_epoch_{epoch:03}" for epoch in sorted(expected)]
    assert all(f"val_loss_{scores[epoch]:.4f}" in file.name for epoch, file in zip(sorted(expected), kept, strict=True))
    saved = torch.load(several.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["epoch"] == best
    assert same_weights(saved["state_dict"], several.weights(kept[sorted(expected).index(best)].stem))


def test_the_best_of_several_is_what_run_json_names_and_what_is_found(several):
    record = json.loads((several.folder / "run.json").read_text())
    assert record["best_checkpoint"] == "checkpoints/best.ckpt"
    assert checkpoint.find(str(several.folder)) == several.folder / record["best_checkpoint"]


@pytest.mark.parametrize("stem", ["best", "epoch_001_val_loss_*"])
def test_weights_are_kept_without_what_only_training_needs(several, stem):
    (file,) = several.folder.glob(f"checkpoints/{stem}.ckpt")
    saved = torch.load(file, weights_only=True)
    assert not saved.keys() & {*OF_TRAINING, "progress", "weights_alone"}
    assert saved["description"]["versions"]["torch"] == torch.__version__
    resumed_from = torch.load(several.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert {"loops", "callbacks", "optimizer_states", "progress"} <= resumed_from.keys()


def test_the_states_of_optimizers_are_kept_with_the_weights_if_a_setting_says_so(train_run):
    run = train_run(*SMALL, "trainer.max_epochs=1", "callbacks.best_checkpoint.save_weights_only=false")
    saved = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert {"optimizer_states", "loops", "callbacks"} <= saved.keys()


def test_weights_alone_are_not_gone_on_from(several, train_run):
    best = several.folder / "checkpoints" / "best.ckpt"
    with pytest.raises(ConfigError, match=r"fork: given .*best\.ckpt, which holds nothing to go on from"):
        train_run(*SMALL, f"fork={best}")


def test_a_periodic_checkpoint_has_no_score_of_an_earlier_epoch(train_run):
    run = train_run(
        *SMALL,
        *("callbacks=periodic", "callbacks.periodic_checkpoint.every_n_epochs=1", "trainer.max_epochs=3"),
        "trainer.check_val_every_n_epoch=2",
    )
    names = sorted(file.name for file in run.folder.glob("checkpoints/epoch_*.ckpt"))
    assert [name.partition("_val_loss")[0].removesuffix(".ckpt") for name in names] == [
        f"epoch_{epoch:03}" for epoch in range(3)
    ]
    assert ["val_loss" in name for name in names] == [False, True, False]


def test_the_named_file_of_a_run_is_its_own(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    own, foreign = tmp_path / "checkpoints" / "mine.ckpt", tmp_path.parent / "foreign.ckpt"
    for file in (own, foreign):
        file.touch()
    usual = tmp_path / "checkpoints" / "best.ckpt"
    for given, found in (("checkpoints/mine.ckpt", own), ("../foreign.ckpt", usual), (str(foreign), usual), (3, usual)):
        (tmp_path / "run.json").write_text(json.dumps({"best_checkpoint": given}))
        assert best_file(tmp_path) == found


def test_a_pipe_as_record_of_a_run_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    assert best_file(tmp_path).name == "best.ckpt"


def test_a_run_that_goes_back_keeps_none_of_the_best_that_came_later(tmp_path):
    step, then, later = (
        tmp_path / name for name in ("step_000000008.ckpt", "best_epoch_000_step_000008.ckpt", "mine.ckpt")
    )
    for file in (step, then, later):
        file.write_text(file.name)
    resume_files.keep_beside(step, [then])
    then.unlink()
    (tmp_path / "best_epoch_001_step_000016_val_loss_0.1.ckpt").touch()
    resume_files.bring_back(step)
    assert sorted(file.name for file in tmp_path.glob("*.ckpt")) == sorted([step.name, then.name, later.name])


def test_a_run_that_is_reached_through_a_link_keeps_its_best(tmp_path):
    """Such as that of a folder logs that is a link to another disk."""
    folder = tmp_path.resolve() / "disk" / "checkpoints"
    folder.mkdir(parents=True)
    (tmp_path / "logs").symlink_to("disk")
    best = str(folder / "best.ckpt")
    state = {"dirpath": str(folder), "best_model_path": best, "best_k_models": {best: torch.tensor(1.0)}}
    found = with_own_files(state, tmp_path / "logs" / "checkpoints")
    assert (found["dirpath"], found["best_model_path"], list(found["best_k_models"])) == (str(folder), best, [best])

"""What an evaluation measures: which examples, known by which names, and where its results go."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

from kindling.checkpoints import trained_on
from kindling.checkpoints.checkpoint import origin_of
from kindling.cli.entry import compose
from kindling.data.contents import PIECE, Contents, contents_of, of_files
from kindling.data.examples import take
from kindling.data.measured import measure
from kindling.data.plain import PlainData
from kindling.errors import ConfigError, DataError
from kindling.evaluate import evaluate
from kindling.testing import sets
from kindling.testing.runs import Run
from kindling.train import train
from kindling.training.fork import copy_state


class Images(torch.utils.data.Dataset):
    """A data set of one's own that knows its contents."""

    def __init__(self, images: torch.Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]

    def contents(self) -> Contents | None:
        return contents_of(self.images)


def plain_data(train: list[torch.Tensor]) -> PlainData:
    loader = DataLoader(TensorDataset(*train))
    return PlainData(train=loader, test=loader, batch_size=1, num_workers=0, seed=0)


def hashes_of(examples: Any) -> list[int]:
    found = contents_of(examples)
    assert found
    return found.hashes.tolist()


def seen(checkpoint: Path, kind: str = "files") -> list[int] | None:
    found = trained_on.read(checkpoint, kind)
    return None if found is None else found.tolist()


def evaluate_run(run: Run, *overrides: str) -> dict[str, float]:
    return evaluate(compose([f"run={run.folder}", *overrides, "trainer.accelerator=cpu"], name="evaluate"))


def reports(run: Run) -> dict[str, dict]:
    """What each folder of results says, by its name without the hash."""
    files = (run.folder / "evaluation").glob("*/metrics.json")
    return {file.parent.name.rpartition("--")[0] or file.parent.name: json.loads(file.read_text()) for file in files}


@pytest.fixture(scope="module")
def trained_on_tree(tmp_path_factory) -> Run:
    """A run of a tree of three classes of ten images without splits; 24, 3 and 3 of them."""
    folder = tmp_path_factory.mktemp("of_tree")
    root = sets.make_tree(folder / "tree")
    settings = ["data=image_folder", f"data.root={root}", f"data.cache_dir={folder}/cache", "data.batch_size=8"]
    small = ["model=cnn", "trainer=cpu", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
    cfg = compose([*settings, *small, "logger=csv", f"paths.logs={folder}/logs"])
    metrics = train(cfg)
    return Run(cfg, Path(cfg.paths.run), metrics)


@pytest.fixture
def run(trained_on_tree, tmp_path) -> Run:
    return trained_on_tree.copied_to(tmp_path / "logs")


@pytest.fixture
def root(run) -> Path:
    """Of the images that the run was trained on."""
    return Path(run.cfg.data.root)


@pytest.fixture
def foreign(tmp_path) -> Path:
    """Thirty images of the same classes that no run has seen."""
    return sets.make_tree(tmp_path / "foreign", size=14)


@pytest.mark.slow
def test_a_foreign_tree_without_splits_asks_which_of_its_images_are_meant(run, foreign):
    with pytest.raises(DataError, match=r"split: given none .*foreign.* 3 of 30 .*split=all"):
        evaluate_run(run, f"data.root={foreign}")
    evaluate_run(run, f"data.root={foreign}", "split=test")
    assert reports(run)["test-foreign"]["data"]["examples"] == 3


def test_all_labelled_images_are_measured_into_a_folder_that_says_what_they_are(run, foreign):
    own = evaluate_run(run)
    found = evaluate_run(run, f"data.root={foreign}", "split=all")
    assert reports(run)["test"].items() >= own.items()
    report = reports(run)["all-foreign"]
    assert report["data"] == {
        "root": str(foreign),
        "split": "all",
        "examples": 30,
        "of": 30,
        "trained_on": 0,
        "left_out": 0,
    }
    assert report["views"] == "none"
    assert sum(each["images"] for each in report["classes"].values()) == 30
    assert "all/accuracy" in found
    assert not [name for name in found if name.startswith("test/")]


def test_images_of_training_are_left_out_wherever_they_lie_and_whatever_they_are_called(
    run, root, foreign, tmp_path, caplog
):
    for number, image in enumerate(sorted(root.rglob("*.png"))):
        copied = tmp_path / "copied" / image.parent.name / f"photo {number}.png"
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, copied)
    shutil.copy(foreign / "b" / "000.png", tmp_path / "copied" / "b" / "new.png")
    caplog.set_level("INFO")
    evaluate_run(run, f"data.root={tmp_path}/copied", "split=all")
    left_out = {"examples": 7, "of": 31, "trained_on": 24, "left_out": 24}
    assert reports(run)["all-copied"]["data"].items() >= left_out.items()
    assert "7 of 31 examples are measured; 24 were trained on" in caplog.text
    assert "data: 25 train, 3 val, 3 test images, 12 x 12 pixels in 3 channels" in caplog.messages
    evaluate_run(run, f"data.root={tmp_path}/copied", "split=all", "include_train=true")
    included = reports(run)["all-with-train-copied"]
    assert included["data"].items() >= {"examples": 31, "trained_on": 24, "left_out": 0}.items()


def test_data_that_was_all_trained_on_is_refused(run, root, tmp_path):
    known = seen(run.folder / "checkpoints" / "best.ckpt")
    assert known
    (tmp_path / "some" / "a").mkdir(parents=True)
    images = [image for image in sorted(root.glob("a/*.png")) if of_files([image]).item() in known]
    for image in images:
        shutil.copy(image, tmp_path / "some" / "a")
    assert len(images) == 8
    with pytest.raises(DataError, match=r"all 8 examples were trained on; .* include_train=true"):
        evaluate_run(run, f"data.root={tmp_path}/some", "split=all")


def test_the_runs_own_data_may_be_measured_whole_or_in_training_alone(run):
    evaluate_run(run, "split=train")
    evaluate_run(run, "split=all")
    evaluate_run(run, "split=all", "include_train=true")
    found = reports(run)
    assert found["train"]["data"].items() >= {"examples": 24, "of": 30, "trained_on": 24, "left_out": 0}.items()
    assert found["all"]["data"].items() >= {"examples": 6, "of": 30, "trained_on": 24, "left_out": 24}.items()
    assert found["all-with-train"]["data"].items() >= {"examples": 30, "of": 30, "trained_on": 24}.items()


def test_a_tree_that_has_changed_since_training_never_measures_what_was_trained_on(run, tmp_path):
    changed = shutil.copytree(run.cfg.data.root, tmp_path / "changed")
    for image in sorted(sets.make_tree(tmp_path / "more", size=14).rglob("*.png")):
        shutil.copy(image, changed / image.parent.name / f"more-{image.name}")
    with pytest.raises(DataError, match="6 of 60"):
        evaluate_run(run, f"data.root={changed}")
    evaluate_run(run, f"data.root={changed}", "split=test")
    data = reports(run)["test-changed"]["data"]
    assert data["trained_on"] == data["left_out"] > 0
    assert data["examples"] == 6 - data["left_out"]


def test_a_tree_of_a_test_split_alone_is_measured_by_names_also_if_it_lacks_a_class(run, tmp_path):
    root = sets.make_tree(tmp_path / "given", splits=("test",), classes="bc", size=14)
    (root / "test" / "a").mkdir()
    evaluate_run(run, f"data.root={root}")
    classes = reports(run)["test-given"]["classes"]
    assert {name: each["images"] for name, each in classes.items()} == {"a": 0, "b": 10, "c": 10}
    assert classes["a"] == {"precision": None, "recall": None, "f1": None, "images": 0}
    with pytest.raises(DataError, match="split: given val; the data has test"):
        evaluate_run(run, f"data.root={root}", "split=val")


def test_classes_that_the_model_lacks_are_named_with_the_number_of_their_images(run, tmp_path):
    root = sets.make_tree(tmp_path / "given", classes="adz", images=4, size=14)
    given = r"examples of classes that the model lacks, 4 of 'd', 4 of 'z'; the model knows \['a', 'b', 'c'\]"
    with pytest.raises(DataError, match=given):
        evaluate_run(run, f"data.root={root}", "split=all")


@pytest.mark.slow
def test_other_views_are_recorded_and_have_results_of_their_own(finished):
    evaluate_run(finished)
    evaluate_run(finished, "views=flip")
    assert {name: each["views"] for name, each in reports(finished).items()} == {"test": "none", "test-flip": "flip"}


def test_an_older_run_says_that_it_cannot_be_told_what_was_trained_on(run, foreign, caplog):
    for file in (run.folder / "checkpoints").glob("trained-on-*"):
        file.unlink()
    caplog.set_level("INFO")
    evaluate_run(run, f"data.root={foreign}", "split=all")
    assert reports(run)["all-foreign"]["data"]["trained_on"] is None
    assert "which examples were trained on cannot be told" in caplog.text


@pytest.mark.slow
def test_checkpoints_of_one_name_outside_of_runs_have_results_of_their_own(finished, tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        file = shutil.copy(finished.folder / "checkpoints" / "best.ckpt", tmp_path / place)
        evaluate(compose([f"ckpt={file}", f"paths.logs={tmp_path}/logs", "trainer.accelerator=cpu"], name="evaluate"))
    assert len([*(tmp_path / "logs" / "evaluation").glob("best--*/test/metrics.json")]) == 2


@pytest.mark.parametrize("data", [LightningDataModule(), plain_data([torch.zeros(2, 1)])])
def test_data_that_gives_batches_alone_has_no_further_splits(data):
    for split in ("all", "train"):
        with pytest.raises(ConfigError, match=f"split: given {split} for .* no examples; allowed: test or val"):
            measure(data, split, lambda kind: None, is_own=True, include_train=False)
    assert measure(data, None, lambda kind: None, is_own=True, include_train=False).examples is None


def test_rows_are_told_apart_by_all_their_columns(trained_task, tmp_path):
    run = trained_task("sum").copied_to(tmp_path)
    found = evaluate_run(run, "split=all", "include_train=true")
    data = reports(run)["all-with-train"]["data"]
    assert data["examples"] == data["of"] > data["trained_on"] > 0
    assert {"all/loss", "all/rmse"} <= found.keys()
    known = seen(run.folder / "checkpoints" / "best.ckpt", "tensors")
    assert known
    assert len(known) == data["trained_on"]


def test_a_run_that_began_with_another_knows_its_checkpoint(finished):
    assert origin_of({"fork": None, "weights": str(finished.folder)}) == finished.folder / "checkpoints" / "best.ckpt"
    assert origin_of({"fork": str(finished.folder / "gone")}) is None
    assert origin_of({}) is None


def test_contents_are_those_of_the_examples_in_their_order():
    rows = torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 0])
    found = hashes_of(rows)
    assert len({*found}) == 3
    assert hashes_of(take(rows, torch.tensor([2, 0]))) == [found[2], found[0]]
    one_by_one = Subset(ConcatDataset([Images(torch.eye(3)), Images(torch.ones(1, 3))]), [3, 1])
    assert hashes_of(one_by_one) == hashes_of(torch.stack([torch.ones(3), torch.eye(3)[1]]))
    assert contents_of([1, 2, 3]) is None


def test_large_files_differ_by_their_beginning_middle_and_end(tmp_path):
    files, size = [], 10 * PIECE
    for place in (None, 0, size // 2, size - 1):
        held = bytearray(size)
        if place is not None:
            held[place] = 1
        files.append(tmp_path / f"{place}.bin")
        files[-1].write_bytes(held)
    assert len({*of_files(files).tolist()}) == 4
    (tmp_path / "longer").write_bytes(bytes(size + 1))
    assert of_files([tmp_path / "longer"]).item() not in of_files(files).tolist()


def test_a_run_keeps_what_it_and_the_run_before_it_were_trained_on(tmp_path):
    old, new = (tmp_path / name / "best.ckpt" for name in ("old", "new"))
    for file in (old, new):
        file.parent.mkdir()
    trained_on.write(old, Contents("files", torch.tensor([3, 1])), None)
    trained_on.write(new, Contents("files", torch.tensor([2])), old)
    assert seen(new) == [1, 2, 3]
    trained_on.write(new, Contents("files", torch.tensor([9])), None)
    assert seen(new) == [1, 2, 3, 9], "a resumed run goes on with other data"
    assert seen(new, "tensors") is None


def test_a_fork_knows_what_its_origin_was_trained_on_before_it_trains_itself(tmp_path):
    old, new = tmp_path / "old" / "checkpoints" / "step_1.ckpt", tmp_path / "new" / "checkpoints" / "step_1.ckpt"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"")
    trained_on.write(old, Contents("files", torch.tensor([3, 1])), None)
    copy_state(old, new, tmp_path / "new")
    assert seen(new) == [1, 3]


def test_a_file_of_hashes_that_is_no_such_file_counts_as_none(tmp_path):
    checkpoint = tmp_path / "best.ckpt"
    file = trained_on.file_of(checkpoint, "files")
    np.save(file, np.zeros(3))
    assert seen(checkpoint) is None
    file.write_bytes(file.read_bytes().replace(b"(3,)", b"(%d,)" % 2**50).replace(b"<f8", b"<i8"))
    assert seen(checkpoint) is None, "its header promises a petabyte"
    file.write_bytes(b"damaged")
    assert seen(checkpoint) is None


def test_a_checkpoint_is_written_whatever_data_of_ones_own_means_by_contents(tmp_path):
    class Other(LightningDataModule):
        contents = splits = Path("a table of contents")

    trained_on.keep(tmp_path / "best.ckpt", Other(), None)
    assert contents_of(Other()) is None
    assert not [*tmp_path.iterdir()]

"""`predict.py`: images of any origin into a table, whatever is wrong with them and whenever it is stopped."""

import csv
import io
import json
import os
import shutil
import signal
import sys
import time
from itertools import count
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import torch
from PIL import Image

import kindling
from kindling.cli.entry import compose
from kindling.errors import CheckpointError, ConfigError, DataError, Interrupted, InUseError
from kindling.inference.predicting import journal, rules
from kindling.inference.predicting.batches import Batches, decoded
from kindling.inference.predicting.image_names import list_images
from kindling.inference.predicting.tables import ENDINGS, ClassColumns, write_table
from kindling.predict import predict
from kindling.process import streams
from kindling.testing.commands import Fork, run
from long_run import some

CLASSES = [f"class {label}" for label in range(10)]


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


@pytest.fixture
def photos(tmp_path) -> Path:
    """Ten images in two folders, of which one is in the other."""
    rng = np.random.default_rng(0)
    for index in range(10):
        folder = tmp_path / "photos" / ("below" if index % 2 else "")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "photos"


@pytest.fixture
def predicted(trained, tmp_path):
    """Predicts with the trained run into a file of tmp_path; returns the file."""

    def run(given: object, *overrides: str, output: str = "predictions.csv") -> Path:
        file = tmp_path / output
        settings = [f"run={trained.folder}", f"input='{given}'", f"output={file}", "device=cpu", "batch_size=3"]
        predict(compose([*settings, *overrides], "predict"))
        return file

    return run


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def names_of(given: object) -> list[str]:
    return list(list_images(str(given)))


def test_rows_are_the_files_in_order_with_the_probabilities_of_the_predictor(predicted, photos, trained):
    rows = rows_of(predicted(photos))
    files = sorted(photos.glob("*.png")) + sorted(photos.glob("below/*.png"))
    assert [row["file"] for row in rows] == list(map(str, files))
    assert list(rows[0]) == ["file", "class", "probability", *(f"probability_{name}" for name in CLASSES), "error"]
    predictor = kindling.load(trained.folder, device="cpu")
    expected = predictor.predict(files, "probabilities", batch_size=3)
    found = [[float(row[f"probability_{name}"]) for name in CLASSES] for row in rows]
    assert torch.equal(torch.tensor(found), expected), "to the last bit"
    assert [row["class"] for row in rows] == predictor.predict(files, batch_size=3)
    assert [float(row["probability"]) for row in rows] == [max(each) for each in found]
    assert {row["error"] for row in rows} == {""}


def test_the_top_k_are_the_likeliest_classes_in_order(predicted, photos):
    every = rows_of(predicted(photos))
    for row, whole in zip(rows_of(predicted(photos, "top_k=3", output="top.csv")), every, strict=True):
        order = sorted(CLASSES, key=lambda name: -float(whole[f"probability_{name}"]))
        assert [row[f"class_{place}"] for place in (1, 2, 3)] == order[:3]
        assert [row[f"probability_{place}"] for place in (1, 2, 3)] == [whole[f"probability_{n}"] for n in order[:3]]
        assert row["class"] == row["class_1"]
        assert len(row) == 3 + 6 + 1


def test_views_are_those_of_the_predictor(predicted, photos, trained):
    rows = rows_of(predicted(photos, "views=flip"))
    files = [row["file"] for row in rows]
    predictor = kindling.load(trained.folder, device="cpu")
    expected = predictor.predict(files, "probabilities", views="flip", batch_size=3)
    assert torch.tensor([float(row["probability"]) for row in rows]).equal(expected.max(1).values)


@pytest.fixture
def bad(photos) -> dict[str, str]:
    """What is wrong with files beside the good ones."""
    png = (photos / "0.png").read_bytes()
    (photos / "cut.png").write_bytes(png[:200])
    (photos / "empty.png").touch()
    (photos / "text.png").write_text("no image")
    (photos / "gone.png").symlink_to("nowhere")
    (photos / "loop.png").symlink_to("loop.png")
    os.mkfifo(photos / "pipe.png")
    return {
        "cut.png": "truncated",
        "empty.png": "of no known kind",
        "text.png": "of no known kind",
        "gone.png": "No such file",
        "loop.png": "symbolic links",
        "pipe.png": "a pipe or a device",
    }


def test_an_image_that_cannot_be_read_is_a_row_and_stops_nothing(predicted, photos, bad, caplog):
    rows = {Path(row["file"]).name: row for row in rows_of(predicted(photos))}
    assert len(rows) == 10 + len(bad)
    for name, words in bad.items():
        assert words in rows[name]["error"]
        assert "\n" not in rows[name]["error"]
        assert set(rows[name].values()) == {str(photos / name), "", rows[name]["error"]}
    assert [name for name, row in rows.items() if row["error"]] == sorted(bad)
    assert f"predictions.csv: 16 images, {len(bad)} of which could not be read" in caplog.text


def test_if_no_image_can_be_read_the_command_fails_but_tells_all_errors(predicted, photos):
    (photos / "text.png").write_text("no image")
    with pytest.raises(DataError, match="of whose 1 images none could be read"):
        predicted(photos / "text.png")
    assert "of no known kind" in rows_of(photos.parent / "predictions.csv")[0]["error"]


def test_a_decoder_may_fail_in_any_way(predicted, photos, monkeypatch):
    def fail(_, path, name):
        raise MemoryError if path.name == "2.png" else RecursionError("too deep")

    monkeypatch.setattr("kindling.images.decoding.Decoding.file", fail)
    with pytest.raises(DataError):
        predicted(photos)
    assert {row["error"] for row in rows_of(photos.parent / "predictions.csv")} == {"MemoryError", "too deep"}


HOSTILE = ['comma, "quote"', "new\nline", "return\rhere", "umlaut ä", "=1+1", "file", "", "'", "\\xff", "tab\t"]


def test_names_of_any_kind_survive_each_format(tmp_path):
    columns = ClassColumns(HOSTILE, None)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(HOSTILE)), len(HOSTILE)).astype(np.float32)
    rows = [columns.row(name, each) for name, each in zip(HOSTILE, probabilities, strict=True)]
    rows.append(columns.without("bad", "why"))
    for ending, mode in ENDINGS.items():
        text = {} if mode == "wb" else {"newline": "", "encoding": "utf-8"}
        with (tmp_path / f"a{ending}").open(mode, **text) as stream:
            write_table(ending, stream, columns, iter(rows))
    expected = [dict(zip(columns.names, row, strict=True)) for row in rows]
    assert json.loads((tmp_path / "a.json").read_text()) == expected
    in_csv = [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in expected]
    assert rows_of(tmp_path / "a.csv") == in_csv
    parquet = pytest.importorskip("pyarrow.parquet")
    found = parquet.read_table(tmp_path / "a.parquet")
    assert found.column_names == columns.names
    assert found["file"].to_pylist() == [*HOSTILE, "bad"]
    assert np.array_equal(found["probability_file"].to_numpy()[:-1], probabilities[:, HOSTILE.index("file")])
    assert found["class"].to_pylist()[-1] is None


def test_classes_of_one_name_have_columns_of_their_own():
    assert ClassColumns(["a", "a"], None).names[3:-1] == ["probability_0_a", "probability_1_a"]


def test_a_model_that_gives_nan_has_errors_instead_of_numbers():
    row = ClassColumns(["a", "b"], None).row("x", np.array([np.nan, 1], np.float32))
    assert row == ["x", None, None, None, None, "the model gives NaN for it"]


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_each_format_holds_what_csv_holds(predicted, photos, bad, ending):
    expected = rows_of(predicted(photos))
    file = predicted(photos, output=f"predictions.{ending}")
    if ending == "json":
        found = json.loads(file.read_text())
    else:
        found = pytest.importorskip("pyarrow.parquet").read_table(file).to_pylist()
    for row, cells in zip(found, expected, strict=True):
        assert list(row) == list(cells)
        for name, cell in cells.items():
            if name.startswith("prob"):
                assert row[name] is None if cell == "" else np.float32(row[name]) == np.float32(cell)
            else:
                assert (row[name] or "") == cell


def test_parquet_without_its_package_is_one_line(predicted, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pyarrow is not installed; run: pip install -e '\./engine\[parquet\]'"):
        predicted(photos, output="predictions.parquet")


# Which images


def test_a_folder_is_listed_sorted_without_hidden_files_others_and_loops(photos):
    (photos / ".hidden.png").touch()
    (photos / "notes.txt").touch()
    (photos / "below" / "up").symlink_to(photos)
    (photos / "below" / "itself").symlink_to("itself")
    (photos / "SHOUT.JPG").touch()
    found = names_of(photos)
    assert found == [f"{photos}/{n}.png" for n in (0, 2, 4, 6, 8)] + [f"{photos}/SHOUT.JPG"] + [
        f"{photos}/below/{n}.png" for n in (1, 3, 5, 7, 9)
    ]


def test_what_training_leaves_out_is_left_out_and_counted_too(predicted, photos, caplog):
    for name in ("@eaDir", "__MACOSX", ".thumbnails"):
        shutil.copytree(photos / "below", photos / name)
    shutil.copy(photos / "0.png", photos / "._0.png")
    for name in ("notes.txt", "README", "Thumbs.db"):
        (photos / name).write_text("no image")
    shutil.copy(photos / "0.png", photos / "bare")
    Image.new("RGB", (9, 9)).save(photos / "new.jfif", "JPEG")
    rows = rows_of(predicted(photos))
    assert {Path(row["file"]).name for row in rows} == {"bare", "new.jfif", *(f"{n}.png" for n in range(10))}
    assert (
        "predictions.csv: 12 images; left out: 5 hidden or of other programs, 1 without an ending, 1 ending in .txt"
        in caplog.text
    )
    assert len(names_of(photos / "@eaDir" / "*.png")) == 5


def test_a_folder_behind_a_link_to_nowhere_is_named_for_its_error(photos):
    (photos / "album").symlink_to("nowhere")
    (photos / "notes.txt").symlink_to("nowhere")
    assert names_of(photos)[5:6] == [f"{photos}/album"]
    assert len(names_of(photos)) == 11


@pytest.mark.parametrize("given", ["{}", "{}/*.png", "{}/Müller.png"])
def test_names_with_accents_are_found_however_they_are_written(photos, given):
    (photos / "below").rename(photos / normalize("NFD", "Größe"))
    album = photos / normalize("NFD", "Größe")
    (album / "1.png").rename(album / normalize("NFD", "Müller.png"))
    found = names_of(normalize("NFC", given.format(photos / "Größe")))
    assert str(album / normalize("NFD", "Müller.png")) in found
    assert len(found) == (1 if "Müller" in given else 5)


def test_a_link_to_a_folder_hides_the_folder_nowhere(photos):
    (photos / "album").symlink_to("below")
    below = [f"{n}.png" for n in (1, 3, 5, 7, 9)]
    assert names_of(photos)[-10:] == [f"{photos}/{folder}/{name}" for folder in ("album", "below") for name in below]
    assert names_of(photos / "**" / "below" / "*.png") == [f"{photos}/below/{name}" for name in below]


def test_a_folder_that_cannot_be_listed_is_named_for_its_error(photos, monkeypatch):
    listdir = os.listdir

    def refuse(folder):
        if folder.endswith("below"):
            raise PermissionError(13, "Permission denied", folder)
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    assert names_of(photos)[-1] == f"{photos}/below"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/*.png", "02468"),
        ("photos/**/*.png", "0246813579"),
        ("photos/**", "0246813579"),
        ("photos/**/**/[1-4].png", "2413"),
        ("*/below/?.png", "13579"),
        ("**/below/**/3.*", "3"),
        ("photos/*/*", "13579"),
        ("photos/*/*/*", ""),
    ],
)
def test_a_glob_finds_what_its_pattern_says(photos, monkeypatch, pattern, expected):
    monkeypatch.chdir(photos.parent)
    (photos / "text.txt").touch()
    for given in (pattern, f"./{pattern}", f"{photos.parent}/{pattern}"):
        found = names_of(given)
        assert "".join(Path(name).stem for name in found) == expected
        assert all(os.path.exists(name) for name in found)


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(photos):
    photos.rename(photos.with_name("photos [2024]"))
    assert len(names_of(photos.with_name("photos [2024]"))) == 10


def test_a_folder_of_any_depth_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "isdir", lambda path: not path.endswith(".png"))
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result((0, len(path), *[0] * 8)))
    monkeypatch.setattr(os, "listdir", lambda path: ["d"] if path.count("d") < 2000 else ["x.png"])
    assert names_of("d") == [f"{'d/' * 2000}x.png"]


def test_names_come_from_stdin_one_a_line(predicted, photos, monkeypatch):
    lines = [b"0.png", b"", b"missing.png\r", b"below/1.png", b"0.png", b"nul\0.png", b"last\xff.png"]
    monkeypatch.chdir(photos)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
    rows = rows_of(predicted("-"))
    names = ["0.png", "missing.png", "below/1.png", "0.png", "nul\0.png", r"last\xff.png"]
    assert [row["file"] for row in rows] == names
    assert [bool(row["error"]) for row in rows] == [False, True, False, False, True, True]


def test_an_empty_stdin_is_told(predicted, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n\n")))
    with pytest.raises(ConfigError, match="input: given -, and no name on stdin; allowed: a folder, a file, a glob"):
        predicted("-")


def test_a_file_whose_name_is_no_utf8_is_predicted(predicted, photos):
    name = os.fsencode(photos) + b"/caf\xe9.png"
    os.rename(photos / "0.png", name)
    row = next(row for row in rows_of(predicted(photos)) if "caf" in row["file"])
    assert row["file"] == rf"{photos}/caf\xe9.png"
    assert row["error"] == ""


def test_neither_listing_nor_decoding_runs_far_ahead():
    numbers, read = count(), []

    def names():
        for number in numbers:
            yield str(number)

    images = decoded(names(), lambda name: read.append(name) or name, threads=2, ahead=8)
    assert [next(images) for _ in range(100)] == [str(number) for number in range(100)]
    images.close()
    assert 100 <= len(read) <= 108
    assert next(numbers) == 107


# To go on


def stop_after(monkeypatch, number: int, error: BaseException) -> list[int]:
    """Let so many batches be predicted; returns the sizes of those that are asked for."""
    original, sizes = Batches._rows, []

    def rows(self, batch):
        if len(sizes) == number:
            raise error
        sizes.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(Batches, "_rows", rows)
    return sizes


@pytest.mark.parametrize(
    "output", some(["predictions.csv", "predictions.json", "predictions.parquet"], "predictions.csv")
)
def test_a_command_that_was_killed_goes_on_to_the_same_bytes(predicted, photos, bad, tmp_path, output):
    expected = predicted(photos, output=output).read_bytes()
    (tmp_path / output).unlink()
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 4, Interrupted("SIGINT"))
        with pytest.raises(Interrupted):
            predicted(photos, output=output)
    file = journal.file_of(tmp_path / output)
    whole = file.read_bytes()
    assert not (tmp_path / output).exists()
    assert whole.count(b"\n") == 1 + 4
    starts = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    cuts = {0: 6, starts[0] // 2: 6, starts[0]: 6, starts[0] + 1: 6, starts[1] - 1: 6, starts[1]: 5, len(whole) - 40: 3}
    for cut, left in cuts.items():
        file.write_bytes(whole[:cut])
        with pytest.MonkeyPatch.context() as patch:
            sizes = stop_after(patch, 99, AssertionError())
            assert predicted(photos, output=output).read_bytes() == expected
        assert len(sizes) == left, f"cut at {cut}"
        assert not file.exists()
        (tmp_path / output).unlink()


def test_damage_in_the_middle_of_a_journal_is_computed_again(predicted, photos, tmp_path):
    expected = predicted(photos).read_bytes()
    (tmp_path / "predictions.csv").unlink()
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 3, Interrupted("SIGINT"))
        with pytest.raises(Interrupted):
            predicted(photos)
    file = journal.file_of(tmp_path / "predictions.csv")
    header, first, second, third = file.read_bytes().splitlines(keepends=True)
    for damage in (
        b"\0" * 50 + b"\n",
        b"[[]]\n",
        b"[7]\n",
        b"{}\n",
        b"[" * 99999 + b"\n",
        second.replace(b"png", b"x"),
    ):
        file.write_bytes(header + first + damage + third)
        assert predicted(photos).read_bytes() == expected
        (tmp_path / "predictions.csv").unlink()


def test_an_image_that_changed_meanwhile_is_computed_again(predicted, photos):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 3, Interrupted("SIGINT"))
        with pytest.raises(Interrupted):
            predicted(photos)
    Image.new("RGB", (24, 20)).save(photos / "4.png")
    assert predicted(photos).read_bytes() == predicted(photos, output="again.csv").read_bytes()


def test_a_journal_that_was_removed_is_told_and_nothing_is_said_to_be_kept(predicted, photos, tmp_path, caplog):
    rows = Batches._rows

    def removing(self, batch):
        journal.file_of(tmp_path / "predictions.csv").unlink(missing_ok=True)
        return rows(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "_rows", removing)
        with pytest.raises(
            DataError, match=r"predictions\.csv\.journal: was removed while it was written; give the same"
        ):
            predicted(photos)
    assert "kept" not in caplog.text


def test_images_that_came_meanwhile_are_where_they_belong(predicted, photos, tmp_path, trained):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 3, Interrupted("SIGINT"))
        with pytest.raises(Interrupted):
            predicted(photos)
    Image.new("L", (5, 5)).save(photos / "5.png")
    found = predicted(photos).read_bytes()
    assert found == predicted(photos, output="again.csv").read_bytes()


def test_an_interruption_says_that_the_same_command_goes_on(predicted, photos, monkeypatch, caplog):
    stop_after(monkeypatch, 2, Interrupted("SIGINT"))
    with pytest.raises(Interrupted):
        predicted(photos)
    assert "6 images are done, and kept; the same command goes on with the rest" in caplog.text
    monkeypatch.undo()
    predicted(photos)
    assert "6 images are done already" in caplog.text


@pytest.mark.parametrize("override", ["views=flip", "batch_size=4", "top_k=2"])
def test_rows_of_other_options_are_not_gone_on_with(predicted, photos, tmp_path, caplog, override):
    expected = predicted(photos, override, output="expected.csv").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2, Interrupted("SIGINT"))
        with pytest.raises(Interrupted):
            predicted(photos)
    assert predicted(photos, override).read_bytes() == expected
    assert "is of another model or other options: starting over" in caplog.text


def test_rows_of_another_model_are_not_gone_on_with(predicted, photos, finished, caplog):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2, Interrupted("SIGINT"))
        with pytest.raises(Interrupted):
            predicted(photos)
    file = finished.folder / "checkpoints" / "best.ckpt"
    saved = torch.load(file, weights_only=True)
    saved["state_dict"] = {key: value * 2 for key, value in saved["state_dict"].items()}
    torch.save(saved, file)
    expected = predicted(photos, "run=null", f"ckpt={file}", output="expected.csv").read_bytes()
    assert predicted(photos, "run=null", f"ckpt={file}").read_bytes() == expected
    assert "starting over" in caplog.text


def test_a_command_killed_after_its_output_was_there_ends_well(predicted, photos, tmp_path, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal.Journal, "remove", lambda self: None)
        file = predicted(photos)
    content = file.read_bytes()
    with pytest.raises(ConfigError, match="which exists"):
        predicted(photos, "views=flip")
    assert predicted(photos).read_bytes() == content
    assert not journal.file_of(file).exists()
    with pytest.raises(ConfigError, match="which exists"):
        predicted(photos)


def test_a_command_killed_with_sigkill_at_any_moment_goes_on(predicted, photos, tmp_path, trained, monkeypatch):
    expected = predicted(photos, output="expected.csv").read_bytes()
    output, original = tmp_path / "predictions.csv", Batches._rows
    monkeypatch.setattr(Batches, "_rows", lambda self, batch: (time.sleep(0.2), original(self, batch))[1])
    arguments = [f"run={trained.folder}", f"input={photos}", f"output={output}", "device=cpu", "batch_size=3"]
    for wait_s in (0.1, 0.3):
        fork = Fork(tmp_path, "predict.py", *arguments)
        file = journal.file_of(output)
        deadline = time.monotonic() + 60
        while not (file.exists() and b"\n" in file.read_bytes()) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(wait_s)
        os.kill(fork.process.pid, signal.SIGKILL)
        fork.process.join()
        assert not output.exists()
    (tmp_path / ".predictions.csv.123.tmp").write_text("of a process that was killed while it wrote")
    done = Fork(tmp_path, "predict.py", *arguments).result()
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == expected
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_ctrl_c_ends_with_130(photos, tmp_path, trained, monkeypatch):
    monkeypatch.setattr(Batches, "_rows", lambda self, batch: os.kill(os.getpid(), signal.SIGINT))
    done = Fork(tmp_path, "predict.py", f"run={trained.folder}", f"input={photos}", f"output={tmp_path}/a.csv").result()
    assert done.returncode == 130
    assert done.stderr.splitlines() == [
        "0 images are done, and kept; the same command goes on with the rest",
        "interrupted by SIGINT",
    ]


def test_two_commands_do_not_write_one_output(predicted, photos, tmp_path):
    from kindling.inference.predicting.tables import Tally

    held = journal.Journal(tmp_path / "predictions.csv", {"columns": []}, 3, Tally(), lambda item: (item, ""))
    with pytest.raises(InUseError, match="which another process writes; allowed: one at a time"):
        predicted(photos)
    held.close()
    assert len(rows_of(predicted(photos))) == 10


# What is refused


def test_an_output_that_exists_is_kept_unless_it_may_be_overwritten(predicted, photos, tmp_path, monkeypatch):
    (tmp_path / "predictions.csv").write_text("precious")
    with pytest.raises(ConfigError, match=r"predictions\.csv, which exists; allowed: another name, or overwrite=true"):
        predicted(photos)
    assert (tmp_path / "predictions.csv").read_text() == "precious"
    stop_after(monkeypatch, 2, Interrupted("SIGINT"))
    with pytest.raises(Interrupted):
        predicted(photos, "overwrite=true")
    assert (tmp_path / "predictions.csv").read_text() == "precious", "until all is done"
    monkeypatch.undo()
    assert len(rows_of(predicted(photos, "overwrite=true"))) == 10


def test_an_output_that_somebody_wrote_meanwhile_is_kept(predicted, photos, tmp_path, monkeypatch):
    original = Batches._rows

    def rows(self, batch):
        (tmp_path / "predictions.csv").write_text("precious")
        return original(self, batch)

    monkeypatch.setattr(Batches, "_rows", rows)
    with pytest.raises(ConfigError, match="which exists"):
        predicted(photos)
    assert (tmp_path / "predictions.csv").read_text() == "precious"
    assert journal.file_of(tmp_path / "predictions.csv").exists()


def test_a_file_where_the_journal_would_be_is_kept(predicted, photos, tmp_path):
    precious = journal.file_of(tmp_path / "predictions.csv")
    precious.write_text("irreplaceable")
    with pytest.raises(ConfigError, match=r"is in the way, which predict\.py has not written; move it away"):
        predicted(photos)
    assert precious.read_text() == "irreplaceable"


def test_a_stdout_that_is_closed_is_told(photos, monkeypatch):
    monkeypatch.setitem(streams._before, 1, None)
    (fault,) = rules.the_output_is_free({"output": "-", "input": str(photos), "overwrite": False})
    assert str(fault) == "output: given -, and stdout is closed; allowed: a file that ends in .csv, .json, .parquet"


def test_a_journal_that_is_a_link_is_not_written(predicted, photos, tmp_path):
    (tmp_path / "precious").write_text("irreplaceable")
    journal.file_of(tmp_path / "predictions.csv").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        predicted(photos)
    assert (tmp_path / "precious").read_text() == "irreplaceable"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run=null"], "run: given neither run nor ckpt"),
        (
            ["input=null"],
            r"input: given nothing; allowed: a folder, a file, a glob such as .*, or - for names on stdin",
        ),
        (["input={home}/nowhere"], "nowhere, which does not exist; allowed: a folder"),
        (["input={home}/*.png"], r"\*\.png, where no image is; allowed: names that end in \.apng, "),
        (["input={home}"], "where no image is"),
        (["input=http://x/a.png"], "input: given http://x/a.png; allowed: a path on this machine"),
        (
            ["output={home}/a.xlsx"],
            r"a\.xlsx; allowed: a file that ends in \.csv, \.json, \.parquet; - for CSV on stdout",
        ),
        (["output={home}/no/a.csv"], "a.csv, whose folder does not exist; allowed: a folder that does; mkdir -p"),
        (["output={home}/folder.csv"], "which is a folder"),
        (["input={home}/in.csv", "output={home}/link.csv", "overwrite=true"], "which is the input"),
        (["batch_size=0"], "batch_size: given 0; allowed: 1 or more"),
        (["top_k=0"], "top_k: given 0; allowed: 1 or more"),
        (["views=many"], "views: given 'many'; allowed: none or flip"),
        (["overwrite=maybe"], "overwrite: given 'maybe'"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_loaded(tmp_path, monkeypatch, overrides, message):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "in.csv").touch()
    (tmp_path / "link.csv").symlink_to("in.csv")
    monkeypatch.setattr("kindling.predict.load", None)
    before = sorted(tmp_path.iterdir())
    given = ["run=x", f"input={tmp_path}/in.csv", f"output={tmp_path}/out.csv", *overrides]
    with pytest.raises(ConfigError, match=message):
        predict(compose([each.replace("{home}", str(tmp_path)) for each in given], "predict"))
    assert sorted(tmp_path.iterdir()) == before


def test_refusals_load_no_torch(tmp_path):
    done = run("predict.py", "run=x", f"input={tmp_path}", f"output={tmp_path}/a.csv", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 2
    assert "where no image is" in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "hydra" in imported
    assert not imported & {"torch", "numpy", "PIL"}


def test_more_classes_than_there_are_are_refused(predicted, photos, tmp_path):
    with pytest.raises(ConfigError, match="top_k: given 11; allowed: 1 to 10, the number of classes; or null"):
        predicted(photos, "top_k=11")
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_without_class_names_is_told(predicted, photos, finished):
    file = finished.folder / "checkpoints" / "best.ckpt"
    saved = torch.load(file, weights_only=True)
    saved["description"]["facts"]["classes"] = ["a", "b"]
    torch.save(saved, file)
    with pytest.raises(CheckpointError, match="does not say the names of the 10 classes of its model"):
        predicted(photos, "run=null", f"ckpt={file}")


# Streams


def test_csv_goes_to_stdout_and_everything_else_to_stderr(predicted, photos, tmp_path, trained):
    expected = predicted(photos).read_bytes()
    settings = [f"run={trained.folder}", f"input={photos}", "output=-", "device=cpu", "batch_size=3"]
    done = Fork(tmp_path, "predict.py", *settings).result()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "stdout").read_bytes() == expected
    assert done.stderr.splitlines() == ["stdout: 10 images"]


def test_a_reader_that_has_gone_is_no_error(photos, tmp_path, trained, monkeypatch):
    def broken(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("kindling.predict.write_csv", broken)
    done = Fork(tmp_path, "predict.py", f"run={trained.folder}", f"input={photos}", "output=-").result()
    assert (done.returncode, done.stderr) == (141, "")

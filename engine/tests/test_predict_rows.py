"""`predict.py` of rows and of prompts."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench.tasks.classification
import kindling
from kindling.cli.entry import compose
from kindling.data.processor import Column
from kindling.errors import ConfigError, DataError, Interrupted
from kindling.images.processor import ImageProcessor
from kindling.inference.predicting import journal
from kindling.inference.predicting.batches import Batches
from kindling.predict import predict
from kindling.testing.commands import Fork, run

ROWS = [[f"{place / 4}", f"{place}", "-1"] for place in range(10)]


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


@pytest.fixture
def table(tmp_path) -> Path:
    return written(tmp_path / "rows.csv", [["depth", "id", "width", "height"], *([a, "x", b, c] for a, b, c in ROWS)])


def written(file: Path, lines: list[list[str]]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
    return file


@pytest.fixture
def predicted(trained_task, tmp_path):
    """Predicts with a tiny task into a file of tmp_path; returns the file."""

    def predict_with(given: object, *overrides: str, task: str = "sum", output: str = "out.csv") -> Path:
        file = tmp_path / output
        settings = [f"run={trained_task(task).folder}", f"input='{given}'", f"output={file}", "device=cpu"]
        predict(compose([*settings, *overrides], "predict"))
        return file

    return predict_with


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("task", ["sum", "sign"])
def test_rows_have_their_line_and_what_the_model_says_in_order(predicted, table, trained_task, task, caplog):
    found = rows_of(predicted(table, "batch_size=3", task=task))
    assert [row.pop("line") for row in found] == [str(line) for line in range(2, 12)]
    assert {row.pop("error") for row in found} == {""}
    model = kindling.load(trained_task(task).folder, device="cpu")
    named = [{"depth": a, "width": b, "height": c} for a, b, c in ROWS]
    expected = model.predict(named, batch_size=3)
    assert found == [{name: str(value) for name, value in row.items()} for row in expected]
    assert "columns that the model does not use: id" in caplog.text


def test_each_format_of_rows_gives_the_same(predicted, table, tmp_path, monkeypatch):
    expected = [row["sum"] for row in rows_of(predicted(table))]
    objects = [{"depth": float(a), "width": b, "height": c} for a, b, c in ROWS]
    (tmp_path / "rows.json").write_text(json.dumps(objects))
    (tmp_path / "rows.jsonl").write_text("\n\n".join(map(json.dumps, objects)))
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    for name in ("rows.json", "rows.jsonl", "bom.csv"):
        assert [row["sum"] for row in rows_of(predicted(tmp_path / name, output=f"of_{name}.csv"))] == expected
    assert rows_of(tmp_path / "of_rows.json.csv")[0]["row"] == "1"
    assert [row["line"] for row in rows_of(tmp_path / "of_rows.jsonl.csv")][:2] == ["1", "3"]
    for name in ("rows.csv", "bom.csv"):
        monkeypatch.setattr(sys, "stdin", io.StringIO((tmp_path / name).read_text()))
        assert [row["sum"] for row in rows_of(predicted("-", output=f"stdin_{name}"))] == expected


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_each_format_of_the_table_holds_what_csv_holds(predicted, table, ending):
    expected = [(int(row["line"]), float(row["sum"])) for row in rows_of(predicted(table))]
    file = predicted(table, output=f"out.{ending}")
    if ending == "json":
        found = json.loads(file.read_text())
    else:
        found = pytest.importorskip("pyarrow.parquet").read_table(file).to_pylist()
    assert [(row["line"], row["sum"]) for row in found] == [(line, pytest.approx(value)) for line, value in expected]


def test_a_row_that_cannot_be_read_has_its_error_and_stops_nothing(predicted, tmp_path, caplog):
    lines = [["width", "height", "depth"], ["1", "2", "3"], ["1", "x", "3"], ["1"], ["a\nb", "2", "3"], ["1", "2", "3"]]
    found = {row["line"]: row for row in rows_of(predicted(written(tmp_path / "bad.csv", lines), "batch_size=2"))}
    assert {line: row["error"] for line, row in found.items()} == {
        "2": "",
        "3": "column height: given 'x'; allowed: a number",
        "4": "given 1 cells; allowed: 3, as the header",
        "5": "column width: given 'a\\nb'; allowed: a number",
        "7": "",
    }
    assert found["7"]["sum"] == found["2"]["sum"]
    assert found["3"]["sum"] == ""
    assert "5 rows, 3 of which could not be read: see the column error" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "width,height\n1,2\n",
            "with the columns width, height; allowed: width, height, depth, each in the first",
        ),
        ("width;height;depth\n1;2;3\n", "with the columns width;height;depth; allowed: width, height, depth"),
        ("width, height, depth\n1, 2, 3\n", "columns width, ' height', ' depth'; allowed: width, height, depth, each"),
        ("1,2,3\n4,5,6\n", "with the columns 1, 2, 3; allowed: width, height, depth, each in the first line"),
        (
            'width,height,depth\n1,2,3\n4,"5,6\n7,8,9\n',
            r"rows\.csv: line 3 is no CSV \(unexpected end of data\); mend it",
        ),
        ('width,height,depth\n1,"2"x,3\n', r"rows\.csv: line 2 is no CSV \(',' expected after '\"'\); mend it"),
        ("width,width\n1,2\n", "given the columns width twice; allowed: CSV whose first line names each column once"),
        ("", "given nothing; allowed: CSV whose first line"),
        ("width,height,depth\n", r"rows\.csv, which has no row; allowed: a file of rows that ends in \.csv"),
        ("width,height,depth\nx,2,3\n", "of whose 1 rows none could be read"),
        (b"\xff\xfe", r"rows\.csv: is no text in UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_the_model_is_told(predicted, tmp_path, content, message):
    (tmp_path / "rows.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        predicted(tmp_path / "rows.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "given dict; allowed: a list of"),
        ("[1", r"rows\.json: is no JSON"),
        ("[7]", "none could be read"),
    ],
)
def test_json_that_holds_no_rows_is_told(predicted, tmp_path, content, message):
    (tmp_path / "rows.json").write_text(content)
    with pytest.raises(DataError, match=message):
        predicted(tmp_path / "rows.json")


def test_a_row_of_json_that_names_a_column_twice_has_its_error(predicted, tmp_path):
    twice = '{"width": 1, "height": 2, "depth": 3, "width": 4}'
    right = '{"width": 1, "height": 2, "depth": 3}'
    (tmp_path / "rows.jsonl").write_text(f"{twice}\n{right}\n")
    (tmp_path / "rows.json").write_text(f"[{twice}, {right}]")
    for name in ("rows.jsonl", "rows.json"):
        first, second = rows_of(predicted(tmp_path / name, output=f"{name}.csv"))
        assert (first["error"], second["error"]) == ("given width twice; allowed: each column once", "")


def interrupted(predicted, table: Path, number: int) -> None:
    original, left = Batches._rows, [number]

    def rows(self, batch):
        if not left[0]:
            raise Interrupted("SIGINT")
        left[0] -= 1
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "_rows", rows)
        with pytest.raises(Interrupted):
            predicted(table, "batch_size=3")


def test_a_command_that_was_stopped_goes_on_to_the_same_bytes(predicted, table, caplog):
    expected = predicted(table, "batch_size=3", output="expected.csv").read_bytes()
    interrupted(predicted, table, 2)
    assert "6 rows are done, and kept; the same command goes on with the rest" in caplog.text
    assert predicted(table, "batch_size=3").read_bytes() == expected
    assert "6 rows are done already" in caplog.text
    assert not journal.file_of(table.with_name("out.csv")).exists()


def test_rows_that_changed_meanwhile_are_computed_again(predicted, table, caplog):
    interrupted(predicted, table, 3)
    changed = table.read_text().splitlines()
    changed[5] = changed[5].replace("x", "y")
    changed[6] = "100" + changed[6]
    table.write_text("\n".join([*changed, "9,x,9,9"]))
    found = predicted(table, "batch_size=3").read_bytes()
    assert "3 rows are done already" in caplog.text
    assert found == predicted(table, "batch_size=3", output="again.csv").read_bytes()


def test_a_model_that_gives_nan_has_errors_instead_of_numbers(predicted, table, monkeypatch):
    monkeypatch.setattr("bench.models.linear.Linear.forward", lambda self, rows: rows.sum(1) * float("nan"))
    with pytest.raises(DataError, match="none could be read"):
        predicted(table)
    assert {row["error"] for row in rows_of(table.with_name("out.csv"))} == {"the model gives NaN for it"}


@pytest.mark.parametrize(
    ("task", "given", "overrides", "message"),
    [
        ("sum", "rows.csv", ["views=flip"], "views: given flip for a model of rows; allowed: for images; leave it out"),
        ("sum", "rows.csv", ["temperature=0"], "temperature: given 0.* for a model of rows; allowed: for texts"),
        ("sum", "rows.csv", ["seed=1"], "seed: given 1 for a model of rows; allowed: for texts"),
        ("sum", "rows.csv", ["output=a.txt"], r"output: given a\.txt; allowed: a file that ends in \.csv, "),
        ("sum", "photo", [], "input: given photo for a model of rows; allowed: a file of rows that ends in"),
        ("next", "ab", ["views=none"], "views: given none for a model of texts; allowed: for images"),
        ("next", "ab", ["output=a.csv"], r"output: given a\.csv; allowed: a file that ends in \.txt; - for stdout"),
        ("next", "ab", ["top_k=6"], "top_k: given 6; allowed: a whole number from 1 up to 5, or null"),
        ("next", "Z", [], "prompt: given the characters 'Z', which the model does not know"),
    ],
)
def test_what_does_not_fit_the_kind_of_the_model_is_refused(
    trained_task, table, monkeypatch, task, given, overrides, message
):
    monkeypatch.chdir(table.parent)
    settings = [f"run={trained_task(task).folder}", f"input={given}", "device=cpu", *overrides]
    with pytest.raises((ConfigError, DataError), match=message):
        predict(compose(settings, "predict"))
    assert sorted(path.name for path in table.parent.iterdir()) == ["rows.csv"]


# Prompts


def test_a_prompt_is_printed_with_what_follows_it(trained_task, tmp_path):
    folder = trained_task("next").folder
    settings = [f"run={folder}", "input=ab", "length=20", "temperature=0.5", "top_k=3", "seed=1", "device=cpu"]
    done = Fork(tmp_path, "predict.py", *settings).result()
    assert (done.returncode, done.stderr) == (0, "")
    model = kindling.load(folder, device="cpu")
    expected = "ab" + model.predict("ab", length=20, temperature=0.5, top_k=3, seed=1)
    assert (tmp_path / "stdout").read_text() == expected + "\n"


def test_a_prompt_may_be_a_file_or_stdin_and_a_text_goes_into_a_file(predicted, tmp_path, monkeypatch):
    (tmp_path / "prompt.txt").write_text("ab\ncd")
    expected = predicted(tmp_path / "prompt.txt", "length=9", task="next", output="a.txt").read_text()
    assert expected.startswith("ab\ncd")
    assert len(expected) == 5 + 9
    monkeypatch.setattr(sys, "stdin", io.StringIO("ab\ncd"))
    assert predicted("-", "length=9", task="next", output="b.txt").read_text() == expected
    with pytest.raises(ConfigError, match=r"a\.txt, which exists; allowed: another name, or overwrite=true"):
        predicted("ab", task="next", output="a.txt")
    assert predicted("ab", "length=3", "overwrite=true", task="next", output="a.txt").read_text().startswith("ab")


def test_a_missing_file_is_told_before_anything_is_loaded(tmp_path):
    for name in ("gone.csv", "gone.txt", "gone.png"):
        done = run("predict.py", "run=x", f"input={tmp_path}/{name}")
        assert done.returncode == 2
        assert f"{name}, which does not exist; allowed: a folder" in done.stderr


# Images of a processor of one's own


class Halves(ImageProcessor):
    """Writes the first logit, the likeliest class, and a picture as grey as its label."""

    @property
    def outputs(self):
        return Column("first"), Column("likely", "text"), Column("grey", "image")

    def write(self, output):
        label = output.argmax()
        grey = np.full((2, 3), label, dtype=np.uint8)
        return {"first": float(output[0]), "likely": self.classes[label], "grey": grey}


def test_images_of_a_processor_of_ones_own_are_written_its_way(trained, tmp_path, monkeypatch):
    make = bench.tasks.classification.Classification.processor
    monkeypatch.setattr(
        "bench.tasks.classification.Classification.processor", lambda self: Halves(**make(self).parameters())
    )
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    for place, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / "photos" / f"{place}.png")
    (tmp_path / "photos" / "bad.png").touch()
    settings = [f"run={trained.folder}", f"input={tmp_path}/photos", f"output={tmp_path}/out.csv", "device=cpu"]
    predict(compose([*settings, "batch_size=2"], "predict"))
    found = rows_of(tmp_path / "out.csv")
    assert [Path(row["file"]).name for row in found] == ["0.png", "1.png", "2.png", "bad.png"]
    assert "of no known kind" in found[3]["error"]
    model = kindling.load(trained.folder, device="cpu")
    expected = model.predict([pixels[0], pixels[1]])
    assert [row["likely"] for row in found[:2]] == [each["likely"] for each in expected]
    assert [float(row["first"]) for row in found[:2]] == [each["first"] for each in expected]
    for row in found[:3]:
        assert Path(row["grey"]) == tmp_path / f"out{row['file']}.grey.png"
        label = model.processor.classes.index(row["likely"])
        assert np.array_equal(Image.open(row["grey"]), np.full((2, 3), label))
    assert found[3]["grey"] == ""
    with pytest.raises(ConfigError, match="output: given -, for a model that gives images as grey; allowed: a file"):
        predict(compose([*settings[:2], "output=-", "device=cpu"], "predict"))
    with pytest.raises(ConfigError, match="views: given flip for Halves, which writes in a way of its own; allowed"):
        predict(compose([*settings, "views=flip", "overwrite=true"], "predict"))

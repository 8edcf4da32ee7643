"""How an input is read and an output written: rows, texts and images."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import kindling
from bench.own_processors import InInches, Masks, Unsaid
from kindling.data.processor import Column, Evaluated, Processor
from kindling.data.rows_processor import RowsProcessor
from kindling.data.text_processor import TextProcessor
from kindling.errors import CheckpointError, ConfigError, DataError
from kindling.images.augment import Normalize
from kindling.images.png import png_of
from kindling.images.processor import ImageProcessor
from kindling.inference.processors import from_dict, needed_processor_of
from kindling.training.task import Task

KINDS = [Column("age", "integer", "years", low=0, high=150), "size", {"name": "sex", "choices": ["f", "m"]}]
ROWS = RowsProcessor(
    KINDS, [Column("price", unit="€")], mean=[50, 0, 0], std=[10, 1, 1], output_mean=[7], output_std=[2]
)
SIGNS = RowsProcessor(["a"], classes=["below", "above"])
TEXT = TextProcessor("abc\n", 4)
IMAGES = ImageProcessor(["cat", "dog"], 8, 3, [0.5], [0.25, 0.2, 0.5])


def test_a_row_is_read_by_the_names_of_its_columns_in_the_order_of_the_net():
    expected = np.array([1, -2.5, 1], np.float32)
    for row in ({"sex": "m", "age": "60", "more": "x", "size": "-2.5"}, {"age": 60, "size": -2.5, "sex": "m"}):
        found = ROWS.read(row)
        assert found.dtype == np.float32
        assert np.array_equal(found, expected)
    assert np.array_equal(ROWS.read([60, -2.5, "m"]), expected), "numbers in order"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "big"}, "line 3: column size: given 'big'; allowed: a number"),
        ({"size": ""}, "column size: given ''; allowed: a number"),
        ({"size": None}, "column size: given None; allowed: a number"),
        ({"size": True}, "column size: given True; allowed: a number"),
        ({"size": "nan"}, "column size: given 'nan'; allowed: a number"),
        ({"size": "1e39"}, "column size: given '1e39'; allowed: a number"),
        ({"size": "1_0"}, "column size: given '1_0'; allowed: a number"),
        ({"size": "１"}, "column size: given '１'; allowed: a number"),
        ({"size": " 1"}, "column size: given ' 1'; allowed: a number, without blanks around it"),
        ({"size": "1,5"}, "column size: given '1,5'; allowed: a number, with a point and no comma"),
        ({"size": b"1"}, "column size: given b'1'; allowed: a number"),
        ({"size": "0x1"}, "column size: given '0x1'; allowed: a number"),
        ({"size": "1e"}, "column size: given '1e'; allowed: a number"),
        ({"age": "6_0"}, "column age: given '6_0'; allowed: a whole number from 0"),
        ({"age": 1.5}, "column age: given 1.5; allowed: a whole number from 0 up to 150"),
        ({"age": -1}, "column age: given -1; allowed: a whole number from 0 up to 150"),
        ({"age": "inf"}, "column age: given 'inf'; allowed: a whole number from 0"),
        ({"sex": "x"}, "column sex: given 'x'; allowed: 'f' or 'm'"),
    ],
)
def test_a_wrong_cell_is_told_with_its_line_and_column(change, message):
    with pytest.raises(DataError, match=message):
        ROWS.read({"age": 60, "size": 1, "sex": "f"} | change, "line 3")


@pytest.mark.parametrize(
    ("text", "value"), [("+1", 1), ("-.5", -0.5), ("2.", 2), ("1e3", 1000), ("1.5E-3", 0.0015), ("007", 7)]
)
def test_a_plain_number_is_read_however_it_is_written(text, value):
    assert RowsProcessor(["a"], ["b"]).read({"a": text}) == np.float32(value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"age": 1}, "row: given age, without size, sex; allowed: a value for each of age, size, sex"),
        ({}, "row: given nothing, without age"),
        ([1, 2], "row: given 2 values; allowed: 3, one a column"),
        ("1,2,3", "row: given str; allowed: a mapping from columns to values"),
    ],
)
def test_what_is_no_row_is_told(raw, message):
    with pytest.raises(DataError, match=message):
        ROWS.read(raw)


def test_outputs_are_written_in_their_own_units_by_name():
    assert ROWS.write(np.float32(1.5)) == {"price": 10.0}
    assert RowsProcessor(["a"], ["x", "y"]).write(np.array([0.1, 2], np.float32)) == {"x": 0.1, "y": 2.0}
    found = SIGNS.write(np.array([0.0, np.log(3)], np.float32))
    assert found.pop("class") == "above"
    assert found == pytest.approx({"probability": 0.75, "probability_below": 0.25, "probability_above": 0.75})
    assert [column.name for column in SIGNS.outputs] == ["class", *found]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "processor: given neither outputs nor classes; allowed: the names of the one or the other"),
        ({"outputs": ["a"], "classes": ["b"]}, "given both outputs and classes"),
        ({"outputs": ["a"], "mean": [1, 2]}, r"processor\.mean: given 2 numbers; allowed: 1, one a column"),
    ],
)
def test_a_processor_of_rows_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RowsProcessor(["x"], **settings)


# Texts


def following(ids: np.ndarray) -> np.ndarray:
    """Logits (1, T, V) that prefer the next letter, and twice the next but one to the others."""
    seen.append(ids.shape[1])
    return np.log(np.eye(4)[(ids + 1) % 4] * 7 + np.eye(4)[(ids + 2) % 4] * 2 + 1)


seen: list[int] = []


def test_a_text_is_read_as_the_ids_of_its_characters():
    assert TEXT.read("ba\n").tolist() == [1, 0, 3]
    assert TEXT.read("b").dtype == np.int64


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("xaé", "prompt: given the characters 'xé', which the model does not know; allowed: 'abc"),
        ("", "prompt: given an empty text; allowed: a text of at least one character"),
        (7, "prompt: given int; allowed: a text"),
        ("aaaaa", "prompt: given 5 characters; allowed: up to 4, which the net sees"),
    ],
)
def test_a_text_that_cannot_be_read_is_told(raw, message):
    with pytest.raises(DataError, match=message):
        TEXT.read(raw)


def test_at_temperature_zero_the_likeliest_character_follows():
    assert "".join(TEXT.answer(following, "ab", length=6, temperature=0)) == "c\nabc\n"
    assert "".join(TEXT.answer(following, "ab", length=6, top_k=1, temperature=9.0)) == "c\nabc\n"


def test_a_seed_decides_on_the_text_alone():
    def text(seed: int, **settings: object) -> str:
        return "".join(TEXT.answer(following, "a", length=40, seed=seed, **settings))

    assert text(0) == text(0)
    assert text(0) != text(1)
    assert text(0, temperature=0.5) != text(0)


def test_characters_are_drawn_as_often_as_their_probability():
    first = [next(TEXT.answer(following, "a", length=1, seed=seed)) for seed in range(2000)]
    shares = [first.count(letter) / len(first) for letter in "bca\n"]
    assert shares == pytest.approx([8 / 13, 3 / 13, 1 / 13, 1 / 13], abs=0.03)
    hot = [next(TEXT.answer(following, "a", length=1, seed=seed, temperature=0.5)) for seed in range(2000)]
    assert hot.count("b") / len(hot) == pytest.approx(64 / 75, abs=0.03), "softmax(logits / 0.5)"
    two = [next(TEXT.answer(following, "a", length=1, seed=seed, top_k=2)) for seed in range(2000)]
    assert two.count("b") / len(two) == pytest.approx(8 / 11, abs=0.03)
    assert set(two) == {"b", "c"}


def test_the_net_sees_a_block_at_most_of_a_prompt_of_any_length():
    seen.clear()
    assert len([*TEXT.answer(following, "abcabcabc", length=5)]) == 5
    assert seen == [4] * 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1}, "temperature: given -1; allowed: a number from 0"),
        ({"temperature": float("nan")}, "temperature: given nan; allowed: a number from 0"),
        ({"length": 0}, "length: given 0; allowed: a whole number from 1"),
        ({"length": 1.0}, r"length: given 1\.0; allowed: a whole number from 1"),
        ({"top_k": 5}, "top_k: given 5; allowed: a whole number from 1 up to 4, or null"),
        ({"seed": True}, "seed: given True; allowed: a whole number from 0"),
    ],
)
def test_a_wrong_setting_is_told_before_the_first_character(settings, message):
    with pytest.raises(ConfigError, match=message):
        TEXT.answer(following, "a", **settings)


def test_a_net_that_gives_nan_writes_no_text():
    with pytest.raises(CheckpointError, match="model: gives NaN for this prompt"):
        next(TEXT.answer(lambda ids: np.full((1, 1, 4), np.nan), "a"))


def test_places_that_do_not_count_are_no_mistakes(tmp_path):
    targets = np.array([[0, 1, -100], [2, -100, -100]])
    logits = torch.from_numpy(np.eye(4)[[[0, 2, 0], [2, 0, 0]]])
    kept, targets = TEXT.keep(logits, targets)
    found = TEXT.report(Evaluated(kept.numpy(), targets, "test", None, following), tmp_path)
    assert found["test/accuracy"] == pytest.approx(2 / 3)


# Images


def test_an_image_is_read_as_the_training_normalises_it():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    (expected,) = Normalize(IMAGES.mean, IMAGES.std)(torch.from_numpy(pixels[None])).numpy()
    assert IMAGES.mean == [0.5, 0.5, 0.5]
    np.testing.assert_allclose(IMAGES.read(pixels), expected, atol=1e-6)
    assert IMAGES.write(np.array([2.0, 1.0]))["class"] == "cat"


PICTURES = [
    (np.zeros((2, 2, 5), np.uint8), r"ndarray \(2, 2, 5\) of uint8; allowed of an image"),
    (np.zeros((2, 2, 3), bool), r"ndarray \(2, 2, 3\) of bool; allowed of an image"),
    (np.zeros((0, 2), np.uint8), r"\(2, 0\) of mode L \(cannot write empty image\); allowed: L, RGB or RGBA"),
    (Image.new("F", (2, 2)), r"\(2, 2\) of mode F \(cannot write mode F as PNG\); allowed: L, RGB or RGBA"),
]


@pytest.mark.parametrize(("picture", "said"), PICTURES)
def test_a_picture_that_no_png_can_hold_is_refused_by_name(picture, said):
    with pytest.raises(DataError, match=f"^mask: given {said}"):
        png_of(picture, "mask")
    assert png_of(np.zeros((2, 2, 1), bool), "mask").startswith(b"\x89PNG")


# As JSON


@pytest.mark.parametrize("processor", [ROWS, SIGNS, TEXT, IMAGES], ids=["rows", "classes", "text", "image"])
def test_json_carries_a_ready_made_processor_whole(processor):
    again = from_dict(json.loads(json.dumps(processor.as_dict())))
    assert type(again) is type(processor)
    assert vars(again) == vars(processor)
    assert (again.inputs, again.outputs, again.settings) == (processor.inputs, processor.outputs, processor.settings)


class OfATest(RowsProcessor):
    def write(self, output: np.ndarray) -> dict[str, float]:
        return {}


class Named(RowsProcessor):
    def __init__(self):
        super().__init__(["a"], ["b"])


def test_json_names_a_processor_of_the_project_from_its_package_on_and_makes_it_again():
    described = json.loads(json.dumps(InInches(["a"], ["b"]).as_dict()))
    assert described["_target_"] == ".own_processors.InInches"
    again = from_dict(described)
    assert type(again) is InInches
    assert again.write(np.array([2.54])) == {"b": pytest.approx(1.0)}
    masks = Masks(("a", "b"), 8, 1, [0.5], [0.5])
    assert vars(from_dict(json.loads(json.dumps(masks.as_dict())))) == vars(masks)
    assert type(from_dict(Named().as_dict())) is RowsProcessor


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (OfATest(["a"], ["b"]), "given .*OfATest, which no model folder can name; allowed: .* in a file of src/bench"),
        (Unsaid("m"), "given Unsaid, which its parameters do not make again .*; allowed: a method `parameters`"),
    ],
    ids=["elsewhere", "unsaid"],
)
def test_a_processor_that_cannot_be_made_again_is_not_carried(processor, message):
    with pytest.raises(ConfigError, match=f"processor: {message}"):
        processor.as_dict()


@pytest.mark.parametrize(
    "target", [".own_processors.Gone", ".gone.Masks", "os.system", "bench.own_processors.Masks", ".models.cnn.CNN", 7]
)
def test_json_of_another_project_or_of_no_processor_is_refused(target):
    with pytest.raises(CheckpointError, match=r"processor: given .*, a class of the project that the model was"):
        from_dict({"kind": "image", "_target_": target})


@pytest.mark.parametrize(
    "described", [{}, {"kind": "sound"}, {"kind": "text"}, {"kind": "text", "vocabulary": 7, "block": 1}]
)
def test_damaged_json_is_told(described):
    with pytest.raises(CheckpointError, match=r"processor: .*; export the model anew"):
        from_dict(described)


def test_a_processor_needs_no_torch():
    code = "import sys, kindling.inference.processors; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Of a task


def test_a_task_without_one_is_refused_with_what_to_write(trained_task, tmp_path):
    with pytest.raises(
        ConfigError, match=r"task: given Silent, which does not say how .*; write in it `def processor\(self\)`"
    ):
        kindling.load(trained_task("silent").folder, device="cpu")


def test_a_checkpoint_that_lacks_what_it_is_made_of_is_told(tmp_path):
    class Lacking(Task):
        def processor(self) -> Processor:
            return RowsProcessor(self.facts["columns"], ["a"])

    with pytest.raises(CheckpointError, match=r"m\.ckpt: lacks 'columns', which Lacking\.processor asks for"):
        needed_processor_of(Lacking(torch.nn.Identity()), tmp_path / "m.ckpt")


@pytest.mark.parametrize("task", ["sum", "sign"])
def test_a_loaded_model_predicts_rows_of_any_form(trained_task, task):
    model = kindling.load(trained_task(task).folder, device="cpu")
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    named = [dict(zip(("width", "height", "depth"), row.tolist(), strict=True)) for row in rows]
    expected = model.predict(rows)
    assert [list(each) for each in expected] == [[column.name for column in model.processor.outputs]] * 5
    assert model.predict(named) == expected
    assert model.predict(row for row in named) == expected
    assert model.predict(rows.tolist()) == expected
    assert model.predict(named[0]) == model.predict(rows[0]) == model.predict(rows[0].tolist()) == expected[0]
    assert model.predict([]) == []
    with torch.inference_mode():
        outputs = model.net(torch.from_numpy(rows)).numpy()
    assert expected == [model.processor.write(each) for each in outputs]
    with pytest.raises(DataError, match=r"inputs\[1\]: column depth: given 'x'"):
        model.predict([named[0], named[1] | {"depth": "x"}])
    with pytest.raises(ConfigError, match="batch_size: given 0; allowed: 1 or more"):
        model.predict(named, batch_size=0)


def test_a_loaded_model_goes_on_with_prompts(trained_task):
    model = kindling.load(trained_task("next").folder, device="cpu")
    found = model.predict(["ab", "cd"], length=5, seed=3)
    assert [len(each) for each in found] == [5, 5]
    assert model.predict("cd", length=5, seed=3) == found[1]
    assert "".join(model.stream("cd", length=5, seed=3)) == found[1]
    with pytest.raises(DataError, match="given the characters 'Z'"):
        model.predict("Z")

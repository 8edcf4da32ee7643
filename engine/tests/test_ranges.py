"""A range or a choice that stands at an argument is checked, whoever's class it is and however it is spelt."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MultipleOf

from bench_root import CONFIGS
from kindling.cli.entry import compose
from kindling.config import aliases, signatures, sources
from kindling.config.bounds import Multiple, Range, bound
from kindling.config.check import annotations
from kindling.config.check.schema import _arguments as schema_of_arguments
from kindling.config.check.values import TYPES, annotation_of
from kindling.config.signatures import signature
from kindling.errors import ConfigError

BENCH = CONFIGS.parent / "src" / "bench"
RANGES = """
import annotated_types as at
from annotated_types import Ge, Interval
from typing import Annotated as A, Literal

LARGEST = 2**6
UNIT = Interval(ge=0, le=1)
Share = A[float, UNIT]
Renamed = Share
Heads = A[int, at.Ge(1), at.Le(LARGEST)]
Kind = Literal["fast", "exact"]
"""
NET = """
import bench.own
import bench.own.shares as shares
import annotated_types
from annotated_types import Ge, Gt, Lt, MultipleOf
from bench.models.cnn import CNN
from bench.own import Kind as K, Renamed
from bench.own.shares import *
from kindling.ranges import Probability
from typing import TYPE_CHECKING, Annotated, Literal, Optional

if TYPE_CHECKING:
    from bench.own import Heads as Number

Own = Annotated[float, Gt(0), Lt(1)]
Kinds = Literal[K, "none", -1]
Turning = "Turning | None"
Made = Annotated[int, Ge(len("abc"))]
if LARGEST > 3:
    Either = int
else:
    Either = Annotated[int, Ge(3)]


class Net(CNN):
    def __init__(self, x: {}, in_channels: int = 1, num_classes: int = 10):
        super().__init__(in_channels, num_classes, [8], 0.0)
"""
LEFT_OUT = [f"~model.{name}" for name in ("channels", "dropout", "norm", "checkpoint_activations")]
BAD_SHARE = "0 or more and 1 or less"

# An annotation, a right value, a wrong one, and what is said to be allowed.
ANSWERS = [
    ("Annotated[float, Ge(0)]", "0", "-1", "0 or more"),
    ("Annotated[float, Gt(gt=0)]", "0.1", "0", "more than 0"),
    ("Annotated[int, annotated_types.Interval(gt=-2, lt=2)]", "-1", "-2", "more than -2 and less than 2"),
    ("Annotated[int, Lt(5)]", "4", "5", "less than 5"),
    ("Annotated[int, MultipleOf(8)]", "16", "12", "a multiple of 8"),
    ("Probability", "1", "1.5", BAD_SHARE),
    ("'Probability'", "1", "1.5", BAD_SHARE),
    ("Own", "0.5", "1", "more than 0 and less than 1"),
    ("Annotated[Probability, Lt(1)]", "0", "1", "0 or more and less than 1"),
    ("Annotated[Probability | None, Lt(1)]", "null", "1", "0 or more and less than 1"),
    ("Share", "0.5", "-1", BAD_SHARE),
    ("Renamed", "0.5", "-1", BAD_SHARE),
    ("shares.Share", "0.5", "-1", BAD_SHARE),
    ("bench.own.Share", "0.5", "-1", BAD_SHARE),
    ("bench.own.shares.Renamed", "0.5", "-1", BAD_SHARE),
    ("Number", "64", "65", "1 or more and 64 or less"),
    ("Share | None", "null", "2", BAD_SHARE),
    ("Optional[Share]", "null", "2", BAD_SHARE),
    ("list[Share]", "[0,1]", "[0,2]", BAD_SHARE),
    ("tuple[Share, Number]", "[0.5,2]", "[0.5,0]", "1 or more and 64 or less"),
    ("list[Share] | Number", "2", "0", "1 or more and 64 or less"),
    ("Annotated[int, Ge(5)] | Probability", "1", "2", "5 or more or 0 or more and 1 or less"),
    ("dict[str, int] | Share", "{a: 5}", "5", BAD_SHARE),
    ("K", "exact", "exat", "fast or exact; did you mean exact?"),
    ("K | None", "null", "fats", "fast or exact or null; did you mean fast?"),
    ("shares.Kind", "fast", "slow", "fast or exact"),
    ("Kinds", "-1", "-2", "fast or exact or none or -1"),
]


@pytest.fixture(scope="module")
def answer():
    """What is said of an argument of a class of one's own, with an annotation."""
    (BENCH / "own").mkdir()
    (BENCH / "own" / "shares.py").write_text(RANGES)
    (BENCH / "own" / "__init__.py").write_text("from .shares import Heads, Kind, Renamed, Share\n")
    file = BENCH / "own_range.py"

    def run(annotation: str, value: str, *others: str) -> str:
        file.write_text(NET.replace("{}", annotation))
        clear_caches()
        try:
            compose(["model._target_=bench.own_range.Net", *LEFT_OUT, f"+model.x={value}", *others])
        except ConfigError as refused:
            return str(refused)
        return ""

    yield run
    file.unlink()
    shutil.rmtree(BENCH / "own")
    clear_caches()


def clear_caches():
    for function in (*vars(signatures).values(), *vars(sources).values()):
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture(scope="module")
def refused(answer):
    """What is said of a class whose arguments are all of ANSWERS, each with a wrong value; the right ones are taken."""

    def say(values: list[str]) -> str:
        arguments = ", x".join(f"{index}: {annotation}" for index, (annotation, *_) in enumerate(ANSWERS) if index)
        others = [f"+model.x{index}={value}" for index, value in enumerate(values) if index]
        return answer(f"{ANSWERS[0][0]}, x{arguments}", values[0], *others)

    assert say([right for _, right, *_ in ANSWERS]) == ""
    return say([wrong for *_, wrong, _ in ANSWERS])


@pytest.mark.parametrize("index", range(len(ANSWERS)), ids=[annotation for annotation, *_ in ANSWERS])
def test_an_argument_of_ones_own_gets_the_answer_that_its_annotation_gives(refused, index):
    (line,) = re.findall(rf"^model\.x{index or ''}: given .*", refused, re.MULTILINE)
    assert f"allowed: {ANSWERS[index][3]}" in line


@pytest.mark.parametrize(
    "annotation", ["Turning", "Made", "Either", "Absent", "shares.Absent", "'a b'", "Annotated[int, *M]"]
)
def test_what_is_known_only_at_run_time_is_not_guessed(answer, annotation):
    assert answer(annotation, "-1000000") == ""


def test_a_type_is_checked_before_its_range(answer):
    assert "given 'x'; allowed: a number" in answer("Probability", "x")
    assert "given 1.5; allowed: a whole number" in answer("Number", "1.5")


def test_the_module_of_a_range_is_not_imported_to_be_read(answer):
    assert answer("Share", "2")
    assert "bench.own.shares" not in sys.modules
    assert "bench.own_range" not in sys.modules


def test_an_editor_gets_the_same_range(answer):
    answer("list[Number] | Own | K", "1")
    (numbers, share, kind, *_) = schema_of_arguments("bench.own_range.Net")["properties"]["x"]["anyOf"]
    assert numbers["items"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 64}
    assert share == {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
    assert kind == {"enum": ["fast", "exact"]}


def test_a_bound_is_read_as_annotated_types_means_it():
    assert bound("Interval", [], {"ge": Interval(ge=0).ge, "lt": 1}) == Range(0, 1, open="high")
    for made, name in ((Ge(2), "ge"), (Gt(2), "gt"), (Le(2), "le"), (Lt(2), "lt"), (MultipleOf(2), "multiple_of")):
        positional = bound(type(made).__name__, [getattr(made, name)], {})
        assert positional
        assert positional == bound(type(made).__name__, [], {name: 2})
        value = {"ge": 1, "gt": 2, "le": 3, "lt": 2, "multiple_of": 3}[name]
        assert value not in positional
        assert 4 in positional or name in ("le", "lt")
    assert bound("Len", [2], {}) is None
    assert bound("Interval", [1], {}) is None
    assert [4, 6] in Multiple(2)


def test_each_annotation_of_the_table_of_keys_is_read():
    assert len(TYPES) > 50
    for path in TYPES:
        found = annotation_of(path)
        assert found is not aliases.ANY, path
        assert "Any" not in annotations.describe(found), path


def test_the_check_of_a_command_does_not_import_what_names_the_ranges():
    code = "import kindling.config.check.command_line, sys; print({'annotated_types', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=python_path())
    assert done.stdout.strip() == "set()"


def python_path() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(aliases.__file__).parents[2])}


def test_all_of_our_arguments_that_take_numbers_from_a_config_have_a_range():
    found = signature("kindling.training.muon.Muon")
    assert found
    unbounded = [name for name, each in found.annotations.items() if annotations.beyond(each, -1e9) == ""]
    assert unbounded == ["params", "nesterov", "num_iterations", "normalize_weights"], "no number, or a whole one"

"""Parts of the engine and examples can be left out: nothing outside needs them, and nothing names them any more."""

import re
import runpy
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from kindling.config import project

HERE = project.current()
ROOT = HERE.root
sys.path.insert(0, str(ROOT / "scripts"))
examples, left_out, parts = (import_module(f"additions.{name}") for name in ("examples", "left_out", "parts"))
without = import_module("additions.trimming").without

TABLE = {name: part for name, part in parts.table().items() if "=" not in name}
THERE = [name for name in TABLE if name not in left_out.before(ROOT)]
NOTHING = re.compile("(?!)")


def deleted(name: str) -> list[Path]:
    return [path for pattern in TABLE[name].files for path in ROOT.glob(pattern)]


@pytest.mark.parametrize("name", THERE if (ROOT / "engine").is_dir() and not left_out.before(ROOT) else [])
def test_each_file_and_each_cut_of_a_part_is_there(name):
    assert [pattern for pattern in TABLE[name].files if not list(ROOT.glob(pattern))] == []
    for file, patterns in TABLE[name].cuts.items():
        texts = [each.read_text("utf-8") for each in (pages() if file == "*.md" else ROOT.glob(file))]
        assert [each for each in patterns if not any(re.search(each, text) for text in texts)] == []


@pytest.mark.parametrize("name", THERE)
def test_no_module_outside_of_a_part_imports_it_as_it_is_imported_itself(name):
    gone = deleted(name)
    names = parts.modules(ROOT, gone)
    last = {each.rpartition(".")[2] for each in names}
    wrong = []
    for file in (ROOT / "engine" / "src").rglob("*.py"):
        inside = any(path == file or path in file.parents for path in gone)
        # Only what names it need be parsed.
        if not inside and any(word in file.read_text("utf-8") for word in last):
            wrong += [f"{file.name}: {each}" for each in parts.imported(file) if parts.is_in(each, names)]
    assert wrong == []


@pytest.mark.parametrize("name", THERE)
def test_nothing_names_a_part_that_is_left_out(name):
    gone = deleted(name)
    left = dict(parts.rewritten(ROOT, [TABLE[name]], gone))
    words, named = parts.any_of(TABLE[name].words), []
    others = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "engine" / "pyproject.toml", ROOT / ".ci" / "run"]
    for file in [*pages(), *others, *(ROOT / "configs").rglob("*.yaml")]:
        if file.is_file() and not any(path == file or path in file.parents for path in gone):
            lines = left.get(file, file.read_text("utf-8")).splitlines()
            named += [f"{file.name}: {line}" for line in lines if words.search(line)]
    assert [line for line in named if "without = " not in line] == []


def pages() -> list[Path]:
    return [file for pattern in parts.PAGES for file in ROOT.glob(pattern) if file.name != parts.HISTORY]


PAGE = """# Page

See it at once:

    python serve.py run=x
    python serve.py run=y \\
        port=0

One stays. It is served by `serve.py`, and more. Two stays.

- `serve.py` alone
- both, `train.py` and `serve.py`

## Use

| command | what |
|---|---|
| `serve.py` | a server |
| `a.py`, `serve.py` and `b.py` | commands; `serve.py` is one |

| where | how fast |
|---|---|
| `serve.py` | very |

Between tables.

## Served

All of it.

### Too

And this.

## After

| | |
|---|---|
| `serve.py` | all of a table |

```python
serve = "kept"
```
"""
LEFT = """# Page

One stays. Two stays.

- both, `train.py`

## Use

| command | what |
|---|---|
| `a.py` and `b.py` | commands |

Between tables.

## After

```python
serve = "kept"
```
"""


def test_a_page_loses_sentences_commands_rows_words_of_lists_and_sections_and_nothing_else():
    assert without(PAGE, re.compile(r"serve\.py"), re.compile("^## Served")) == LEFT
    assert without(PAGE, NOTHING, NOTHING) == PAGE


@pytest.mark.parametrize("file", pages(), ids=lambda file: file.name)
def test_a_page_that_loses_nothing_is_as_it_was(file):
    assert without(file.read_text("utf-8"), NOTHING, NOTHING) == file.read_text("utf-8")


def test_a_test_that_needs_a_part_goes_with_it_alone(tmp_path):
    file = tmp_path / "test_a.py"
    mark = "mark.needs"
    marked = f'@pytest.{mark}("serving", "sweeps")\n@pytest.mark.slow\ndef test_b():\n    pass\n\n\n'
    before, after = "import pytest\n\n\ndef test_a():\n    pass\n\n\n", "def test_c():\n    pass\n"
    file.write_text(before + marked + after)
    assert parts.cut_marked(file, ["debug"]) == []
    assert file.read_text() == before + marked + after
    assert parts.cut_marked(file, ["sweeps"]) == ["test_b"]
    assert file.read_text() == before + after


def test_every_mark_names_parts_that_there_are():
    marks = re.compile(r"mark\.needs\((.*?)\)")
    found = [each for file in parts.followers(ROOT) for each in marks.findall(file.read_text("utf-8"))]
    assert {name for each in found for name in re.findall(r'"(\w+)"', each)} <= TABLE.keys()


@pytest.fixture
def two_kinds(tmp_path, monkeypatch) -> Path:
    """A project with words, which its train.yaml chooses, and with rows."""
    files = {
        "src/zq_fits/__init__.py": "class Words:\n    def example(self):\n        self.config['data']['block']\n",
        "configs/train.yaml": "defaults:\n  - task: words\n  - data: text\n  - model: rnn\n  - experiment: null\n",
        "configs/task/words.yaml": "_target_: zq_fits.Words\n",
        "configs/task/rows.yaml": "_target_: zq_fits.Rows\nstd: ${data.std}\n",
        "configs/data/text.yaml": "_target_: zq_fits.Text\nblock: 1\nvocabulary: 9\n",
        "configs/data/table.yaml": "_target_: zq_fits.Table\nstd: 1\n",
        "configs/model/rnn.yaml": "_target_: zq_fits.RNN\nnum: ${data.vocabulary}\n",
        "configs/model/line.yaml": "_target_: zq_fits.Line\nstd: ${data.std}\n",
        "configs/experiment/table.yaml": "defaults: [override /task: rows, override /data: table]\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    here = SimpleNamespace(root=tmp_path, configs=tmp_path / "configs", package="zq_fits")
    monkeypatch.setattr(project, "current", lambda: here)
    monkeypatch.syspath_prepend(tmp_path / "src")
    return tmp_path


ROWS = [("task", "rows"), ("data", "table"), ("model", "line")]


@pytest.mark.usefixtures("two_kinds")
@pytest.mark.parametrize("gone", ROWS, ids="=".join)
def test_an_example_takes_along_what_fits_nothing_without_it(gone):
    assert examples.with_what_needs_them([gone]) == {*ROWS, ("experiment", "table")}


def test_the_help_of_a_command_shows_no_example_that_is_gone(two_kinds):
    train = two_kinds / "configs" / "train.yaml"
    before = train.read_text()
    shown = [f"        python train.py {line}\n" for line in ("seed=1", "model=line", "resume=logs/table/x", "table=1")]
    train.write_text(before + "hydra:\n    help: |\n" + "".join(shown))
    left = dict(parts.rewritten(two_kinds, [examples.part_of([("model", "line")], {})], []))
    assert left[train].endswith(shown[0] + shown[3])


def test_a_row_of_a_table_that_is_about_an_example_goes_with_it():
    gone = parts.any_of(examples.words_of([("experiment", "vit")]))
    page = "| | s |\n|---|---|\n| cnn, `onnx` | 1 |\n| vit, `onnx` | 2 |\n"
    assert without(page, gone, NOTHING) == page.replace("| vit, `onnx` | 2 |\n", "")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("servnig", "did you mean serving"),
        ("model=cnn", "which configs/train.yaml and `make train` begin with"),
        ("model=no_such", "--without: given model=no_such; allowed: an example"),
    ],
)
def test_what_cannot_be_left_out_is_refused_in_one_line(capsys, given, told):
    rename = runpy.run_path(str(ROOT / "scripts" / "rename.py"))["main"]
    assert rename([HERE.package, "--without", given], ROOT) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line

"""scripts/new.py: what it adds passes the suite as it is; what cannot be right is refused, and nothing written."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from kindling.config import project
from kindling.config.check import fits
from kindling.config.check.files import ConfigFiles

HERE = project.current()
sys.path.insert(0, str(HERE.root / "scripts"))
NEW = runpy.run_path(str(HERE.root / "scripts" / "new.py"))
GROUPS = ConfigFiles(HERE.configs).groups
KINDS = ("task", "model", "data", "callback", "experiment")
# The others have the same tests in the long run.
QUICK = [each if each in ("task", "experiment") else pytest.param(each, marks=pytest.mark.slow) for each in KINDS]
FOLDERS = {"task": "tasks", "model": "models", "data": "data", "callback": "callbacks"}
OTHERS = [(kind, other) for kind in KINDS for other in GROUPS["callbacks" if kind == "callback" else kind]]
TOY = '''"""A zq_toy."""

from torch import Tensor, nn


class ZqToy(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.head = nn.LazyLinear(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))
'''
TOY_CONFIG = "_target_: {}.models.zq_toy.ZqToy # zq_toy.csv\nnum_classes: 3 # model=zq_toy\n"
TOY_TESTS = """from {}.models.zq_toy import ZqToy


def zq_toy() -> ZqToy:
    return ZqToy(3)


def test_zq_toy_has_a_head_that_zq_toy_csv_does_not_change():
    assert zq_toy().head, "zq_toy.csv"


def test_the_recipe_learns(train_run):
    train_run("experiment=zq_toy")
"""


def copied(folder: Path) -> Path:
    """The project without its engine, its runs and this file."""
    root, leave_out = folder / "copy", shutil.ignore_patterns("__pycache__", "test_new.py", "golden")
    for name in ("src", "configs", "tests", "scripts", "docs"):
        shutil.copytree(HERE.root / name, root / name, ignore=leave_out)
    for file in (file for end in ("toml", "py", "md", "txt") for file in HERE.root.glob(f"*.{end}")):
        shutil.copy(file, root)
    return root


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copied(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with a zq_toy, for tests that leave what is there as it is."""
    return with_zq_toy(copied(tmp_path_factory.mktemp("shared")))


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that ruff is not asked to format, which takes two processes; one test is about that."""
    assert "tidy" in NEW
    monkeypatch.setitem(NEW["main"].__globals__, "tidy", lambda *_: [])


def add(root: Path, line: str) -> int:
    try:
        return NEW["main"](line.split(), root)
    finally:
        project.use(HERE.root)


def contents(root: Path) -> dict[str, bytes]:
    files = (file for file in root.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def code_of(root: Path, kind: str, name: str) -> Path:
    return root / "src" / HERE.package / FOLDERS[kind] / f"{name}.py"


def config_of(root: Path, kind: str, name: str) -> Path:
    return root / "configs" / ("callbacks" if kind == "callback" else kind) / f"{name}.yaml"


def in_copy(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    places = [root / "src", HERE.root / "src", HERE.root / "engine" / "src", *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))}
    return subprocess.run([sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True)


def suite(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return in_copy(root, "-m", "pytest", "-p", "no:cacheprovider", *arguments)


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize("kind", QUICK)
def test_it_says_what_it_wrote_and_what_to_type_next(copy, capsys, kind):
    before = contents(copy)
    assert add(copy, f"{kind} zq_thing_2") == 0
    said = capsys.readouterr().out
    new = said_order(contents(copy).keys() - before.keys())
    assert re.findall(r"^wrote (.+)$", said, re.MULTILINE) == [*new, "docs/files.md"]
    assert f"={'[default,zq_thing_2]' if kind == 'callback' else 'zq_thing_2'}" in said
    assert "  pytest tests/test_" in said


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize("kind", QUICK)
def test_the_docs_get_a_line_of_what_is_new_and_keep_the_others(copy, kind):
    before = (copy / "docs" / "files.md").read_text().splitlines()
    add(copy, f"{kind} zq_thing_2")
    after = (copy / "docs" / "files.md").read_text().splitlines()
    (line,) = [each for each in after if each not in before]
    choice = "callbacks=[default,zq_thing_2]" if kind == "callback" else f"{kind}=zq_thing_2"
    assert line.startswith(f"| {kind} | `{choice}` | ")
    assert len(line.split(" | ")[-1]) > 20, "what it says of itself"
    assert [each for each in after if each != line] == before


def test_the_list_of_the_files_page_is_that_of_today():
    docs = sys.modules["additions.docs"]
    assert docs.table(HERE) in (HERE.root / docs.PAGE).read_text(), "python scripts/new.py writes it"


def said_order(files: set[str]) -> list[str]:
    return sorted(files, key=lambda file: ("src", "configs", "tests").index(file.partition("/")[0]))


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize("kind", [each for each in QUICK if each != "experiment"])
def test_a_starters_config_names_each_argument_of_its_class(copy, kind):
    add(copy, f"{kind} zq_thing_2")
    config = yaml.safe_load(config_of(copy, kind, "zq_thing_2").read_text())
    node = config["zq_thing_2"] if kind == "callback" else config
    assert node["_target_"] == f"{HERE.package}.{FOLDERS[kind]}.zq_thing_2.ZqThing2"
    found = ast.parse(code_of(copy, kind, "zq_thing_2").read_text())
    inits = [each.args for each in ast.walk(found) if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    names = [each.arg for init in inits for each in (*init.args, *init.kwonlyargs)][1:]
    assert set(names) <= node.keys()
    assert any(init.kwarg for init in inits) or set(names) == node.keys() - {"_target_"}
    assert not any(init.defaults for init in inits), "a default stands in the config"


@pytest.mark.slow
def test_what_it_writes_is_formatted_and_clean(copy):
    before = contents(copy)
    for kind in KINDS:
        assert add(copy, f"{kind} a_name_that_makes_lines_as_long_as_can_{kind[0]}") == 0
    files = [file for file in contents(copy).keys() - before.keys() if file.endswith(".py")]
    assert len(files) == 8
    for command in (["check"], ["format", "--check"]):
        done = in_copy(copy, "-m", "ruff", *command, *files)
        assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize(
    ("kind", "other"),
    [
        # One of each kind is quick.
        pytest.param(*pair, marks=[pytest.mark.slow] if before[:1] == pair[:1] else [])
        for before, pair in pairwise([(), *OTHERS])
    ],
)
def test_a_copy_names_itself_and_code_that_is_there(shared, capsys, kind, other):
    before, name = contents(shared), f"new_{kind}_{other}"
    assert add(shared, f"{kind} {name} --like {other}") == 0
    config = config_of(shared, kind, name).read_text()
    assert not re.search(rf"\b{kind}={other}\b", config)
    for module, class_name in re.findall(rf"_target_: ({HERE.package}\.[\w.]+)\.(\w+)", config):
        code = (shared / "src" / Path(*module.split("."))).with_suffix(".py").read_text()
        assert re.search(rf"^(class|def) {class_name}\b", code, re.MULTILINE)
    has_code = kind in FOLDERS and code_of(shared, kind, name).is_file()
    assert has_code or kind == "experiment" or "the config alone" in capsys.readouterr().out
    before.pop("docs/files.md")
    assert before.items() <= contents(shared).items(), "what was there is as it was"


def test_a_copied_recipe_has_no_result_yet(copy):
    text = (
        "# @package _global_\n# command:  python train.py experiment=old\n# result:   0.9\n# cost:     1 s\nseed: 1\n"
    )
    config_of(copy, "experiment", "old").write_text(text)
    assert add(copy, "experiment zq_thing_2 --like old") == 0
    assert config_of(copy, "experiment", "zq_thing_2").read_text() == (
        "# @package _global_\n# command:  python train.py experiment=zq_thing_2\n# result:\n# cost:\nseed: 1\n"
    )


@pytest.fixture
def zq_toy(copy: Path) -> Path:
    return with_zq_toy(copy)


def with_zq_toy(copy: Path) -> Path:
    """A copy with a model that reads a file of its own name, and a test of it and of its recipe."""
    code_of(copy, "model", "zq_toy").write_text(TOY)
    config_of(copy, "model", "zq_toy").write_text(TOY_CONFIG.format(HERE.package))
    (copy / "tests" / "test_zq_toy.py").write_text(TOY_TESTS.format(HERE.package))
    code_of(copy, "model", "zq_lone").write_text(TOY)
    return copy


def test_a_copy_renames_module_class_choice_and_helpers_and_no_file(zq_toy, capsys):
    assert add(zq_toy, "model zq_thing_2 --like zq_toy") == 0
    assert code_of(zq_toy, "model", "zq_thing_2").read_text() == TOY.replace("ZqToy", "ZqThing2")
    assert config_of(zq_toy, "model", "zq_thing_2").read_text() == (
        f"_target_: {HERE.package}.models.zq_thing_2.ZqThing2 # zq_toy.csv\nnum_classes: 3 # model=zq_thing_2\n"
    )
    tests = (zq_toy / "tests" / "test_zq_thing_2.py").read_text()
    assert f"from {HERE.package}.models.zq_thing_2 import ZqThing2\n" in tests
    assert "def zq_thing_2() -> ZqThing2:\n    return ZqThing2(3)\n" in tests
    assert 'assert zq_thing_2().head, "zq_toy.csv"' in tests
    assert "experiment=zq_toy" not in tests
    assert "left out, as it tests a recipe: test_the_recipe_learns" in capsys.readouterr().out


def test_of_a_class_that_several_options_share_the_config_alone_is_copied(zq_toy, capsys):
    config_of(zq_toy, "model", "zq_large").write_text(TOY_CONFIG.format(HERE.package))
    assert add(zq_toy, "model zq_thing_2 --like zq_large") == 0
    assert not code_of(zq_toy, "model", "zq_thing_2").exists()
    said = capsys.readouterr().out
    assert f"the config alone: its class {HERE.package}.models.zq_toy.ZqToy stays the same, as zq_toy" in said


def test_a_project_without_models_gets_its_first(copy):
    shutil.rmtree(code_of(copy, "model", "x").parent)
    shutil.rmtree(config_of(copy, "model", "x").parent)
    assert add(copy, "model zq_thing_2") == 0
    assert (code_of(copy, "model", "x").parent / "__init__.py").read_text() == ""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("thing thing", r"kind: given 'thing'; allowed: task, model, data, callback, experiment"),
        ("modle thing", r"kind: given 'modle'; .*; did you mean model\?"),
        ("", r"the following arguments are required: KIND, NAME; see --help|.*KIND; see --help"),
        ("model", r"name: given ''; allowed: at most 40 small letters, digits and _, a letter first"),
        ("model _thing", r"name: given '_thing'; .*; did you mean thing\?"),
        ("model 2things", r"name: given '2things'; allowed: at most 40 small letters.*"),
        ("model MyNet-2", r"name: given 'MyNet-2'; .*; did you mean my_net_2\?"),
        ("model ../thing", r"name: given '\.\./thing'; .*; did you mean thing\?"),
        (f"model {'a' * 41}", r"name: given 'a+'; .*"),
        ("model class", r"name: given 'class', a word of Python or YAML; allowed: another name"),
        ("data null", r"name: given 'null', a word of Python or YAML; .*"),
        ("data random", r"name: given 'random', which imports something else already; .*"),
        ("model torch", r"name: given 'torch', which imports something else already; .*"),
        ("model kindling", r"name: given 'kindling', which imports something else already; .*"),
        (f"data {HERE.package}", r"name: given '\w+', which imports something else already; .*"),
        ("model tensor", r"name: given 'tensor', whose class Tensor is in that code; .*"),
        ("model models", r"name: given 'models', which is taken by tests/test_models\.py; .*"),
        ("experiment default", r"name: given 'default', whose runs would lie among others in logs/default; .*"),
        ("experiment sweeps", r"name: given 'sweeps', whose runs would lie among others in logs/sweeps; .*"),
        ("callback early_stopping", r"name: given .*, which is taken by configs/callbacks/default\.yaml.*"),
        ("model zq_thing --like zq_tyo", r"--like: given 'zq_tyo'; allowed: .*; did you mean zq_toy\?"),
        (
            "model zq_thing --like zq_lone",
            r"--like: given 'zq_lone', which has code and no configs/model/zq_lone\..*",
        ),
        ("experiment thing --lke zq_toy", r"unrecognized arguments: --lke zq_toy; see --help"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line_and_nothing_is_written(shared, capsys, line, told):
    before = contents(shared)
    assert add(shared, line) == 2
    assert re.fullmatch(rf"error: ({told})\n", capsys.readouterr().err)
    assert contents(shared) == before


def test_a_taken_name_and_a_wrong_other_are_told_together(shared, capsys):
    assert add(shared, "model zq_toy --like nothing_like_it") == 2
    taken, like = capsys.readouterr().err.splitlines()
    files = f"src/{HERE.package}/models/zq_toy.py, configs/model/zq_toy.yaml, tests/test_zq_toy.py"
    assert taken == f"error: name: given 'zq_toy', which is taken by {files}; allowed: a name that is free"
    assert like.startswith("error: --like: given 'nothing_like_it'; allowed: ")


def test_if_one_file_cannot_be_written_none_is(tmp_path):
    (tmp_path / "last").write_text("mine")
    with pytest.raises(FileExistsError):
        NEW["write"]({tmp_path / "new" / "inner" / "first": "", tmp_path / "second": "", tmp_path / "last": ""})
    assert contents(tmp_path) == {"last": b"mine"}
    assert not (tmp_path / "new").exists()


def test_what_is_new_is_to_be_tried_with_what_the_one_that_it_is_like_goes_with(copy, capsys):
    for other in ("regression", "zq_task"):
        config_of(copy, "task", other).write_text("_target_: x.Y\n")
    for kind, other in (("data", "zq_data"), ("model", "zq_toy")):
        config_of(copy, kind, other).write_text("_target_: x.Y\n")
    recipe = "defaults:\n  - override /task: zq_task\n  - override /data: zq_data\n  - override /model: zq_toy\n"
    config_of(copy, "experiment", "zq_recipe").write_text(recipe)
    assert add(copy, "task zq_thing_2 --like zq_task") == 0
    said = capsys.readouterr().out
    assert "\n  python train.py task=zq_thing_2 data=zq_data model=zq_toy trainer." in said
    assert (
        "\n  python scripts/new.py experiment my_zq_thing_2 --task zq_thing_2 --data zq_data --model zq_toy\n" in said
    )
    assert add(copy, "model zq_thing_4 --like zq_toy") == 0
    assert "\n  python train.py model=zq_thing_4 task=zq_task data=zq_data trainer." in capsys.readouterr().out
    config_of(copy, "experiment", "zq_recipe").write_text("seed: 1\n")
    assert add(copy, "task zq_thing_3 --like zq_task") == 0
    assert "\n  python train.py task=zq_thing_3 trainer." in capsys.readouterr().out


@pytest.mark.usefixtures("as_it_is")
def test_a_task_from_the_starter_is_tried_with_what_its_step_fits_or_with_names_to_fill_in(copy, capsys):
    for recipe in (copy / "configs" / "experiment").glob("*.yaml"):
        recipe.unlink()
    assert add(copy, "task zq_thing_2") == 0
    assert "task=zq_thing_2 data=DATA model=MODEL    # those that its step fits" in capsys.readouterr().out
    for group, name in (("task", "regression"), ("data", "zq_data"), ("model", "zq_toy")):
        config_of(copy, group, name).write_text("_target_: x.Y\n")
    recipe = "defaults:\n  - override /task: regression\n  - override /data: zq_data\n  - override /model: zq_toy\n"
    config_of(copy, "experiment", "zq_recipe").write_text(recipe)
    assert add(copy, "task zq_thing_3") == 0
    said = capsys.readouterr().out
    assert "task=zq_thing_3 data=zq_data model=zq_toy trainer.max_epochs=1    # what the starter's step fits" in said


def test_a_recipe_of_data_whose_path_is_open_is_tried_with_a_path(copy, capsys):
    config_of(copy, "data", "zq_data").write_text("_target_: x.Y\nnum_classes: 3\nroot: ???\n")
    config_of(copy, "model", "zq_model").write_text("_target_: x.Y\nn: ${data.num_classes}\n")
    assert add(copy, "experiment zq_thing_2 --data zq_data --model zq_model") == 0
    said = capsys.readouterr().out
    assert "python train.py experiment=zq_thing_2 data.root=PATH trainer.max_epochs=1    # or say it in" in said
    assert "python train.py -m experiment=zq_thing_2 data.root=PATH seed=" in said
    given = config_of(copy, "experiment", "zq_thing_2")
    given.write_text(given.read_text() + "data:\n  root: data/raw\n")
    assert add(copy, "experiment zq_thing_3 --like zq_thing_2") == 0
    assert "PATH" not in capsys.readouterr().out


def recipe_of(root: Path, name: str) -> dict[str, str]:
    return fits.chosen_by(config_of(root, "experiment", name))


def with_own_kind(root: Path) -> Path:
    """A task, data and a model that go with each other alone, and a module that takes neither net nor optimizer."""
    for kind, text in (
        ("task", "_target_: x.Y\nn: ${data.zq_size}\n"),
        ("data", "_target_: x.Y\nzq_size: 3\n"),
        ("model", "_target_: x.Y\nn: ${data.zq_size}\n"),
    ):
        config_of(root, kind, f"zq_own_{kind}").write_text(text)
    config_of(root, "task", "zq_alone").write_text("_target_: lightning.pytorch.LightningModule\n")
    return root


def test_a_recipe_names_the_task_the_data_and_the_model_that_are_asked_for(copy):
    with_own_kind(copy)
    own = {"task": "zq_own_task", "data": "zq_own_data", "model": "zq_own_model"}
    assert add(copy, "experiment zq_all --task zq_own_task --data zq_own_data --model zq_own_model") == 0
    assert recipe_of(copy, "zq_all") == own
    assert add(copy, "experiment zq_part --task zq_own_task --model zq_own_model") == 0
    assert recipe_of(copy, "zq_part") == own, "the only data that fits"
    config_of(copy, "experiment", "zq_part").unlink()
    assert add(copy, "experiment zq_like --task zq_own_task") == 0
    assert recipe_of(copy, "zq_like") == own, "as another recipe says"
    assert add(copy, "experiment zq_base") == 0
    assert "task" not in recipe_of(copy, "zq_base"), "that of train.yaml"


def test_a_recipe_of_new_data_and_a_new_model_has_the_task_of_the_main_config_though_others_fit(copy):
    """A task that refers to nothing of the data fits any."""
    config_of(copy, "task", "zq_any").write_text("_target_: x.Y\n")
    config_of(copy, "data", "zq_data").write_text("_target_: x.Y\nnum_classes: 3\n")
    config_of(copy, "model", "zq_model").write_text("_target_: x.Y\nn: ${data.num_classes}\n")
    assert add(copy, "experiment zq_thing_2 --data zq_data --model zq_model") == 0
    assert recipe_of(copy, "zq_thing_2") == {"data": "zq_data", "model": "zq_model"}


def test_a_recipe_of_a_module_that_takes_no_net_and_no_optimizer_asks_for_none(copy):
    with_own_kind(copy)
    assert add(copy, "experiment zq_thing_2 --task zq_alone --data zq_own_data") == 0
    nothing = {"model": "none", "optimizer": "none", "scheduler": "none"}
    assert recipe_of(copy, "zq_thing_2") == {"task": "zq_alone", "data": "zq_own_data", **nothing}
    assert "optimizer" not in yaml.safe_load(config_of(copy, "experiment", "zq_thing_2").read_text())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("experiment a --task zq_own_tsk", r"--task: given 'zq_own_tsk'; allowed: .*; did you mean zq_own_task\?"),
        ("experiment a --data zq_own_dta --model x", r"--data: given .*zq_own_data\?\nerror: --model: given 'x'; .*"),
        ("experiment a --data zq_own_data --task zq_alone --model zq_gone", r"--model: given 'zq_gone'; allowed: .*"),
        (
            "experiment a --like zq_recipe --task zq_own_task",
            r"--task: given beside --like; allowed: of an experiment .*",
        ),
        ("model a --task zq_own_task", r"--task: given to a model; allowed: of an experiment from the starter; .*"),
        ("experiment a --task zq_alone --model none", r"--data: given nothing; allowed: .*zq_own_data.*"),
        (
            "experiment a --task zq_own_task --data zq_bare --model zq_own_model",
            r"--data: given 'zq_bare', whose config does not say zq_size; allowed: data whose config says what "
            r"task zq_own_task and model zq_own_model refer to by \$\{data\.\.\.\}",
        ),
    ],
)
def test_parts_of_a_recipe_that_do_not_fit_are_refused_in_one_line_each(copy, capsys, line, told):
    with_own_kind(copy)
    config_of(copy, "data", "zq_bare").write_text("_target_: x.Y\n")
    config_of(copy, "experiment", "zq_recipe").write_text("seed: 1\n")
    before = contents(copy)
    assert add(copy, line) == 2
    assert re.fullmatch(rf"error: ({told})\n", capsys.readouterr().err)
    assert contents(copy) == before


@pytest.mark.slow
@pytest.mark.parametrize("other", [name for name in (None, *GROUPS["data"]) if name != "none"])
def test_the_command_that_new_data_is_to_be_tried_with_is_right_for_that_data(shared, capsys, make_tree, other):
    name = f"zq_tried_{other or 'starter'}"
    assert add(shared, f"data {name}" + (f" --like {other}" if other else "")) == 0
    (line,) = re.findall(r"^  python (train\.py .*)$", capsys.readouterr().out, re.MULTILINE)
    known = {"PATH": str(make_tree()), "YOUR.CLASS": f"{HERE.package}.models.zq_toy.ZqToy"}
    words = [re.sub("|".join(known), lambda found: known[found[0]], word) for word in line.split()]
    # What the placeholder's own class takes is not to be known.
    wanted = [] if "YOUR.CLASS" not in line else ["+data.train.num_classes=1"]
    done = in_copy(shared, *words, *wanted, "--cfg", "job")
    assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.slow
def test_a_project_with_one_more_of_each_passes_its_suite_and_trains_with_them(copy):
    for kind in KINDS:
        assert add(copy, f"{kind} zz_new_{kind}") == 0
    done = suite(copy, "tests", "--ignore=tests/test_readme.py")
    assert done.returncode == 0, done.stdout
    chosen = ["model=zz_new_model", "data=zz_new_data", "callbacks=[default,zz_new_callback]", "trainer.max_epochs=1"]
    done = in_copy(copy, "train.py", *chosen, "trainer=cpu", "logger=csv", f"paths.logs={copy}/logs")
    assert done.returncode == 0, done.stderr
    assert "weight_norm" in done.stdout


@pytest.mark.slow
def test_a_project_with_a_copy_of_each_passes_its_suite(copy):
    copies = [f"zz_{kind}_{other}" for kind, other in OTHERS]
    for name, (kind, other) in zip(copies, OTHERS, strict=True):
        assert add(copy, f"{kind} {name} --like {other}") == 0
    done = suite(copy, "tests", "-k", "zz_")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_project_whose_only_model_and_data_set_are_new_passes_its_suite(copy):
    # Tasks whose data is gone go too.
    for task in set(GROUPS["task"]) - {"plain", "classification"}:
        config_of(copy, "task", task).unlink()
    for kind in ("model", "data"):
        for place in (code_of(copy, kind, "x"), config_of(copy, kind, "x"), config_of(copy, "experiment", "x")):
            for file in [*place.parent.glob("*.py"), *place.parent.glob("*.yaml")]:
                if file.name not in ("__init__.py", "fake.yaml", "_images.yaml", "none.yaml"):
                    file.unlink()
    for kind in ("model", "data", "callback"):
        assert add(copy, f"{kind} zz_{kind}") == 0
    train = copy / "configs" / "train.yaml"
    text = re.sub(r"^  - model: \w+", "  - model: zz_model", train.read_text(), flags=re.MULTILINE)
    train.write_text(re.sub(r"^  - data: \w+", "  - data: zz_data", text, flags=re.MULTILINE))
    assert add(copy, "experiment zz_recipe") == 0
    done = suite(copy, "tests", "--ignore=tests/test_readme.py")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("task", "errors.square().mean()", "errors.square().sum()"),
        ("task", "{tuple(outputs.shape)} for", "{tuple(targets.shape)} for"),
        ("model", "features.flatten(2).max(2).values", "features.flatten(2)[..., 9]"),
        ("model", "nn.Linear(2 * width, num_classes)", "nn.Linear(2 * width, num_classes + 1)"),
        ("data", "val=everything.take(rest[val])", "val=everything.take(val)"),
        ("data", "return images, labels", "return images, labels.roll(1)"),
        ("data", "return images, labels", "return images, torch.zeros_like(labels)"),
        ("callback", "def on_train_epoch_end", "def on_train_epoch_ends"),
        ("callback", "if each.requires_grad]).norm()", "if each.requires_grad]).sum()"),
        ("experiment", "lr: 0.001", "lrr: 0.001"),
    ],
)
def test_a_bug_in_what_is_new_turns_a_test_of_its_own_red(copy, kind, right, wrong):
    add(copy, f"{kind} zq_thing_2")
    file = config_of(copy, kind, "zq_thing_2") if kind == "experiment" else code_of(copy, kind, "zq_thing_2")
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
    tests = ["tests/test_recipes.py", "-k", "zq_thing_2"] if kind == "experiment" else ["tests/test_zq_thing_2.py"]
    done = suite(copy, *tests)
    assert done.returncode == 1, done.stdout

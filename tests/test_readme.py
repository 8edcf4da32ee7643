"""What README, docs, Makefile and scripts/ say is true.

A command or a file of a recipe, a model or a data set that you have removed is skipped.
"""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from PIL import Image

from kindling import runs
from kindling.cli.entry import compose
from kindling.config import project
from kindling.config.check import fits
from kindling.config.check.command_line import Check, refuse
from kindling.config.check.files import ConfigFiles
from kindling.config.composition import Composer
from kindling.testing.links import dead_links

ROOT = project.current().root
GROUPS = ConfigFiles(ROOT / "configs").groups
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted(ROOT.glob("docs/*.md"))
FILES = [*sorted(ROOT.glob("*.md")), *ROOT.glob("data/README.md"), *DOCS]
SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
ENTRIES = "train|evaluate|predict|export|serve"
# Where a technique is used, or what it is used with.
NOT_TESTED = "-m|(experiment|weights|model|data|monitor)="
COMMAND = re.compile(rf"^    python ((?:{ENTRIES})\.py(?:\\\n|[^#\n])*?) *(?:#.*)?$", re.MULTILINE)
SHOWN = [COMMAND.findall(file.read_text(encoding="utf-8")) for file in FILES]
COMMANDS = list(dict.fromkeys(each for page in SHOWN for each in page))
OF_DOCS = [found for file in DOCS for found in re.findall(r"`python (train\.py [^`]*)`", file.read_text("utf-8"))]
# Those that train take the longest to check: the first of each page is in the short run.
FURTHER = [each for page in SHOWN for each in [each for each in page if each.startswith("train.py")][1:]]
LONG = list(dict.fromkeys([*FURTHER, *OF_DOCS]))
# In the right column of its tables; a sweep and what needs a run that is not there are left out.
SETTINGS = [
    code
    for row in re.findall(r"^\| .+ \| (.+) \|$", (ROOT / "docs" / "coming_from.md").read_text("utf-8"), re.MULTILINE)
    for code in re.findall(r"`((?!python|sweep=|resume=l|\w+\.py )[^`<(]*=[^`<(]*)`", row)
]


def removed(text: str) -> list[str]:
    """The choices `group=option` that a text names and that are no longer there."""
    chosen = re.findall(r"(?<![\w.-])(experiment|task|model|data)=(\w+)", text)
    return [f"{group}={option}" for group, option in chosen if option not in GROUPS.get(group, [])]


def overrides_of(command: str) -> tuple[str, list[str], bool]:
    """The stem of the entry, the overrides of a command, and whether it is a sweep."""
    script, *arguments = shlex.split(command.replace("\\\n", " ").replace("...", ""))
    overrides = [argument for argument in arguments if re.match(r"~|[^-].*=", argument)]
    return Path(script).stem, overrides, "-m" in arguments


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """What is written in place of a folder of images, of a run, and of code that is still to be written."""
    images, run = tmp_path / "images", tmp_path / "logs" / "cnn" / "run"
    for folder in (images / "cat", images / "dog", run):
        folder.mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "0.png")
    table = tmp_path / "labels.csv"
    table.write_text("path,label\ncat/0.png,cat\ndog/0.png,dog\n")
    (run / "run.json").write_text('{"status": "interrupted"}')
    code = {"my_task": "regression", r"my_project\.(gan\.GAN|rows\.Rows|lit\.\w+\.\w+)": "torch.nn.Identity"}
    return {"PATH": str(images), r"labels\.csv": str(table), r"logs/\w+/<run>": str(run), **code}


@pytest.mark.parametrize(
    "command",
    [*(each for each in COMMANDS if each not in LONG), *(pytest.param(each, marks=pytest.mark.slow) for each in LONG)],
)
def test_a_command_that_is_shown_composes(command, places, tmp_path):
    if command.startswith("runs.py"):
        assert runs.parser().parse_args(shlex.split(command, comments=True)[1:]).verb
        return
    entry, overrides, is_sweep = overrides_of(command)
    for shown, place in places.items():
        overrides = [re.sub(shown, place, override) for override in overrides]
    if gone := removed(" ".join(overrides)) if entry == "train" else []:
        pytest.skip(f"{gone[0]} is no longer there")
    if entry == "train":
        overrides.append(f"paths.logs={tmp_path / 'logs'}")
    if not is_sweep:
        assert compose(overrides, entry)
        return
    launcher = re.search(r"hydra/launcher=([a-z]+)", command)
    if launcher and not find_spec(f"hydra_plugins.hydra_{launcher[1]}_launcher"):
        pytest.skip(f"{launcher[1]} is not installed")
    with Composer(entry) as composer:
        check = Check(composer, sweep=True)
        refuse(check.run(overrides))
    assert check.configs


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_that_stand_for_those_of_another_tool_compose(settings, places, tmp_path):
    for shown, place in places.items():
        settings = re.sub(shown, place, settings)
    if gone := removed(settings):
        pytest.skip(f"{gone[0]} is no longer there")
    assert compose([*shlex.split(settings), f"paths.logs={tmp_path / 'logs'}"])


def test_a_newcomer_reaches_a_trained_model_by_line_20():
    assert "make train" in "\n".join(README.splitlines()[:20])


def test_the_run_that_is_shown_is_written_as_a_run_is_today():
    """Its numbers are a machine's; a README of yours may show none."""
    shown = re.search(r"^\$ python train\.py .*?(?=^```$)", README, re.MULTILINE | re.DOTALL)
    if not shown:
        pytest.skip("README.md shows no run")
    from kindling.callbacks.progress import header, row
    from kindling.training.machine import length_of
    from kindling.training.results import reached_limit

    lines = shown[0].splitlines()
    at, last = next((number, line) for number, line in enumerate(lines) if line.startswith("epoch "))
    names = next(line for line in lines[:at] if line.startswith(" ")).split()
    numbers, num_epochs = dict(zip(names, map(float, last.split()[2:]), strict=False)), int(last.split()[1]) + 1
    assert header(f"epoch {num_epochs - 1}", names) in lines
    assert last.startswith(row(f"epoch {num_epochs - 1}", numbers))
    assert length_of(num_epochs, 27) in lines
    trainer = SimpleNamespace(max_steps=-1, max_epochs=num_epochs, global_step=1, current_epoch=num_epochs)
    assert f"training ended {reached_limit(trainer)}" in lines


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_that_is_named_exists(file):
    missing = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if removed(line):
            continue
        in_root = re.findall(r"`((?:src|configs|tests|docs|scripts|engine)/[\w./-]*)`", line)
        # A project may install the engine instead.
        missing += [path for path in in_root if not (ROOT / path).exists() and (ROOT / path.split("/")[0]).exists()]
    # These are invented, or named as what is still to be written.
    assert [path for path in missing if not re.search(r"my_\w+\.|NAME", path)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_link_leads_nowhere(file):
    # A project may install the engine instead.
    gone = [] if (ROOT / "engine").is_dir() else ["engine/"]
    assert [each for each in dead_links(file) if not any(part in each for part in gone)] == []


def test_a_link_to_a_file_or_to_a_heading_that_is_not_there_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# What it's for\n")
    (tmp_path / "a.md").write_text("[](there.md) [b](there.md#what-its-for) [c](gone.md) [d](there.md#gone) [e](#gone)")
    assert dead_links(tmp_path / "a.md") == ["gone.md", "there.md#gone", "#gone"]


@pytest.mark.skipif(not (ROOT / "engine").is_dir(), reason="the tests are those of engine/")
def test_each_technique_is_tested_where_the_page_says():
    wrong, page = [], (ROOT / "docs" / "techniques.md").read_text("utf-8")
    for command, file in re.findall(r"^\| .+? \| `python train\.py (.+?)`.*\| `([\w/]+\.py)` \|$", page, re.MULTILINE):
        chosen = [word.split("=") for word in shlex.split(command) if not re.match(NOT_TESTED, word)]
        tested = (ROOT / file).read_text("utf-8") if (ROOT / file).is_file() else ""
        # Of a group its option: each test names callbacks.
        names = [re.findall(r"\w+", value) if key in GROUPS else [key.split(".")[-1]] for key, value in chosen]
        is_tested = all(re.search(rf"(?<!\w){name}(?!\w)", tested) for each in names for name in each)
        wrong += [] if removed(command) or is_tested else [(command, file)]
    assert wrong == []


def test_the_page_of_settings_names_options_that_are_there_and_all_of_the_engines():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.+) \|$", SETTINGS_PAGE, re.MULTILINE)
    shown = {group: row for groups, row in rows for group in re.findall(r"\w+", groups)}
    own = ("experiment", "task", "data", "model")
    for group in GROUPS:
        options = {each for each in GROUPS[group] if not each.startswith("_")}
        named = set(re.findall(r"`(\w+)`", shown[group]))
        assert group in own or group == "metrics" or options <= named | {"none"}, group


@pytest.mark.needs("serving")
def test_a_default_in_brackets_behind_a_setting_of_serve_is_that_of_its_config():
    text = (ROOT / "docs" / "serving.md").read_text("utf-8")
    config = yaml.safe_load((ROOT / "configs" / "serve.yaml").read_text("utf-8"))
    units = {"": 1, " million": 10**6, " MiB": 2**20}
    found = re.findall(r"`(\w+)` \(([\d,]+)( million| MiB|)(?!\.)\b", text)
    assert len(found) == 11
    assert {name: int(number.replace(",", "")) * units[unit] for name, number, unit in found} == {
        name: config[name] for name, *_ in found
    }


def test_every_target_of_make_is_described():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets
    for target in targets[1].split():
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target


# --- scripts/


@pytest.fixture
def results_table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return pytest.importorskip("results_table")


@pytest.fixture
def check_configs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return pytest.importorskip("check_configs")


def test_the_results_that_are_shown_are_those_of_the_recipes_headers(results_table):
    """To accept a change: python scripts/results_table.py --write"""
    shown = list(filter(None, map(results_table.BETWEEN.search, (README, SETTINGS_PAGE))))
    if not shown:
        pytest.skip("there is no table of results")
    for found in shown:
        rows = [row for row in found[0].splitlines() if row.startswith("|") and not removed(row)]
        assert rows == results_table.table().splitlines()


def test_a_recipe_without_a_result_is_left_out_of_the_table(results_table, monkeypatch, tmp_path):
    folder = tmp_path / "configs" / "experiment"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("# command:  python train.py experiment=a\n")
    (folder / "b.yaml").write_text("# command:  python train.py experiment=b\n# result:   0.9\n# cost:     1 s\n")
    monkeypatch.setattr(results_table, "PROJECT", tmp_path)
    assert results_table.table().splitlines()[2:] == ["| `python train.py experiment=b` | 0.9 | 1 s |"]


def test_the_table_stands_between_its_marks_and_nothing_else_changes(results_table, tmp_path):
    before, after = "# Mine\n\n<!-- results: how -->\n", "<!-- end of results -->\n\nmore\n"
    (tmp_path / "README.md").write_text(f"{before}| old |\n{after}")
    assert results_table.filled(tmp_path / "README.md") == f"{before}{results_table.table()}{after}"


def test_a_recipe_is_checked_with_each_data_set_and_each_model_that_fits(check_configs):
    names, datas = GROUPS["experiment"], fits.options("data")
    found = [set(lines) for lines in check_configs.combinations(names, datas)]
    for name in names:
        recipe = yaml.safe_load(fits.file_of("experiment", name).read_text(encoding="utf-8"))
        own = fits.chosen_by(ROOT / "configs" / "train.yaml") | fits.chosen_by(fits.file_of("experiment", name))
        of_its_kind = {data for data in datas if fits.go_together(own["task"], data, own["model"])}
        assert own["data"] in of_its_kind
        # Settings of a model fit that model alone.
        models = [""] if "model" in recipe else [f"model={each}" for each in fits.models_for(own["task"], own["data"])]
        for data in datas:
            lines = [each for each in found if {f"experiment={name}", f"data={data}"} <= each]
            chosen = [next((line for line in each if line.startswith("model=")), "") for each in lines]
            assert sorted(chosen) == (sorted(models) if data in of_its_kind else [])


def test_a_misfit_of_model_and_images_is_told_apart_from_a_mistake(check_configs):
    assert check_configs.check([]) == ""
    assert check_configs.check(["optimzer.lr=1"]).startswith("optimzer")
    if removed(lines := "model=vit data=fake"):
        pytest.skip("there is no such model to misfit")
    assert check_configs.check([*lines.split(), "data.image_size=27"]).startswith("misfit: model.patch_size: given 4")

"""What the README and the scripts say is true."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from kindling.config.entry import compose

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()
TECHNIQUES = (PROJECT / "docs" / "techniques.md").read_text()
COMMANDS = re.findall(
    r"^    python ((?:train|evaluate|predict|export|serve)\.py(?:\\\n|[^#\n])*)", README, re.MULTILINE
)
OF_TECHNIQUES = re.findall(r"`python (train\.py [^`]*)`", TECHNIQUES)


def test_the_readme_shows_commands():
    assert len(COMMANDS) + len(OF_TECHNIQUES) >= 50


@pytest.mark.parametrize(
    "command", [*COMMANDS, *(pytest.param(each, marks=pytest.mark.slow) for each in OF_TECHNIQUES)]
)
def test_a_command_of_the_readme_composes(command, tmp_path):
    script, *arguments = shlex.split(command.replace("\\\n", " ").replace("...", ""))
    overrides = [argument for argument in arguments if re.match(r"~|[^-].*=", argument)]
    if "-m" in arguments:  # a sweep: its first job
        overrides = [override.partition(",")[0] for override in overrides]
    images, run = tmp_path / "images", tmp_path / "logs" / "cnn" / "run"
    (images / "cat").mkdir(parents=True)
    Image.new("L", (8, 8)).save(images / "cat" / "0.png")
    run.mkdir(parents=True)
    (run / "run.json").write_text('{"status": "interrupted"}')
    overrides = [o.replace("PATH", str(images)).replace("logs/cnn/<run>", str(run)) for o in overrides]
    if script == "train.py":
        overrides.append(f"paths.logs={tmp_path / 'logs'}")
    assert compose(overrides, Path(script).stem)


def test_a_newcomer_reaches_a_trained_model_by_line_20():
    assert "make train" in "\n".join(README.splitlines()[:20])


@pytest.mark.usefixtures("scripts")
def test_the_results_table_is_that_of_the_recipes_headers():
    import results_table

    assert results_table.table().count("\n") == 6
    assert results_table.readme() == README


@pytest.mark.usefixtures("scripts")
def test_a_recipe_without_a_result_is_left_out_of_the_table(monkeypatch, tmp_path):
    import results_table

    folder = tmp_path / "configs" / "experiment"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("# command:  python train.py experiment=a\n")
    (folder / "b.yaml").write_text("# command:  python train.py experiment=b\n# result:   0.9\n# cost:     1 s\n")
    monkeypatch.setattr(results_table, "PROJECT", tmp_path)
    assert results_table.table().splitlines()[2:] == ["| `python train.py experiment=b` | 0.9 | 1 s |"]


def test_every_file_that_the_readme_names_exists():
    named = set(re.findall(r"`((?:src|configs|tests|docs)/[\w./]*)`|\]\(([\w./]+)\)", README + TECHNIQUES))
    paths = {path for pair in named for path in pair if path}
    assert len(paths) >= 8
    assert [path for path in paths if not (PROJECT / path).exists() and "my_images" not in path] == []


@pytest.mark.usefixtures("scripts")
def test_each_fault_to_plant_is_a_line_of_the_code():
    import plant_faults

    assert len(plant_faults.FAULTS) >= 20
    assert len(plant_faults.CONTRACT_FAULTS) >= 40
    for fault in plant_faults.FAULTS + plant_faults.CONTRACT_FAULTS:
        text = (PROJECT / fault.file).read_text()
        assert text.count(fault.right) == 1, fault
        assert fault.right != fault.wrong


@pytest.mark.usefixtures("scripts")
def test_a_benchmark_knows_its_names(monkeypatch):
    import benchmark

    monkeypatch.setattr("sys.argv", ["benchmark.py", "setp"])
    with pytest.raises(SystemExit, match="given 'setp'; allowed: step, validation, mlp"):
        benchmark.main()
    assert set(re.findall(r"^    python scripts/benchmark.py (\w+)", str(benchmark.__doc__), re.MULTILINE)) == {
        *benchmark.TABLES,
        *benchmark.OF_OVERRIDES,
    }


def test_every_target_of_make_is_described():
    makefile = (PROJECT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets
    for target in targets[1].split():
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target


@pytest.mark.usefixtures("scripts")
def test_recipes_are_checked_with_each_data_set_and_each_model_that_fits():
    import check_configs

    every = list(check_configs.combinations(["cnn", "vit"], ["fake", "cifar10"]))
    assert len(every) == 2 * 6 + 2
    assert check_configs.check(["experiment=cnn", "data=fake"]) == ""
    assert check_configs.check(["experiment=vit", "data=cifar10"]).startswith("misfit: model.patch_size: given 7")
    assert check_configs.check(["experiment=vit", "model=cnn"]).startswith("model.patch_size: given an argument")
